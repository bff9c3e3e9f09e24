//! Where the time of a run goes, by kind of operation: two readings of the clock for each operation, and only
//! where a profile is asked for.
//!
//! Arithmetic is counted from shapes, two floating-point operations (FLOP) for each multiply-add:
//! a product `[m, k] · [k, n]` is 2·m·n·k; attention over a segment of Q queries and L keys, with
//! P = Q·(L − Q) + Q·(Q + 1)/2 pairs of a query and a key that it sees, is 4·P·H·D forward (q·kᵀ, p·v) and 10·P·H·D
//! backward (q·kᵀ again, dout·vᵀ, and the three gradients). Norms, activations and the optimizer count as none.

use crate::backend::Attention;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Products with the base's matrices, and with whatever is trained in full
    Products,
    /// LoRA's A and B, their gradients, dropout
    Lora,
    Attention,
    /// RMSNorm, SwiGLU, RoPE, embedding, copies of rows
    Rows,
    /// The head's products and the cross-entropy
    Head,
    /// Gradients cleared, their norm, AdamW
    Optimizer,
}

impl Part {
    pub const ALL: [Part; 6] =
        [Part::Products, Part::Lora, Part::Attention, Part::Rows, Part::Head, Part::Optimizer];

    pub fn name(self) -> &'static str {
        match self {
            Part::Products => "products",
            Part::Lora => "LoRA",
            Part::Attention => "attention",
            Part::Rows => "norms, SwiGLU, RoPE",
            Part::Head => "head and loss",
            Part::Optimizer => "optimizer",
        }
    }
}

/// What one kind of operations took so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spending {
    pub part: Part,
    pub time: Duration,
    /// Floating-point operations, by the formulas of this module.
    pub flop: u64,
}

/// The running sums.
#[derive(Debug, Default)]
pub struct Profile {
    sums: [Sum; Part::ALL.len()],
}

#[derive(Debug, Default)]
struct Sum {
    nanoseconds: AtomicU64,
    multiply_adds: AtomicU64,
}

impl Profile {
    pub fn time<R>(&self, part: Part, multiply_adds: usize, operation: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let result = operation();
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let sum = &self.sums[part as usize];
        sum.nanoseconds.fetch_add(took, Ordering::Relaxed);
        sum.multiply_adds.fetch_add(multiply_adds as u64, Ordering::Relaxed);
        result
    }

    pub fn spendings(&self) -> Vec<Spending> {
        let spending = |part: Part| {
            let sum = &self.sums[part as usize];
            let time = Duration::from_nanos(sum.nanoseconds.load(Ordering::Relaxed));
            Spending { part, time, flop: 2 * sum.multiply_adds.load(Ordering::Relaxed) }
        };
        Part::ALL.into_iter().map(spending).collect()
    }
}

/// Multiply-adds of one product over all pairs of a query and a key that it sees: P·H·D.
pub fn attention_pairs(spec: &Attention) -> usize {
    let pairs = spec.segments.iter().map(|s| {
        let queries = s.q.len();
        queries * (s.keys() - queries) + queries * (queries + 1) / 2
    });
    pairs.sum::<usize>() * spec.heads * spec.head_dim
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Segment;

    #[test]
    fn pairs_are_those_that_causal_attention_looks_at() {
        let segments = [Segment::whole(0..3), Segment::after(0..3, 3..5), Segment::new(5..6, 5..9)];
        let spec = Attention { heads: 2, kv_heads: 1, head_dim: 4, scale: 1.0, segments: &segments };
        // 1 + 2 + 3, then 4 + 5, then 4
        assert_eq!(attention_pairs(&spec), (6 + 9 + 4) * 8);
    }

    #[test]
    fn sums_are_kept_apart() {
        let profile = Profile::default();
        assert_eq!(profile.time(Part::Head, 5, || 7), 7);
        profile.time(Part::Head, 6, || std::thread::sleep(Duration::from_millis(2)));
        let spendings = profile.spendings();
        assert_eq!(spendings.len(), Part::ALL.len());
        for spending in spendings {
            let is_head = spending.part == Part::Head;
            assert_eq!(spending.flop, if is_head { 22 } else { 0 });
            assert_eq!(spending.time >= Duration::from_millis(2), is_head);
        }
    }
}
