//! AdamW and the gradient's norm.

use super::parallel::{PIECE, SharedMut, collect, for_each};
use super::simd::simd_fn;
use crate::backend::AdamW;

/// One update of all of `parameter`, as `torch.optim.AdamW`.
pub fn adamw(parameter: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32], update: AdamW) {
    let len = parameter.len();
    let [parameter, m, v] = [parameter, m, v].map(SharedMut::new);
    for_each(len.div_ceil(PIECE), len, |piece| {
        let start = piece * PIECE;
        let size = PIECE.min(len - start);
        // SAFETY: pieces are disjoint.
        let [parameter, m, v] = [&parameter, &m, &v].map(|x| unsafe { x.slice(start, size) });
        adamw_piece(parameter, &gradient[start..start + size], m, v, update);
    });
}

simd_fn! {
    fn adamw_piece(parameter: &mut [f32], gradient: &[f32], m: &mut [f32], v: &mut [f32], update: AdamW) {
        // What depends on the step only is computed in f64 once.
        let correction1 = 1.0 - update.beta1.powf(update.step as f64);
        let correction2 = 1.0 - update.beta2.powf(update.step as f64);
        let (beta1, beta2) = (update.beta1 as f32, update.beta2 as f32);
        let (rest1, rest2) = ((1.0 - update.beta1) as f32, (1.0 - update.beta2) as f32);
        let rate = (update.learning_rate / correction1) as f32;
        let scale2 = (1.0 / correction2.sqrt()) as f32;
        let keep = (1.0 - update.learning_rate * update.weight_decay) as f32;
        let (eps, grad_scale) = (update.eps as f32, update.grad_scale as f32);
        let moments = m.iter_mut().zip(v);
        for ((p, g), (m, v)) in parameter.iter_mut().zip(gradient).zip(moments) {
            let g = g * grad_scale;
            *m = beta1 * *m + rest1 * g;
            *v = beta2 * *v + rest2 * g * g;
            *p = keep * *p - rate * *m / (v.sqrt() * scale2 + eps);
        }
    }
}

/// Σ x² in f64, summed piece by piece in order.
pub fn sum_squares(x: &[f32]) -> f64 {
    let piece = |i: usize| &x[i * PIECE..x.len().min((i + 1) * PIECE)];
    let sums = collect(x.len().div_ceil(PIECE), x.len(), |i| sum_squares_of_piece(piece(i)));
    sums.iter().sum()
}

simd_fn! {
    fn sum_squares_of_piece(x: &[f32]) -> f64 {
        let mut lanes = [0.0f64; 16];
        let (x, rest) = x.as_chunks::<16>();
        for x in x {
            for l in 0..16 {
                let x = f64::from(x[l]);
                lanes[l] += x * x;
            }
        }
        let rest: f64 = rest.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        lanes.iter().sum::<f64>() + rest
    }
}
