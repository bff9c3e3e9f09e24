//! Matrix products on the CPU: row-major `C[m, n] (+)= alpha · A[m, k] · B[k, n]`.
//!
//! Blocked and packed as in Goto & van de Geijn (2008) and BLIS: a tile of C stays in registers
//! while it walks down a panel of A and a panel of B, both packed so that every load is sequential.
//! A frozen operand is unpacked to f32 while its panel is packed (`pack.rs`); the inner loop sees f32 only.
//! Products with a thin side take shorter ways (`thin.rs`).
//!
//! Invariants: the path and the blocks of k depend on the shape and the storage only, and each element of C is
//! computed by one task in one order, so results do not depend on the number of threads. They may
//! depend on the instruction set.
//!
//! Run it inside the rayon pool (`pool.install`): from outside, each product waits for the pool.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod blocked;
pub(super) mod kernel;
mod pack;
mod scratch;
mod simd;
#[cfg(test)]
mod tests;
mod thin;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::{Dtype, Format, FrozenMatrix, Out};
use kernel::Kernel;
pub(super) use simd::{Portable, Simd};
use std::sync::atomic::Ordering;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

/// The instruction set that matrix products run on here.
pub fn kernel_name() -> &'static str {
    Kernel::chosen().name
}

/// Whether large products may take the processor's tile unit, if it has one; at first they may. For comparisons:
/// results are equally exact, but not the same bits.
pub fn allow_tiles(allow: bool) {
    kernel::TILES_ALLOWED.store(allow, Ordering::Relaxed);
}

#[cfg(target_endian = "big")]
compile_error!("frozen matrices are little-endian and are read in place");

/// Rows of A from which on a row of C is the same bits whatever the number of rows: a prompt may be computed in runs.
pub const STEADY_ROWS: usize = 80;

