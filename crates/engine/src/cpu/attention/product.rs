//! Small matrix products on one thread, for the blocks of attention: no packing of A, and B is laid
//! out by the caller once for many products.

use crate::backend::Out;
use crate::cpu::simd::{fma, simd_fn};

/// Columns of B and C come in multiples of this.
pub const COLUMNS: usize = 16;

/// A matrix whose element (i, l) is `values[i · row + l · col]`.
#[derive(Clone, Copy)]
pub struct Strided<'a> {
    pub values: &'a [f32],
    pub row: usize,
    pub col: usize,
}

/// Row-major, with a distance between rows.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub values: &'a [f32],
    pub stride: usize,
}

simd_fn! {
    /// `C[m, n] (+)= A[m, k] · B[k, n]` for `shape` (m, n, k), rows of C at a distance of `c_stride`; n a multiple of
    /// [`COLUMNS`].
    pub fn product(
        shape: (usize, usize, usize),
        a: Strided<'_>,
        b: Rows<'_>,
        to: Out,
        c: &mut [f32],
        c_stride: usize,
    ) {
        let (m, n, k) = shape;
        if m == 0 || n == 0 {
            return;
        }
        assert!(n % COLUMNS == 0, "{n} columns");
        assert!(n <= c_stride && (m - 1) * c_stride + n <= c.len(), "C");
        if k > 0 {
            assert!((m - 1) * a.row + (k - 1) * a.col < a.values.len(), "A");
            assert!((k - 1) * b.stride + n <= b.values.len(), "B");
        }
        let mut column = 0;
        while column < n {
            // SAFETY: by the assertions every tile lies inside C, and its operands inside A and B.
            unsafe {
                if WIDE && n - column >= 32 {
                    panel::<FMA, 8, 32>(m, k, column, a, b, to, c, c_stride);
                    column += 32;
                } else if WIDE {
                    panel::<FMA, 8, 16>(m, k, column, a, b, to, c, c_stride);
                    column += 16;
                } else if FMA {
                    panel::<FMA, 4, 16>(m, k, column, a, b, to, c, c_stride);
                    column += 16;
                } else {
                    panel::<FMA, 4, 8>(m, k, column, a, b, to, c, c_stride);
                    column += 8;
                }
            }
        }
    }
}

/// `NR` columns of C, in tiles of `MR` rows.
///
/// # Safety
/// Columns `column .. column + NR` of the product of [`product`]'s checked shapes.
#[inline(always)]
unsafe fn panel<const FMA: bool, const MR: usize, const NR: usize>(
    m: usize,
    k: usize,
    column: usize,
    a: Strided<'_>,
    b: Rows<'_>,
    to: Out,
    c: &mut [f32],
    c_stride: usize,
) {
    let mut i = 0;
    // SAFETY: rows i .. i + MR (or i) are below m; the rest is this function's contract.
    unsafe {
        while i + MR <= m {
            tile::<FMA, MR, NR>(i, k, column, a, b, to, c, c_stride);
            i += MR;
        }
        while i < m {
            tile::<FMA, 1, NR>(i, k, column, a, b, to, c, c_stride);
            i += 1;
        }
    }
}

/// A tile of C in registers.
///
/// # Safety
/// Rows `i .. i + MR`, columns `column .. column + NR`, depth `k` lie inside A, B and C.
#[inline(always)]
unsafe fn tile<const FMA: bool, const MR: usize, const NR: usize>(
    i: usize,
    k: usize,
    column: usize,
    a: Strided<'_>,
    b: Rows<'_>,
    to: Out,
    c: &mut [f32],
    c_stride: usize,
) {
    let mut sums = [[0.0f32; NR]; MR];
    for l in 0..k {
        // SAFETY: by this function's contract.
        let b: [f32; NR] = unsafe { *b.values.as_ptr().add(l * b.stride + column).cast() };
        for r in 0..MR {
            // SAFETY: likewise.
            let x = unsafe { *a.values.get_unchecked((i + r) * a.row + l * a.col) };
            for j in 0..NR {
                sums[r][j] = fma::<FMA>(x, b[j], sums[r][j]);
            }
        }
    }
    // Short loops of one kind each: they unroll, and the sums never leave their registers.
    // SAFETY: likewise.
    let mut row = |r: usize| unsafe { c.as_mut_ptr().add((i + r) * c_stride + column).cast::<[f32; NR]>() };
    match to {
        Out::Set => {
            for r in 0..MR {
                // SAFETY: likewise.
                unsafe { *row(r) = sums[r] };
            }
        }
        Out::Add => {
            for r in 0..MR {
                // SAFETY: likewise.
                let c = unsafe { &mut *row(r) };
                for j in 0..NR {
                    c[j] += sums[r][j];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_naive_product() {
        let noise = |len: usize, seed: usize| -> Vec<f32> {
            (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
        };
        for (m, n, k) in [(1, 16, 1), (7, 32, 5), (9, 48, 33), (32, 80, 20), (3, 16, 0)] {
            for transposed in [false, true] {
                for to in [Out::Set, Out::Add] {
                    let (a, b, old) = (noise(m * k, 1), noise(k * (n + 3), 2), noise(m * (n + 1), 3));
                    let (row, col) = if transposed { (1, m) } else { (k, 1) };
                    let mut c = old.clone();
                    let (a, b) = (Strided { values: &a, row, col }, Rows { values: &b, stride: n + 3 });
                    product((m, n, k), a, b, to, &mut c, n + 1);
                    for i in 0..m {
                        for j in 0..n {
                            let sum: f32 =
                                (0..k).map(|l| a.values[i * row + l * col] * b.values[l * (n + 3) + j]).sum();
                            let old = old[i * (n + 1) + j];
                            let want = if to == Out::Add { old + sum } else { sum };
                            let got = c[i * (n + 1) + j];
                            assert!((got - want).abs() < 1e-5, "[{m}, {n}, {k}] ({i}, {j}): {got}, {want}");
                        }
                        assert_eq!(c.get(i * (n + 1) + n), old.get(i * (n + 1) + n), "between the rows");
                    }
                }
            }
        }
    }
}
