//! RMSNorm (Zhang & Sennrich 2019): `out = x / √(mean(x²) + eps) · weight`.

use super::attention::with_scratch;
use super::parallel::{for_each_piece, for_each_piece_of, rows_per_piece};
use super::simd::{dot, simd_fn};

/// `x, out [rows, width]`, `weight [width]`.
pub fn forward(x: &[f32], weight: &[f32], eps: f64, out: &mut [f32]) {
    let width = weight.len();
    let step = rows_per_piece(width);
    for_each_piece(out, step * width, |piece, out| {
        forward_rows(&x[piece * step * width..][..out.len()], weight, eps, out);
    });
}

simd_fn! {
    fn forward_rows(x: &[f32], weight: &[f32], eps: f64, out: &mut [f32]) {
        let width = weight.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let inverse = inverse_rms(dot::<FMA>(x, x), width, eps);
            for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
                *out = x * inverse * w;
            }
        }
    }
}

#[inline(always)]
fn inverse_rms(sum_of_squares: f32, width: usize, eps: f64) -> f32 {
    (1.0 / (f64::from(sum_of_squares) / width as f64 + eps).sqrt()) as f32
}

/// Adds to `dx`. With g = dout · weight and s = 1 / rms: `dx += s · (g − x · (g · x) · s² / C)`.
pub fn backward_input(x: &[f32], weight: &[f32], eps: f64, dout: &[f32], dx: &mut [f32]) {
    let width = weight.len();
    let step = rows_per_piece(width);
    for_each_piece(dx, step * width, |piece, dx| {
        let at = piece * step * width..piece * step * width + dx.len();
        with_scratch(width, |g| backward_rows(&x[at.clone()], weight, eps, &dout[at], dx, g));
    });
}

simd_fn! {
    fn backward_rows(x: &[f32], weight: &[f32], eps: f64, dout: &[f32], dx: &mut [f32], g: &mut [f32]) {
        let width = weight.len();
        let rows = x.chunks_exact(width).zip(dout.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
        for ((x, dout), dx) in rows {
            for ((g, dout), w) in g.iter_mut().zip(dout).zip(weight) {
                *g = dout * w;
            }
            let s = inverse_rms(dot::<FMA>(x, x), width, eps);
            let along = dot::<FMA>(g, x) * s * s / width as f32;
            for ((dx, g), x) in dx.iter_mut().zip(&*g).zip(x) {
                *dx += s * (g - x * along);
            }
        }
    }
}

/// `dweight += Σ over rows of dout · x / rms`. Each task sums some columns over all rows in order.
pub fn backward_weight(x: &[f32], eps: f64, dout: &[f32], dweight: &mut [f32]) {
    const COLUMNS: usize = 128;
    let width = dweight.len();
    let mut inverse = vec![0.0f32; x.len() / width];
    let step = rows_per_piece(width);
    for_each_piece_of(&mut inverse, step, x.len(), |piece, inverse| {
        inverse_rms_of_rows(&x[piece * step * width..][..inverse.len() * width], width, eps, inverse);
    });
    for_each_piece_of(dweight, COLUMNS, x.len(), |piece, dweight| {
        add_columns(x, dout, &inverse, width, piece * COLUMNS, dweight);
    });
}

simd_fn! {
    fn inverse_rms_of_rows(x: &[f32], width: usize, eps: f64, inverse: &mut [f32]) {
        for (x, inverse) in x.chunks_exact(width).zip(inverse) {
            *inverse = inverse_rms(dot::<FMA>(x, x), width, eps);
        }
    }
}

simd_fn! {
    fn add_columns(x: &[f32], dout: &[f32], inverse: &[f32], width: usize, from: usize, dweight: &mut [f32]) {
        for ((x, dout), inverse) in x.chunks_exact(width).zip(dout.chunks_exact(width)).zip(inverse) {
            let (x, dout) = (&x[from..][..dweight.len()], &dout[from..][..dweight.len()]);
            for ((dw, x), dout) in dweight.iter_mut().zip(x).zip(dout) {
                *dw += dout * x * inverse;
            }
        }
    }
}
