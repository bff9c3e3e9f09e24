//! Small matrix products on one thread, for the blocks of attention and the thin sides of LoRA: no packing of A, and
//! B is laid out by the caller once for many products.

#[cfg(target_arch = "x86_64")]
use super::gemm::{Avx2, Avx512};
use super::gemm::{Portable, Simd};
use crate::backend::Out;
use crate::cpu::simd::{prefetch, simd_fn};
use std::ops::Range;

/// Columns of B and C come in multiples of this.
pub const COLUMNS: usize = 16;

/// The left operand, `stride` values from one stored row to the next.
#[derive(Clone, Copy)]
pub struct Strided<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    /// Whether stored rows are A's columns.
    pub transposed: bool,
}

impl<'a> Strided<'a> {
    pub fn rows(values: &'a [f32], stride: usize) -> Self {
        Self { values, stride, transposed: false }
    }

    pub fn transposed(values: &'a [f32], stride: usize) -> Self {
        Self { values, stride, transposed: true }
    }

    /// Where element (i, l) is; `T`: transposed.
    #[inline(always)]
    fn at<const T: bool>(&self, i: usize, l: usize) -> usize {
        if T { i + l * self.stride } else { i * self.stride + l }
    }
}

/// A matrix cut into panels of [`COLUMNS`] columns.
#[derive(Clone, Copy)]
pub struct Panels<'a> {
    pub values: &'a [f32],
    /// From one row of a panel to the next.
    pub row: usize,
    /// From one panel to the next.
    pub panel: usize,
}

impl<'a> Panels<'a> {
    /// Each panel by itself: what a tile reads is one stream of memory.
    pub fn packed(values: &'a [f32], rows: usize) -> Self {
        Self { values, row: COLUMNS, panel: rows * COLUMNS }
    }

    /// Row-major, with a distance between rows.
    pub fn rows(values: &'a [f32], row: usize) -> Self {
        Self { values, row, panel: COLUMNS }
    }

    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> usize {
        column / COLUMNS * self.panel + row * self.row + column % COLUMNS
    }
}

/// Which part of a product counts, where row i of a block of queries sees the keys before `first + i` only.
#[derive(Clone, Copy, Debug)]
pub enum Seen {
    All,
    /// Row i of C has `first + i` columns; what lies behind them in C is anything.
    Columns(usize),
    /// Row i of A has `first + i` depths, and zeros behind them.
    Depths(usize),
    /// Row j of A has zeros before depth `j + 1 − first`: the transpose of the above.
    Rows(usize),
}

impl Seen {
    /// Depths below `k` that count for a tile of `mr` rows from row `i` and columns from `column` on.
    #[inline(always)]
    fn depths(self, i: usize, mr: usize, column: usize, k: usize) -> Range<usize> {
        match self {
            Seen::All => 0..k,
            Seen::Columns(first) => 0..if column < first + i + mr - 1 { k } else { 0 },
            Seen::Depths(first) => 0..k.min(first + i + mr - 1),
            Seen::Rows(first) => (i + 1).saturating_sub(first).min(k)..k,
        }
    }
}

/// Depths of B that stay in the first-level cache while the rows of A pass by.
const DEPTHS: usize = 256;

simd_fn! {
    /// `C[m, n] (+)= A[m, k] · B[k, n]` for `shape` (m, n, k), rows of C at a distance of `c_stride`; n a multiple of
    /// [`COLUMNS`].
    pub fn product(
        shape: (usize, usize, usize),
        a: Strided<'_>,
        b: Panels<'_>,
        seen: Seen,
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
            let last =
                if a.transposed { a.at::<true>(m - 1, k - 1) } else { a.at::<false>(m - 1, k - 1) };
            assert!(last < a.values.len(), "A");
            assert!(b.at(k - 1, n - 1) < b.values.len(), "B");
        }
        let whole = Whole { m, n, k, a, b, seen, to, c_stride };
        // SAFETY: by the assertions every tile lies inside C, and its operands inside A and B; `WIDE` and `FMA` say what
        // the processor has.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if WIDE {
                return whole.run::<Avx512, 8, 2>(c);
            } else if FMA {
                return whole.run::<Avx2, 6, 2>(c);
            }
            whole.run::<Portable, 4, 2>(c);
        }
    }
}

/// A product whose shape is checked.
struct Whole<'a> {
    m: usize,
    n: usize,
    k: usize,
    a: Strided<'a>,
    b: Panels<'a>,
    seen: Seen,
    to: Out,
    c_stride: usize,
}

