//! LoRA branches: products with one thin side, where reading the activations once is what counts.
//!
//! The A matrices of layers that read one input are stacked, so that x is read once forward, and once for all of
//! their gradients. u Bᵀ and du A go into the same C as the product of the frozen weight, as a few more depths of it
//! (`gemm_with`), or by a sweep of their own where that product takes another way. Going back there are a sweep over
//! rows (du = s · dy B), that product, and a sweep over columns (dB += s · dyᵀ u, dA += duᵀ x); each value is computed by
//! one task in one order, whatever the number of threads.
//!
//! Legend: T rows · I inputs · O outputs · R rank · S the sum of the ranks. All in f32 and row-major.

use super::CpuBackend;
use super::attention::product::{COLUMNS, Rows, Strided, product};
use super::attention::{cut, with_scratch};
use super::gemm::kernel::{Kernel, Tile};
use super::gemm::{A, B, gemm_with, goes_with};
use super::parallel::{SharedMut, for_each};
use crate::Dtype;
use crate::backend::Out;
use crate::lora::{LoraBackward, LoraIn, LoraOut};

/// Rows of a task of a sweep over rows.
const ROWS: usize = 32;
/// Columns of a task of a sweep over columns.
const STRIP: usize = 128;
/// Rows that a strip goes over at a time: few enough that their pages stay known to the processor.
const DEPTH: usize = 64;

/// Whether these shapes are served here: matrices are laid out anew for each call, which few rows are not worth,
/// and columns come in multiples.
pub fn serves(rows: usize, inputs: usize, outputs: impl IntoIterator<Item = usize>) -> bool {
    let whole = |columns: usize| columns.is_multiple_of(COLUMNS);
    rows >= 2 * ROWS && whole(inputs) && outputs.into_iter().all(whole)
}

/// Bytes of scratch memory that a backward of branches `(rank, outputs)` over one input holds: the B matrices in another
/// layout, then the stacked A matrices. The thread that calls holds them, in the memory that attention uses too.
pub fn scratch_bytes(inputs: usize, branches: impl IntoIterator<Item = (usize, usize)>) -> usize {
    let add = |(a, b): (usize, usize), (rank, outputs)| (a + rank * inputs, b + rank * outputs);
    let (a, b) = branches.into_iter().fold((0, 0), add);
    size_of::<f32>() * a.max(b)
}

/// Sets `u [T, R]` of every branch to x Aᵀ.
pub fn forward_in(x: &[f32], rows: usize, inputs: usize, branches: &mut [LoraIn<CpuBackend>]) {
    let outputs: Vec<_> = branches.iter_mut().map(|b| (b.a, b.rank, SharedMut::new(b.u))).collect();
    each_rows(rows, rows * inputs, |start, rows| {
        let x = &x[start * inputs..][..rows * inputs];
        for (a, rank, u) in &outputs {
            // SAFETY: these rows are this task's.
            let u = unsafe { u.slice(start * rank, rows * rank) };
            dots((rows, *rank, inputs), x, a, 1.0, u, *rank);
        }
    });
}

/// `y [T, O] += scaling · u Bᵀ`.
pub fn forward_out(rows: usize, branch: &LoraOut<CpuBackend>, y: &mut [f32]) {
    let (rank, outputs) = (branch.rank, branch.outputs);
    with_scratch(rank * outputs, |b| {
        transpose(&branch.b[..outputs * rank], rank, branch.scaling as f32, b, outputs);
        let (b, y) = (Rows { values: b, stride: outputs }, SharedMut::new(y));
        each_rows(rows, rows * outputs, |start, rows| {
            // SAFETY: these rows are this task's.
            let y = unsafe { y.slice(start * outputs, rows * outputs) };
            let u = Strided { values: &branch.u[start * rank..], row: rank, col: 1 };
            product((rows, outputs, rank), u, b, Out::Add, y, outputs);
        });
    });
}

/// y (+)= x Wᵀ + s · u Bᵀ for `product`'s shape (T, O, I) and operands, in one product; `false`: nothing was done.
pub fn forward_with(
    (rows, outputs, inputs): (usize, usize, usize),
    x: &[f32],
    w: B<'_>,
    branch: &LoraOut<CpuBackend>,
    to: Out,
    y: &mut [f32],
) -> bool {
    let (rank, scaling) = (branch.rank, branch.scaling as f32);
    if !goes_with((rows, outputs, inputs), w) {
        return false;
    }
    with_scratch(rank * outputs, |b| {
        b.iter_mut().zip(branch.b).for_each(|(to, b)| *to = scaling * b);
        let beside = (A::Rows(branch.u), B::Transposed(b));
        gemm_with(y, (rows, outputs, inputs), (A::Rows(x), w), rank, beside, to);
    });
    true
}