/// The left operand `[m, k]`.
#[derive(Clone, Copy)]
pub enum A<'a> {
    /// Stored `[m, k]`.
    Rows(&'a [f32]),
    /// Stored `[k, m]`.
    Transposed(&'a [f32]),
}

/// The right operand `[k, n]`.
#[derive(Clone, Copy)]
pub enum B<'a> {
    /// Stored `[k, n]`.
    Rows(&'a [f32]),
    /// Stored `[n, k]`.
    Transposed(&'a [f32]),
    /// Stored `[k, n]`: the backward of a linear layer.
    Frozen(&'a FrozenMatrix),
    /// Stored `[n, k]`: the forward of a linear layer.
    FrozenTransposed(&'a FrozenMatrix),
}

/// `C[m, n] (+)= alpha · A[m, k] · B[k, n]`, row-major, on the current rayon pool.
///
/// A frozen matrix may have more stored rows than are used.
///
/// # Panics
/// An operand is shorter than its shape, or a frozen matrix has other columns or fewer rows.
pub fn gemm(c: &mut [f32], m: usize, n: usize, k: usize, alpha: f32, a: A<'_>, b: B<'_>, to: Out) {
    let (a, b) = (left(a, m, k), right(b, n, k));
    product(Kernel::chosen(), c, n, Product { m, n, k, alpha, a, b, beside: None, to, parallel: true });
}

/// Whether a product with such a B takes another of `few` depths along, see [`gemm_with`]: by shape and storage.
pub fn goes_with((m, n, k): (usize, usize, usize), b: B<'_>, few: usize) -> bool {
    /// Depths of another that a block has room for in the caches.
    const MOST: usize = 256;
    let (a, b) = (Operand::new(&[], Layout::Lines, k), right(b, n, k));
    let p = Product { m, n, k, alpha: 1.0, a, b, beside: None, to: Out::Set, parallel: true };
    k > 0 && few <= MOST && way(Kernel::chosen(), &p) == Way::Blocked
}

/// `C[m, n] (+)= A[m, k] · B[k, n] + A'[m, few] · B'[few, n]` in one pass over C, where [`goes_with`] says so.
///
/// # Panics
/// As [`gemm`]; the product goes another way.
pub fn gemm_with(
    c: &mut [f32],
    (m, n, k): (usize, usize, usize),
    (a, b): (A<'_>, B<'_>),
    few: usize,
    (beside_a, beside_b): (A<'_>, B<'_>),
    to: Out,
) {
    assert!(goes_with((m, n, k), b, few), "[{m}, {n}, {k}] takes no product of {few} depths along");
    let beside = Beside { depth: few, a: left(beside_a, m, few), b: right(beside_b, n, few) };
    let (a, b) = (left(a, m, k), right(b, n, k));
    let p = Product { m, n, k, alpha: 1.0, a, b, beside: Some(beside), to, parallel: true };
    product(Kernel::chosen(), c, n, p);
}

fn left(a: A<'_>, m: usize, k: usize) -> Operand<'_> {
    match a {
        A::Rows(values) => Operand::new(values, Layout::Lines, k),
        A::Transposed(values) => Operand::new(values, Layout::Depths, m),
    }
}

fn right(b: B<'_>, n: usize, k: usize) -> Operand<'_> {
    match b {
        B::Rows(values) => Operand::new(values, Layout::Depths, n),
        B::Transposed(values) => Operand::new(values, Layout::Lines, k),
        B::Frozen(matrix) => {
            assert!(matrix.rows() >= k && matrix.cols() == n, "B is not [{k}, {n}]");
            Operand::frozen(matrix, Layout::Depths)
        }
        B::FrozenTransposed(matrix) => {
            assert!(matrix.rows() >= n && matrix.cols() == k, "B is not [{n}, {k}]");
            Operand::frozen(matrix, Layout::Lines)
        }
    }
}

/// Bytes of the packing buffers that each thread holds after a product `[m, k] · [k, n]` with many rows of
/// both: what it takes beside its operands.
pub fn packing_bytes(m: usize, n: usize, k: usize) -> [usize; 2] {
    if m == 0 || n == 0 || k == 0 {
        return [0, 0];
    }
    let (a, b) = (Operand::new(&[], Layout::Lines, k), Operand::new(&[], Layout::Lines, k));
    let p = Product { m, n, k, alpha: 1.0, a, b, beside: None, to: Out::Set, parallel: true };
    let kernel = Kernel::chosen();
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if kernel.tiles && amx::pays(&p) {
        return [scratch::held_bytes(amx::buffer_bytes(&p) / size_of::<f32>()), 0];
    }
    blocked::buffer_values(kernel, &p).map(scratch::held_bytes)
}

/// What a stored row of an operand is. A *line* is a row of A or a column of B.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    /// Stored rows are lines: `[m, k]` for A, `[n, k]` for B.
    Lines,
    /// Stored rows run across the lines: `[k, m]` for A, `[k, n]` for B.
    Depths,
}

/// A stored matrix, seen as lines against the depth k.
#[derive(Clone, Copy)]
struct Operand<'a> {
    stored: Stored<'a>,
    layout: Layout,
    /// From one stored row to the next, in values.
    stride: usize,
}

/// What kernels read in place, and what is unpacked before they see it.
#[derive(Clone, Copy)]
enum Stored<'a> {
    Plain { bytes: &'a [u8], dtype: Dtype },
    Blocks(&'a FrozenMatrix),
}

impl<'a> Operand<'a> {
    fn new(values: &'a [f32], layout: Layout, stride: usize) -> Self {
        // SAFETY: any f32 is four valid bytes.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) };
        Operand { stored: Stored::Plain { bytes, dtype: Dtype::F32 }, layout, stride }
    }

    fn frozen(matrix: &'a FrozenMatrix, layout: Layout) -> Self {
        let stored = match matrix.format() {
            Format::Plain(dtype) => Stored::Plain { bytes: matrix.bytes(), dtype },
            Format::Blocks(_) => Stored::Blocks(matrix),
        };
        Operand { stored, layout, stride: matrix.cols() }
    }

    /// Rows that lie in memory as f32: where the first value is.
    fn f32(&self) -> Option<*const f32> {
        match self.stored {
            Stored::Plain { bytes, dtype: Dtype::F32 } => Some(bytes.as_ptr().cast()),
            _ => None,
        }
    }

    fn format(&self) -> Format {
        match self.stored {
            Stored::Plain { dtype, .. } => dtype.into(),
            Stored::Blocks(matrix) => matrix.format(),
        }
    }

    /// Numbers that are stored together along a stored row.
    fn granule(&self) -> usize {
        self.format().granule()
    }

    /// Where line `line` at depth `depth` is, in values from the first.
    fn value(&self, line: usize, depth: usize) -> usize {
        match self.layout {
            Layout::Lines => line * self.stride + depth,
            Layout::Depths => depth * self.stride + line,
        }
    }

    fn check(&self, name: &str, lines: usize, depth: usize) {
        let (rows, cols) = match self.layout {
            Layout::Lines => (lines, depth),
            Layout::Depths => (depth, lines),
        };
        let need = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * self.stride + cols };
        let have = match self.stored {
            Stored::Plain { bytes, dtype } => bytes.len() / dtype.size(),
            Stored::Blocks(matrix) => matrix.rows() * matrix.cols(),
        };
        assert!(cols <= self.stride && need <= have, "{name} has {have} values, its shape needs {need}");
    }
}

/// One product; C comes separately.
#[derive(Clone, Copy)]
struct Product<'a> {
    m: usize,
    n: usize,
    k: usize,
    alpha: f32,
    a: Operand<'a>,
    b: Operand<'a>,
    beside: Option<Beside<'a>>,
    to: Out,
    parallel: bool,
}

/// A product of less depth that goes to the same C: more depths behind the last.
#[derive(Clone, Copy)]
struct Beside<'a> {
    depth: usize,
    a: Operand<'a>,
    b: Operand<'a>,
}

impl Product<'_> {
    /// Cᵀ = Bᵀ · Aᵀ.
    fn swapped(self) -> Self {
        let beside = self.beside.map(|Beside { depth, a, b }| Beside { depth, a: b, b: a });
        Product { m: self.n, n: self.m, a: self.b, b: self.a, beside, ..self }
    }

    /// Threads worth waking.
    fn threads(&self) -> usize {
        /// Multiply-adds below which waking another thread costs more than it saves.
        const SERIAL: usize = 1 << 19;
        /// Multiply-adds that take as long as fetching one value of a weight from memory.
        const FETCH: usize = 8;
        let work = self.m.max(FETCH) * self.n.max(FETCH) * self.k;
        if self.parallel && work > SERIAL { rayon::current_num_threads() } else { 1 }
    }
}

/// C as tasks share it; each writes a part of its own.
#[derive(Clone, Copy)]
struct Output {
    c: *mut f32,
    row_stride: usize,
    col_stride: usize,
}

// SAFETY: tasks write disjoint parts, see `blocked.rs` and `thin.rs`.
unsafe impl Send for Output {}
unsafe impl Sync for Output {}

impl Output {
    fn at(&self, row: usize, col: usize) -> *mut f32 {
        self.c.wrapping_add(row * self.row_stride + col * self.col_stride)
    }

    fn swapped(self) -> Self {
        Output { row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

/// How a product is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// See `thin.rs`; the other way round: with the operands swapped.
    Dots,
    DotsSwapped,
    Blocked,
    BlockedSwapped,
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Tiles,
}

/// By the shape and the storage.
fn way(kernel: &Kernel, p: &Product<'_>) -> Way {
    if p.m <= thin::FEW_ROWS && p.b.layout == Layout::Lines {
        return Way::Dots;
    }
    if p.n <= thin::FEW_COLS && p.a.layout == Layout::Lines {
        return Way::DotsSwapped;
    }
    if p.n <= thin::FEW_COLS && p.m > p.n {
        return Way::BlockedSwapped;
    }
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    if kernel.tiles && amx::pays(p) {
        return Way::Tiles;
    }
    Way::Blocked
}

/// Rows of C start `c_stride` apart.
fn product(kernel: &Kernel, c: &mut [f32], c_stride: usize, p: Product<'_>) {
    if p.m == 0 || p.n == 0 {
        return;
    }
    let need = (p.m - 1) * c_stride + p.n;
    assert!(p.n <= c_stride && need <= c.len(), "C has {} values, its shape needs {need}", c.len());
    p.a.check("A", p.m, p.k);
    p.b.check("B", p.n, p.k);
    if let Some(beside) = &p.beside {
        beside.a.check("A'", p.m, beside.depth);
        beside.b.check("B'", p.n, beside.depth);
    }
    if p.k == 0 {
        if p.to == Out::Set {
            (0..p.m).for_each(|i| c[i * c_stride..][..p.n].fill(0.0));
        }
        return;
    }
    let out = Output { c: c.as_mut_ptr(), row_stride: c_stride, col_stride: 1 };
    match way(kernel, &p) {
        Way::Dots => thin::dots(kernel, out, &p),
        Way::DotsSwapped => thin::dots(kernel, out.swapped(), &p.swapped()),
        Way::Blocked => blocked::run(kernel, out, &p),
        Way::BlockedSwapped => blocked::run(kernel, out.swapped(), &p.swapped()),
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Way::Tiles => amx::run(out, &p),
    }
}
