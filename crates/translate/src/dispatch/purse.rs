//! What a run costs and may cost, over all services that it asks.

use super::round::lock;
use std::sync::Mutex;

/// Money is set aside before a request starts, so that requests under way together cannot exceed the limit.
#[derive(Debug, Default)]
pub(crate) struct Purse {
    limit: Option<f64>,
    money: Mutex<Money>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Money {
    spent: f64,
    reserved: f64,
}

impl Purse {
    /// A purse that holds `limit`, or everything.
    pub fn new(limit: Option<f64>) -> Self {
        Self { limit, money: Mutex::default() }
    }

    /// Set `cost` aside; `false` if there is not so much left.
    pub fn reserve(&self, cost: f64) -> bool {
        let mut money = lock(&self.money);
        // The slack is for sums of floats: an estimate that equals the limit must be payable.
        if self.limit.is_some_and(|limit| money.spent + money.reserved + cost > limit * (1.0 + 1e-9)) {
            return false;
        }
        money.reserved += cost;
        true
    }

    /// A request for which `cost` was set aside is over; services charge for answers only.
    pub fn settle(&self, cost: f64, answered: bool) {
        let mut money = lock(&self.money);
        money.reserved -= cost;
        if answered {
            money.spent += cost;
        }
    }

    pub fn spent(&self) -> f64 {
        lock(&self.money).spent
    }

    pub fn limit(&self) -> Option<f64> {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_aside_is_not_there_for_others() {
        let purse = Purse::new(Some(1.0));
        assert!(purse.reserve(0.6));
        assert!(!purse.reserve(0.6));
        purse.settle(0.6, false);
        assert!(purse.reserve(0.6));
        purse.settle(0.6, true);
        assert!(!purse.reserve(0.6));
        assert!(purse.reserve(0.4));
        assert!((purse.spent() - 0.6).abs() < 1e-12);
        assert!(Purse::new(None).reserve(1e9));
    }
}
