//! Head and cross-entropy over the labelled rows: logits, loss and the logits' gradient share one
//! buffer that holds some rows at a time.

use super::parallel::{SharedMut, collect};
use super::simd::{LANES, exp, max, simd_fn, sum_lanes};

/// Logits that exist at a time: 64 MiB. Each run of rows unpacks the head anew for its two products: with half of that
/// training `smol`'s shape (49,152 words) is 4 % slower, with twice that 1 % faster.
pub const LOGITS: usize = 1 << 24;

/// Rows per run of logits: as many as [`LOGITS`] allows, in runs of about equal size.
pub fn rows_per_run(rows: usize, vocab: usize) -> usize {
    let most = (LOGITS / vocab.max(1)).max(1);
    rows.div_ceil(rows.div_ceil(most).max(1)).max(1)
}

/// Losses of some rows. With a `grad_scale`, `logits [rows, vocab]` become their own gradient
/// (softmax − onehot(target)) · grad_scale.
pub fn cross_entropy(logits: &mut [f32], targets: &[u32], vocab: usize, grad_scale: Option<f64>) -> Vec<f64> {
    let work = logits.len();
    let rows = SharedMut::new(logits);
    collect(targets.len(), work, |i| {
        // SAFETY: this row is this task's.
        let row = unsafe { rows.slice(i * vocab, vocab) };
        row_loss(row, targets[i] as usize, grad_scale)
    })
}

simd_fn! {
    fn row_loss(row: &mut [f32], target: usize, grad_scale: Option<f64>) -> f64 {
        // A NaN that the maximum passes over stays in the sum.
        let max = max(row);
        let of_target = f64::from(row[target]) - f64::from(max);
        let mut sum = 0.0f64;
        // f32 sums over 4096 values, then f64.
        for part in row.chunks_mut(4096) {
            let mut lanes = [0.0f32; LANES];
            let (whole, rest) = part.as_chunks_mut::<LANES>();
            for x in whole {
                for l in 0..LANES {
                    x[l] = exp::<FMA>(x[l] - max);
                    lanes[l] += x[l];
                }
            }
            for (x, lane) in rest.iter_mut().zip(&mut lanes) {
                *x = exp::<FMA>(*x - max);
                *lane += *x;
            }
            sum += f64::from(sum_lanes(lanes));
        }
        if let Some(scale) = grad_scale {
            let factor = (scale / sum) as f32;
            row.iter_mut().for_each(|x| *x *= factor);
            row[target] -= scale as f32;
        }
        sum.ln() - of_target
    }
}
