//! Where the time of a training went, and how far its arithmetic is from what matrix products reach here.

use crate::ui::Ui;
use serde::Serialize;
use std::time::{Duration, Instant};
use tolmach_engine::Out;
use tolmach_engine::cpu::gemm::{A, B, gemm};
use tolmach_engine::cpu::profile::Spending;

/// Rows, columns and depth of the product that tells what the machine can do: f32, as in a 1.1 B model.
const YARDSTICK: [usize; 3] = [512, 2048, 2048];
/// It is repeated for so long, and the best counts.
const MEASURED_FOR: Duration = Duration::from_millis(400);

/// What `train --profile` tells.
#[derive(Clone, Debug, Serialize)]
pub struct ProfileReport {
    /// From the first step to the last, evaluations and saves among them.
    pub seconds: f64,
    pub parts: Vec<PartReport>,
    /// Useful arithmetic of all operations per second of the run, in 10⁹ floating-point operations.
    pub gflop_per_second: f64,
    /// The same of one large product of matrices, right after the run: the best of several.
    pub product_gflop_per_second: f64,
    /// The first of these two over the second.
    pub share_of_product_rate: f64,
}

/// One kind of operations.
#[derive(Clone, Debug, Serialize)]
pub struct PartReport {
    pub part: &'static str,
    pub milliseconds: f64,
    /// Of all the time, from 0 to 1.
    pub share: f64,
    /// While they ran; `None` where no arithmetic is counted.
    pub gflop_per_second: Option<f64>,
}

impl ProfileReport {
    /// Of a run of `seconds` whose operations took `spendings`. What is in none of them is `other`.
    pub fn new(spendings: &[Spending], seconds: f64) -> Self {
        let (rate, product) =
            (|flop: u64, seconds: f64| 1e-9 * flop as f64 / seconds.max(1e-9), product_rate());
        let part = |name, spent: f64, flop: u64| PartReport {
            part: name,
            milliseconds: 1e3 * spent,
            share: spent / seconds.max(1e-9),
            gflop_per_second: (flop > 0).then(|| rate(flop, spent)),
        };
        let known: f64 = spendings.iter().map(|s| s.time.as_secs_f64()).sum();
        let mut parts: Vec<_> =
            spendings.iter().map(|s| part(s.part.name(), s.time.as_secs_f64(), s.flop)).collect();
        parts.push(part("other", (seconds - known).max(0.0), 0));
        let attained = rate(spendings.iter().map(|s| s.flop).sum(), seconds);
        Self {
            seconds,
            parts,
            gflop_per_second: attained,
            product_gflop_per_second: product,
            share_of_product_rate: attained / product.max(1e-9),
        }
    }

    pub fn say(&self, ui: &Ui) {
        ui.say(format!("{:<20} {:>12} {:>8} {:>12}", "profile", "ms", "%", "GFLOP/s"));
        for PartReport { part, milliseconds, share, gflop_per_second } in &self.parts {
            let rate = gflop_per_second.map_or("-".to_string(), |rate| format!("{rate:.1}"));
            ui.say(format!("{part:<20} {milliseconds:>12.1} {:>8.1} {rate:>12}", 100.0 * share));
        }
        ui.say(format!(
            "{:.1} GFLOP/s of useful arithmetic in {:.1} s: {:.0} % of the {:.1} GFLOP/s of a {} × {} × {} product in f32",
            self.gflop_per_second,
            self.seconds,
            100.0 * self.share_of_product_rate,
            self.product_gflop_per_second,
            YARDSTICK[0],
            YARDSTICK[1],
            YARDSTICK[2],
        ));
    }
}

/// 10⁹ floating-point operations per second of the yardstick, on the current pool.
fn product_rate() -> f64 {
    let [m, n, k] = YARDSTICK;
    let values = |len: usize| (0..len).map(|i| (i % 251) as f32 / 125.0 - 1.0).collect::<Vec<_>>();
    let (a, b, mut c) = (values(m * k), values(n * k), vec![0.0; m * n]);
    let (begun, mut best) = (Instant::now(), f64::INFINITY);
    while begun.elapsed() < MEASURED_FOR {
        let run = Instant::now();
        gemm(&mut c, m, n, k, 1.0, A::Rows(&a), B::Transposed(&b), Out::Set);
        best = best.min(run.elapsed().as_secs_f64());
    }
    2e-9 * (m * n * k) as f64 / best
}

#[cfg(test)]
mod tests {
    use super::*;
    use tolmach_engine::cpu::profile::Part;

    #[test]
    fn what_no_operation_took_is_other_and_all_parts_make_the_whole() {
        let spent =
            |part, milliseconds, flop| Spending { part, time: Duration::from_millis(milliseconds), flop };
        let report =
            ProfileReport::new(&[spent(Part::Products, 500, 4_000_000_000), spent(Part::Rows, 250, 0)], 1.0);
        let shares: Vec<f64> = report.parts.iter().map(|p| p.share).collect();
        assert_eq!(shares, [0.5, 0.25, 0.25]);
        assert_eq!(report.parts[0].gflop_per_second, Some(8.0));
        assert_eq!(report.parts[2].part, "other");
        assert_eq!(report.gflop_per_second, 4.0);
        assert!((report.share_of_product_rate * report.product_gflop_per_second - 4.0).abs() < 1e-9);
    }
}
