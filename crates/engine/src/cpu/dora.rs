//! DoRA (Liu et al. 2024): a layer's output scaled column by column, `y = z · m / n`, where
//! `z = x (W + s·B A)ᵀ` and `n` are the norms of the rows of `W + s·B A`.

use super::optimizer::sum_squares;
use super::parallel::{SharedMut, for_each, for_each_piece, for_each_piece_of, rows_per_piece};
use super::simd::{fma, simd_fn};
use crate::backend::Out;

/// `norms[o] = ‖W[o] + s · B[o] A‖₂`. `row(o, out)` unpacks `W[o]`, `a [R, I]`, `b [O, R]`, `norms [O]`.
///
/// W is never there as a whole: each row is unpacked, moved by its own B A and squared before the next. The
/// expansion ‖W‖² + 2s·(W Aᵀ)·B + s²‖B A‖² would need a product of the same size, and where the update
/// undoes most of a row it would lose all digits: the three terms cancel.
pub fn row_norms(
    row: impl Fn(usize, &mut [f32]) + Send + Sync,
    a: &[f32],
    b: &[f32],
    scaling: f32,
    inputs: usize,
    norms: &mut [f32],
) {
    /// Rows of one task.
    const ROWS: usize = 16;
    let rank = a.len() / inputs.max(1);
    let work = norms.len() * inputs;
    for_each_piece_of(norms, ROWS, work, |piece, norms| {
        let mut values = vec![0.0f32; inputs];
        for (i, norm) in norms.iter_mut().enumerate() {
            let o = piece * ROWS + i;
            row(o, &mut values);
            add_update(&mut values, a, &b[o * rank..][..rank], scaling);
            *norm = sum_squares(&values).sqrt() as f32;
        }
    });
}

simd_fn! {
    /// `row [I] += s · b [R] A [R, I]`, four rows of A at a time: the row is read and written less often.
    fn add_update(row: &mut [f32], a: &[f32], b: &[f32], scaling: f32) {
        let inputs = row.len();
        let (fours, rest) = b.as_chunks::<4>();
        for (i, b) in fours.iter().enumerate() {
            let [b0, b1, b2, b3] = b.map(|b| scaling * b);
            let of = |j: usize| &a[(4 * i + j) * inputs..][..inputs];
            let rows = of(0).iter().zip(of(1)).zip(of(2).iter().zip(of(3)));
            for (w, ((a0, a1), (a2, a3))) in row.iter_mut().zip(rows) {
                let upper = fma::<FMA>(b1, *a1, b0 * a0);
                *w += fma::<FMA>(b3, *a3, fma::<FMA>(b2, *a2, upper));
            }
        }
        for (b, a) in rest.iter().zip(a[4 * fours.len() * inputs..].chunks_exact(inputs)) {
            let b = scaling * b;
            for (w, a) in row.iter_mut().zip(a) {
                *w = fma::<FMA>(b, *a, *w);
            }
        }
    }
}

/// What each column is multiplied with: m / n, and 0 where a row of W + s·B A is zero (its column of z is, too).
fn gains(magnitude: &[f32], norms: &[f32]) -> Vec<f32> {
    let gain = |(m, n): (&f32, &f32)| if *n == 0.0 { 0.0 } else { m / n };
    magnitude.iter().zip(norms).map(gain).collect()
}

/// `y (+)= z · m / n`. `z, y [rows, O]`, `magnitude, norms [O]`.
pub fn forward(z: &[f32], magnitude: &[f32], norms: &[f32], to: Out, y: &mut [f32]) {
    let width = magnitude.len();
    let gains = gains(magnitude, norms);
    let step = rows_per_piece(width);
    for_each_piece(y, step * width, |piece, y| {
        let z = &z[piece * step * width..][..y.len()];
        match to {
            Out::Set => scale_set(z, &gains, y),
            Out::Add => scale_add(z, &gains, y),
        }
    });
}