impl Whole<'_> {
    /// Block of depths by block of depths.
    ///
    /// # Safety
    /// The shape lies inside A, B and `c`; the processor has the instructions of `S`.
    #[inline(always)]
    unsafe fn run<S: Simd, const MR: usize, const W: usize>(&self, c: &mut [f32]) {
        let mut from = 0;
        loop {
            let part = Part { of: self, depths: from..self.k.min(from + DEPTHS) };
            // How A is stored is known when a tile is compiled: then the values of a transposed A that it takes lie
            // at constant distances.
            // SAFETY: by this function's contract.
            unsafe {
                if self.a.transposed {
                    part.run::<S, true, MR, W>(c);
                } else {
                    part.run::<S, false, MR, W>(c);
                }
            }
            from += DEPTHS;
            if from >= self.k {
                return;
            }
        }
    }
}

/// A block of depths.
struct Part<'a> {
    of: &'a Whole<'a>,
    depths: Range<usize>,
}

impl Part<'_> {
    /// In tiles of `MR` rows and `W` registers. Of the two loops over tiles the one over the longer side is outside, so that the
    /// shorter side's operand is in the first-level cache for all but the first.
    ///
    /// # Safety
    /// The shape lies inside A, B and `c`.
    #[inline(always)]
    unsafe fn run<S: Simd, const T: bool, const MR: usize, const W: usize>(&self, c: &mut [f32]) {
        let &Whole { m, n, .. } = self.of;
        // SAFETY: rows and columns below m and n.
        unsafe {
            if m > n {
                for i in (0..m).step_by(MR) {
                    let mut column = 0;
                    while column < n {
                        column += self.tiles::<S, T, MR, W>(i, column, c);
                    }
                }
            } else {
                let mut column = 0;
                while column < n {
                    let mut width = 0;
                    for i in (0..m).step_by(MR) {
                        width = self.tiles::<S, T, MR, W>(i, column, c);
                    }
                    column += width;
                }
            }
        }
    }

    /// Up to `MR` rows from `i` on, and the next `W` registers of columns, or one where there are no more; how many columns.
    ///
    /// # Safety
    /// As [`Part::run`].
    #[inline(always)]
    unsafe fn tiles<S: Simd, const T: bool, const MR: usize, const W: usize>(
        &self,
        i: usize,
        column: usize,
        c: &mut [f32],
    ) -> usize {
        // SAFETY: as this function's contract says.
        unsafe {
            if W > 1 && self.of.n - column < W * S::LANES {
                self.rows::<S, T, MR, 1>(i, column, c);
                S::LANES
            } else {
                self.rows::<S, T, MR, W>(i, column, c);
                W * S::LANES
            }
        }
    }

    /// # Safety
    /// As [`Part::run`].
    #[inline(always)]
    unsafe fn rows<S: Simd, const T: bool, const MR: usize, const W: usize>(
        &self,
        i: usize,
        column: usize,
        c: &mut [f32],
    ) {
        macro_rules! tiles {
            ($($rows:literal)*) => {
                match MR.min(self.of.m - i) {
                    // SAFETY: as this function's contract says.
                    $($rows if $rows <= MR => unsafe { self.tile::<S, T, $rows, W>(i, column, c) },)*
                    _ => unreachable!("a tile has at most MR rows"),
                }
            };
        }
        tiles!(1 2 3 4 5 6 7 8);
    }

    /// A tile of C in registers.
    ///
    /// # Safety
    /// Rows `i .. i + MR`, the columns of `W` registers from `column` on and the depths lie inside A, B and C.
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: bool, const MR: usize, const W: usize>(
        &self,
        i: usize,
        column: usize,
        c: &mut [f32],
    ) {
        let &Whole { k, a, b, seen, to, c_stride, .. } = self.of;
        let counting = seen.depths(i, MR, column, k);
        let depths = counting.start.max(self.depths.start)..counting.end.min(self.depths.end);
        let add = to == Out::Add || self.depths.start > 0;
        if depths.is_empty() && (add || matches!(seen, Seen::Columns(_))) {
            return;
        }
        if add {
            for r in 0..MR {
                prefetch(c.as_ptr().wrapping_add((i + r) * c_stride + column));
            }
        }
        // Where register w of a row of B begins: a tile twice as wide as a panel begins where one begins.
        let register = |w: usize| w * S::LANES / COLUMNS * b.panel + w * S::LANES % COLUMNS;
        let next = b.at(0, column + (W * S::LANES).max(COLUMNS));
        let to = c.as_mut_ptr().wrapping_add(i * c_stride + column);
        let c = |r: usize, w: usize| to.wrapping_add(r * c_stride + w * S::LANES);
        // Registers by name, not arrays for the compiler to vectorise: of a tile 16 wide it made gathers and scatters.
        // SAFETY: by this function's contract; the processor has the instructions.
        unsafe {
            let mut sums = [[S::zero(); W]; MR];
            for l in depths {
                let row = b.values.as_ptr().add(b.at(l, column));
                let mut values = [S::zero(); W];
                for w in 0..W {
                    values[w] = S::load(row.add(register(w)));
                }
                let next = b.values.as_ptr().wrapping_add(next + l * b.row);
                prefetch(next);
                if W * S::LANES > COLUMNS {
                    prefetch(next.wrapping_add(b.panel));
                }
                for r in 0..MR {
                    let x = S::splat(*a.values.get_unchecked(a.at::<T>(i + r, l)));
                    for w in 0..W {
                        sums[r][w] = S::fma(x, values[w], sums[r][w]);
                    }
                }
            }
            // Short loops of one kind each: they unroll, and the sums never leave their registers.
            if add {
                let one = S::splat(1.0); // a product with it is exact
                for r in 0..MR {
                    for w in 0..W {
                        S::store(c(r, w), S::fma(one, sums[r][w], S::load(c(r, w))));
                    }
                }
            } else {
                for r in 0..MR {
                    for w in 0..W {
                        S::store(c(r, w), sums[r][w]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::{FORCED, Level, level};

    fn noise(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    /// Both ways of storing A and B, set and added, against sums in f64.
    fn check((m, n, k): (usize, usize, usize), seen: Seen) {
        let (a, b, old) = (noise(m * k, 1), noise(k * n, 2), noise(m * (n + 1), 3));
        let counts = |i: usize, l: usize| match seen {
            Seen::All | Seen::Columns(_) => true,
            Seen::Depths(first) => l < first + i,
            Seen::Rows(first) => i < first + l,
        };
        let padded = noise(k * (n + 3), 4);
        let in_rows: Vec<f32> = padded
            .chunks(n + 3)
            .zip(b.chunks(n))
            .flat_map(|(padding, row)| row.iter().chain(&padding[n..]).copied())
            .collect();
        let panels =
            (0..n / COLUMNS).flat_map(|p| b.chunks(n).map(move |row| &row[p * COLUMNS..][..COLUMNS]));
        let packed: Vec<f32> = panels.flatten().copied().collect();
        for transposed in [false, true] {
            let (row, col) = if transposed { (1, m) } else { (k, 1) };
            let mut stored = a.clone();
            for i in 0..m {
                (0..k).filter(|&l| !counts(i, l)).for_each(|l| stored[i * row + l * col] = 0.0);
            }
            let a = Strided { values: &stored, stride: if transposed { m } else { k }, transposed };
            for b_stored in [Panels::rows(&in_rows, n + 3), Panels::packed(&packed, k)] {
                let best = level();
                // Every instruction set that runs here; then, wherever that is, tiles as wide as two panels.
                let levels = [Level::Portable, Level::Avx2, Level::Avx512].into_iter().filter(|&l| l <= best);
                let tiles: Vec<_> = levels.map(Some).chain([None]).collect();
                for (to, tiles) in [Out::Set, Out::Add]
                    .into_iter()
                    .flat_map(|to| tiles.iter().map(move |&tiles| (to, tiles)))
                {
                    let (mut c, c_stride) = (old.clone(), n + 1);
                    let whole = Whole { m, n, k, a, b: b_stored, seen, to, c_stride };
                    match tiles {
                        Some(level) => {
                            FORCED.set(Some(level));
                            product((m, n, k), a, b_stored, seen, to, &mut c, c_stride);
                            FORCED.set(None);
                        }
                        // SAFETY: the matrices are as large as the shape says.
                        None => unsafe { whole.run::<Portable, 8, 8>(&mut c) },
                    }
                    for i in 0..m {
                        let hidden = |j: usize| matches!(seen, Seen::Columns(first) if j >= first + i);
                        for j in (0..n).filter(|&j| !hidden(j)) {
                            let term =
                                |l: usize| f64::from(stored[i * row + l * col]) * f64::from(b[l * n + j]);
                            let sum: f64 = (0..k).map(term).sum();
                            let before = if to == Out::Add { old[i * (n + 1) + j] } else { 0.0 };
                            let (want, got) = (f64::from(before) + sum, f64::from(c[i * (n + 1) + j]));
                            let near = (got - want).abs() < 1e-6 * (k + 1) as f64;
                            assert!(near, "[{m}, {n}, {k}] {seen:?} ({i}, {j}): {got}, {want}");
                        }
                        assert_eq!(c.get(i * (n + 1) + n), old.get(i * (n + 1) + n), "between the rows");
                    }
                }
            }
        }
    }

    #[test]
    fn agrees_with_the_naive_product() {
        for shape in
            [(1, 16, 1), (7, 32, 5), (9, 48, 33), (32, 80, 20), (3, 16, 0), (50, 48, 300), (100, 64, 48)]
        {
            check(shape, Seen::All);
        }
    }

    /// As attention has them: a block of queries from the 1st, the 9th, the 41st key on.
    #[test]
    fn what_is_not_seen_may_be_left_out() {
        for (first, rows) in [(1, 48), (9, 13), (41, 48), (300, 30)] {
            let keys = first + rows - 1;
            check((rows, keys.next_multiple_of(COLUMNS), 64), Seen::Columns(first));
            check((rows, 48, keys), Seen::Depths(first));
            check((keys, 48, rows), Seen::Rows(first));
        }
    }
}
