//! LoRA branches: products with one thin side, where reading the activations once is what counts.
//!
//! The A matrices of layers that read one input are stacked, so that x is read once forward, and once for all of
//! their gradients. u Bᵀ and du A go into the same C as the product of the frozen weight, as a few more depths of it
//! (`gemm_with`), or by a sweep of their own where that product takes another way. Going back there are a sweep over
//! rows (du = s · dy B), that product, and a sweep over columns (dB += s · dyᵀ u, dA += duᵀ x); each value is computed by
//! one task in one order, whatever the number of threads.
//!
//! Legend: T rows · I inputs · O outputs · R rank · S the sum of the ranks. All in f32 and row-major.

use super::attention::{cut, with_scratch};
use super::gemm::kernel::{Kernel, Tile};
use super::gemm::{A, B, gemm_with, goes_with};
use super::parallel::{SharedMut, for_each};
use super::product::{COLUMNS, Panels, Seen, Strided, product};
use super::profile::Part;
use super::{Buffer, CpuBackend, quant, straight, transposed};
use crate::Dtype;
use crate::backend::{Backend, Dims, Mat, Out};
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

/// [`Backend::linear_lora`]: in one product where that goes a way which can.
pub fn weight_and_branch(
    backend: &CpuBackend,
    x: &Buffer,
    w: Mat<CpuBackend>,
    dims: Dims,
    branch: &LoraOut<CpuBackend>,
    to: Out,
    y: &mut Buffer,
) {
    let Dims { rows, inputs, outputs } = dims;
    let shape = (rows, outputs, inputs);
    let int8 = matches!(w, Mat::Frozen(w) if w.panels().is_some()) && quant::serves(rows);
    if !int8 && serves(rows, 0, [outputs]) && goes_with(shape, transposed(w), branch.rank) {
        backend.timed(Part::Products, rows * (inputs + branch.rank) * outputs, || {
            forward_with(shape, x, transposed(w), branch, to, y);
        });
    } else {
        backend.linear(x, w, dims, 1.0, to, y);
        backend.lora_out(rows, branch, y);
    }
}

/// [`Backend::lora_backward`]: du, then the products of the weights with du A beside the last of them, then the
/// gradients of A and B.
pub fn backward(
    backend: &CpuBackend,
    x: &Buffer,
    rows: usize,
    inputs: usize,
    branches: &mut [LoraBackward<CpuBackend>],
    du: &mut Buffer,
    dx: Option<(Out, &mut Buffer)>,
) {
    let into: usize = branches.iter().map(|b| rows * b.rank * inputs).sum();
    let out_of: usize = branches.iter().map(|b| rows * b.rank * b.outputs).sum();
    let served = serves(rows, inputs, branches.iter().map(|b| b.outputs));
    if served {
        backend.timed(Part::Lora, out_of, || backward_out(rows, branches, du));
    }
    let dx = dx.and_then(|(to, dx)| {
        let (to, together) =
            weights_backward(backend, rows, inputs, branches, served.then_some(&**du), to, dx);
        (!together).then_some((to, dx))
    });
    if !served {
        return backend.timed(Part::Lora, 2 * (into + out_of), || {
            crate::lora::lora_backward(&CpuBackend::new(), x, rows, inputs, branches, du, dx);
        });
    }
    if let Some((to, dx)) = dx {
        backend.timed(Part::Lora, into, || backward_in(rows, inputs, branches, du, to, dx));
    }
    backend.timed(Part::Lora, into + out_of, || backward_weights(x, rows, inputs, branches, du));
}