/// du = s · dy B of all branches, side by side: `du [T, S]`.
pub fn backward_out(rows: usize, branches: &[LoraBackward<CpuBackend>], du: &mut [f32]) {
    let sum: usize = branches.iter().map(|b| b.rank).sum();
    let outputs = branches.iter().map(|b| b.outputs).sum::<usize>();
    let scratch = branches.iter().map(|b| b.rank * b.outputs).sum();
    let du = SharedMut::new(&mut du[..rows * sum]);
    with_scratch(scratch, |mut scratch| {
        let mut layouts = Vec::with_capacity(branches.len());
        for branch in branches {
            let b = cut(&mut scratch, branch.rank * branch.outputs);
            transpose(&branch.b[..branch.outputs * branch.rank], branch.rank, 1.0, b, branch.outputs);
            layouts.push((branch, &*b));
        }
        each_rows(rows, rows * outputs, |start, rows| {
            // SAFETY: these rows are this task's.
            let du = unsafe { du.slice(start * sum, rows * sum) };
            let mut from = 0;
            for (branch, b) in &layouts {
                let shape = (rows, branch.rank, branch.outputs);
                let dy = &branch.dy[start * branch.outputs..][..rows * branch.outputs];
                dots(shape, dy, b, branch.scaling as f32, &mut du[from..], sum);
                from += branch.rank;
            }
        });
    });
}

/// Run `f` on the A matrices of all branches, one below the other: `[S, I]`.
fn with_stacked<R>(
    inputs: usize,
    branches: &[LoraBackward<CpuBackend>],
    f: impl FnOnce(&[f32]) -> R,
) -> R {
    if let [branch] = branches {
        return f(&branch.a[..branch.rank * inputs]);
    }
    with_scratch(branches.iter().map(|b| b.rank * inputs).sum(), |stacked| {
        let mut rest = &mut *stacked;
        for branch in branches {
            cut(&mut rest, branch.rank * inputs).copy_from_slice(&branch.a[..branch.rank * inputs]);
        }
        f(stacked)
    })
}

/// dx (+)= dy W + du A, with the last of the branches' weights, in one product; `false`: nothing was done.
pub fn backward_with(
    rows: usize,
    inputs: usize,
    (dy, w, outputs): (&[f32], B<'_>, usize),
    branches: &[LoraBackward<CpuBackend>],
    du: &[f32],
    to: Out,
    dx: &mut [f32],
) -> bool {
    let shape = (rows, inputs, outputs);
    let sum = branches.iter().map(|b| b.rank).sum();
    goes_with(shape, w)
        && with_stacked(inputs, branches, |stacked| {
            gemm_with(dx, shape, (A::Rows(dy), w), sum, (A::Rows(du), B::Rows(stacked)), to);
            true
        })
}

/// dx (+)= du A of all branches.
pub fn backward_in(
    rows: usize,
    inputs: usize,
    branches: &[LoraBackward<CpuBackend>],
    du: &[f32],
    to: Out,
    dx: &mut [f32],
) {
    let sum: usize = branches.iter().map(|b| b.rank).sum();
    let dx = SharedMut::new(dx);
    with_stacked(inputs, branches, |stacked| {
        let stacked = Rows { values: stacked, stride: inputs };
        each_rows(rows, rows * inputs, |start, rows| {
            // SAFETY: these rows are this task's.
            let dx = unsafe { dx.slice(start * inputs, rows * inputs) };
            let du = Strided { values: &du[start * sum..], row: sum, col: 1 };
            product((rows, inputs, sum), du, stacked, to, dx, inputs);
        });
    });
}

/// dB += s · dyᵀ u and dA += duᵀ x, in strips of columns of dy and of x.
pub fn backward_weights(
    x: &[f32],
    rows: usize,
    inputs: usize,
    branches: &mut [LoraBackward<CpuBackend>],
    du: &[f32],
) {
    enum Strip<'a> {
        /// Of one branch's dB: columns of dy from here on.
        B { dy: &'a [f32], u: &'a [f32], rank: usize, outputs: usize, scaling: f32, db: &'a SharedMut<'a> },
        /// Of every branch's dA: columns of x.
        A,
    }
    let sum: usize = branches.iter().map(|b| b.rank).sum();
    let work = rows * (inputs + branches.iter().map(|b| b.outputs).sum::<usize>());
    let mut gradients = Vec::with_capacity(branches.len());
    let mut sources = Vec::with_capacity(branches.len());
    for branch in branches.iter_mut() {
        let LoraBackward { rank, outputs, scaling, u, dy, da, db, .. } = branch;
        gradients.push((*rank, SharedMut::new(da), SharedMut::new(db)));
        sources.push((&***u, &***dy, *rank, *outputs, *scaling as f32));
    }
    let mut strips = Vec::new();
    for (&(u, dy, rank, outputs, scaling), (_, _, db)) in sources.iter().zip(&gradients) {
        let strip = |from| (from, Strip::B { dy, u, rank, outputs, scaling, db });
        strips.extend((0..outputs).step_by(STRIP).map(strip));
    }
    strips.extend((0..inputs).step_by(STRIP).map(|from| (from, Strip::A)));
    for_each(strips.len(), work, |i| match &strips[i] {
        (from, Strip::B { dy, u, rank, outputs, scaling, db }) => {
            let width = STRIP.min(outputs - from);
            with_scratch(rank * width, |out| {
                over_rows(rows, (u, *rank, *rank), (dy, *outputs, *from), width, out);
                // SAFETY: these rows of dB are this task's.
                let db = unsafe { db.slice(from * rank, width * rank) };
                for (column, db) in db.chunks_exact_mut(*rank).enumerate() {
                    for (r, db) in db.iter_mut().enumerate() {
                        *db += scaling * out[r * width + column];
                    }
                }
            });
        }
        (from, Strip::A) => {
            let width = STRIP.min(inputs - from);
            with_scratch(sum * width, |out| {
                over_rows(rows, (du, sum, sum), (x, inputs, *from), width, out);
                let mut lines = out.chunks_exact(width);
                for (rank, da, _) in &gradients {
                    for (r, line) in lines.by_ref().take(*rank).enumerate() {
                        // SAFETY: these columns of dA are this task's.
                        let da = unsafe { da.slice(r * inputs + from, width) };
                        da.iter_mut().zip(line).for_each(|(da, x)| *da += x);
                    }
                }
            });
        }
    });
}