/// Sets `dz = dy · m / n`, and adds to `dmagnitude` Σ over rows of `dy · z / n`: the norms are constants, as in
/// the paper's section 4.3. Each task sums some columns over all rows in order.
pub fn backward(
    z: &[f32],
    magnitude: &[f32],
    norms: &[f32],
    dy: &[f32],
    dz: &mut [f32],
    dmagnitude: &mut [f32],
) {
    const COLUMNS: usize = 128;
    let width = magnitude.len();
    let gains = gains(magnitude, norms);
    let (work, step) = (dz.len(), rows_per_piece(width));
    for_each_piece(dz, step * width, |piece, dz| {
        scale_set(&dy[piece * step * width..][..dz.len()], &gains, dz);
    });
    let shared = SharedMut::new(dmagnitude);
    for_each(width.div_ceil(COLUMNS), work, |piece| {
        let from = piece * COLUMNS;
        let len = COLUMNS.min(width - from);
        // SAFETY: pieces are disjoint.
        let dmagnitude = unsafe { shared.slice(from, len) };
        add_products(z, dy, width, from, &norms[from..from + len], dmagnitude);
    });
}

simd_fn! {
    fn scale_set(x: &[f32], gains: &[f32], y: &mut [f32]) {
        let width = gains.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            for ((y, x), gain) in y.iter_mut().zip(x).zip(gains) {
                *y = x * gain;
            }
        }
    }
}

simd_fn! {
    fn scale_add(x: &[f32], gains: &[f32], y: &mut [f32]) {
        let width = gains.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            for ((y, x), gain) in y.iter_mut().zip(x).zip(gains) {
                *y = fma::<FMA>(*x, *gain, *y);
            }
        }
    }
}

simd_fn! {
    fn add_products(z: &[f32], dy: &[f32], width: usize, from: usize, norms: &[f32], dmagnitude: &mut [f32]) {
        let mut sums = vec![0.0f32; norms.len()];
        for (z, dy) in z.chunks_exact(width).zip(dy.chunks_exact(width)) {
            let (z, dy) = (&z[from..][..norms.len()], &dy[from..][..norms.len()]);
            for ((sum, z), dy) in sums.iter_mut().zip(z).zip(dy) {
                *sum = fma::<FMA>(*z, *dy, *sum);
            }
        }
        for ((d, sum), n) in dmagnitude.iter_mut().zip(&sums).zip(norms) {
            *d += if *n == 0.0 { 0.0 } else { sum / n };
        }
    }
}

/// `y += alpha · x`.
pub fn add_scaled(x: &[f32], alpha: f32, y: &mut [f32]) {
    for_each_piece(y, super::parallel::PIECE, |piece, y| {
        add_scaled_piece(&x[piece * super::parallel::PIECE..][..y.len()], alpha, y);
    });
}

simd_fn! {
    fn add_scaled_piece(x: &[f32], alpha: f32, y: &mut [f32]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = fma::<FMA>(alpha, *x, *y);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that its update all but undoes: what is left is exact here, and noise in the expansion.
    #[test]
    fn norms_survive_an_update_that_undoes_the_row() {
        let inputs = 512;
        let w: Vec<f32> = (0..inputs).map(|i| 3.0 + (i % 7) as f32).collect();
        let a: Vec<f32> = w.iter().enumerate().map(|(i, w)| w + if i == 5 { 1e-3 } else { 0.0 }).collect();
        let mut norms = [0.0];
        row_norms(|_, out| out.copy_from_slice(&w), &a, &[-1.0], 1.0, inputs, &mut norms);
        assert!((norms[0] - 1e-3).abs() < 1e-6, "{}", norms[0]);
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f32>();
        let expanded = dot(&w, &w) - 2.0 * dot(&w, &a) + dot(&a, &a);
        assert!((expanded.max(0.0).sqrt() - 1e-3).abs() > 5e-4, "the expansion would do: {expanded}");
    }
}