/// dx (+)= Σ dy W of the branches that have a weight beside them, which is taken from them, and du A with the last, if
/// `du` is there and it can; how the next goes to dx, and whether du A is in it.
fn weights_backward(
    backend: &CpuBackend,
    rows: usize,
    inputs: usize,
    branches: &mut [LoraBackward<CpuBackend>],
    du: Option<&[f32]>,
    mut to: Out,
    dx: &mut Buffer,
) -> (Out, bool) {
    let ranks: usize = branches.iter().map(|b| b.rank).sum();
    let last = branches.iter().rposition(|b| b.w.is_some());
    let mut together = false;
    for i in 0..branches.len() {
        let LoraBackward { dy, outputs, .. } = branches[i];
        let Some(w) = branches[i].w.take() else { continue };
        let shape = (rows, inputs, outputs);
        match du.filter(|_| Some(i) == last && goes_with(shape, straight(w), ranks)) {
            Some(du) => {
                together = true;
                backend.timed(Part::Products, rows * inputs * (outputs + ranks), || {
                    backward_with(shape, dy, straight(w), branches, du, to, dx);
                });
            }
            None => backend.linear_backward_input(dy, w, Dims { rows, inputs, outputs }, 1.0, to, dx),
        }
        to = Out::Add;
    }
    (to, together)
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
        let (b, y) = (Panels::rows(b, outputs), SharedMut::new(y));
        each_rows(rows, rows * outputs, |start, rows| {
            // SAFETY: these rows are this task's.
            let y = unsafe { y.slice(start * outputs, rows * outputs) };
            let u = Strided::rows(&branch.u[start * rank..], rank);
            product((rows, outputs, rank), u, b, Seen::All, Out::Add, y, outputs);
        });
    });
}

/// `y [T, O]` (+)= x Wᵀ + s · u Bᵀ in one product; `shape` is (T, O, I).
fn forward_with(
    shape: (usize, usize, usize),
    x: &[f32],
    w: B<'_>,
    branch: &LoraOut<CpuBackend>,
    to: Out,
    y: &mut [f32],
) {
    let scaling = branch.scaling as f32;
    with_scratch(branch.rank * branch.outputs, |b| {
        b.iter_mut().zip(&**branch.b).for_each(|(to, b)| *to = scaling * b);
        gemm_with(y, shape, (A::Rows(x), w), branch.rank, (A::Rows(branch.u), B::Transposed(b)), to);
    });
}

/// du = s · dy B of all branches, side by side: `du [T, S]`.
fn backward_out(rows: usize, branches: &[LoraBackward<CpuBackend>], du: &mut [f32]) {
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
fn with_stacked<R>(inputs: usize, branches: &[LoraBackward<CpuBackend>], f: impl FnOnce(&[f32]) -> R) -> R {
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

/// `dx [T, I]` (+)= dy W + du A in one product, of one branch's weight and all branches' A; `shape` is (T, I, O).
fn backward_with(
    shape: (usize, usize, usize),
    dy: &[f32],
    w: B<'_>,
    branches: &[LoraBackward<CpuBackend>],
    du: &[f32],
    to: Out,
    dx: &mut [f32],
) {
    let ranks = branches.iter().map(|b| b.rank).sum();
    with_stacked(shape.1, branches, |stacked| {
        gemm_with(dx, shape, (A::Rows(dy), w), ranks, (A::Rows(du), B::Rows(stacked)), to);
    });
}

/// dx (+)= du A of all branches.
fn backward_in(
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
        let stacked = Panels::rows(stacked, inputs);
        each_rows(rows, rows * inputs, |start, rows| {
            // SAFETY: these rows are this task's.
            let dx = unsafe { dx.slice(start * inputs, rows * inputs) };
            let du = Strided::rows(&du[start * sum..], sum);
            product((rows, inputs, sum), du, stacked, Seen::All, to, dx, inputs);
        });
    });
}

/// dB += s · dyᵀ u and dA += duᵀ x, in strips of columns of dy and of x.
fn backward_weights(
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
        let left = Strided::transposed(&left[start * left_stride..], left_stride);
        let right = Panels::rows(&right[start * right_stride + from..], right_stride);
        product((lines, width, depth), left, right, Seen::All, to, out, width);
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