/// `out [lines, width]` = leftᵀ · right over all rows: `left [T, left_stride]`, its first `lines` columns;
/// `right [T, right_stride]`, `width` columns from `from` on.
fn over_rows(
    rows: usize,
    (left, left_stride, lines): (&[f32], usize, usize),
    (right, right_stride, from): (&[f32], usize, usize),
    width: usize,
    out: &mut [f32],
) {
    for start in (0..rows).step_by(DEPTH) {
        let depth = DEPTH.min(rows - start);
        let to = if start == 0 { Out::Set } else { Out::Add };
        let left = Strided { values: &left[start * left_stride..], row: 1, col: left_stride };
        let right = Rows { values: &right[start * right_stride + from..], stride: right_stride };
        product((lines, width, depth), left, right, to, out, width);
    }
}

/// `out[i][j] = factor · x[i] · lines[j]` for `shape` (rows of x, lines, depth), `x [rows, depth]`,
/// `lines [_, depth]`, rows of `out` at a distance.
fn dots(
    (rows, count, depth): (usize, usize, usize),
    x: &[f32],
    lines: &[f32],
    factor: f32,
    out: &mut [f32],
    out_stride: usize,
) {
    /// Depths that a few lines go along at a time: they stay in the first-level cache while the rows pass by.
    const BLOCK: usize = 768;
    assert!(rows > 0 && count > 0 && depth > 0, "an empty product");
    assert!(rows * depth <= x.len() && count * depth <= lines.len(), "operands");
    assert!(count <= out_stride && (rows - 1) * out_stride + count <= out.len(), "output");
    let kernel = Kernel::best().typed(Dtype::F32).dots;
    for from in (0..depth).step_by(BLOCK) {
        let c = out.as_mut_ptr();
        let tile = Tile {
            c,
            row_stride: 1,
            col_stride: out_stride,
            rows: count,
            cols: rows,
            alpha: factor,
            add: from > 0,
        };
        let (few, many) = (lines[from..].as_ptr(), x[from..].as_ptr());
        // SAFETY: by the assertions the rows, lines and results are there; a kernel is only had where it runs.
        unsafe { kernel(BLOCK.min(depth - from), few, depth, many.cast(), depth, &tile) };
    }
}

/// `f(first row, rows)` for runs of [`ROWS`].
fn each_rows(rows: usize, work: usize, f: impl Fn(usize, usize) + Send + Sync) {
    for_each(rows.div_ceil(ROWS), work, |i| f(i * ROWS, ROWS.min(rows - i * ROWS)));
}

/// `out[c · stride + r] = factor · x[r][c]` for `x [_, width]`.
fn transpose(x: &[f32], width: usize, factor: f32, out: &mut [f32], stride: usize) {
    for (r, row) in x.chunks_exact(width).enumerate() {
        for (x, out) in row.iter().zip(out[r..].iter_mut().step_by(stride)) {
            *out = factor * x;
        }
    }
}
