//! LoRA branches beside frozen products (Hu et al. 2021): u = x Aᵀ, y += s · u Bᵀ, over any backend.
//!
//! Layers that read the same input are taken together: a backend may make one product of all their A matrices.
//! Here each product is made by itself, in plain operations: what [`Backend::lora_in`], [`Backend::lora_out`],
//! [`Backend::linear_lora`] and [`Backend::lora_backward`] mean, and what they fall back to.
//!
//! Legend: T rows · I inputs · O outputs · R rank. A `[R, I]`, B `[O, R]`.

use crate::backend::{Backend, Dims, Mat, Out};

/// The first half of one branch: `u [T, R]` is set to x Aᵀ.
pub struct LoraIn<'a, B: Backend + ?Sized> {
    pub a: &'a B::Buffer,
    pub rank: usize,
    pub u: &'a mut B::Buffer,
}

/// The second half: `y [T, O] += scaling · u Bᵀ`.
pub struct LoraOut<'a, B: Backend + ?Sized> {
    pub b: &'a B::Buffer,
    pub rank: usize,
    pub outputs: usize,
    pub scaling: f64,
    pub u: &'a B::Buffer,
}

/// A branch on its way back, from `dy [T, O]`: adds to the gradients of A and B.
pub struct LoraBackward<'a, B: Backend + ?Sized> {
    pub a: &'a B::Buffer,
    pub b: &'a B::Buffer,
    pub rank: usize,
    pub outputs: usize,
    pub scaling: f64,
    /// The forward's, `[T, R]`
    pub u: &'a B::Buffer,
    pub dy: &'a B::Buffer,
    /// The weight `[O, I]` beside the branch, if `dy` goes back through it too: dx gets dy W
    pub w: Option<Mat<'a, B>>,
    pub da: &'a mut B::Buffer,
    pub db: &'a mut B::Buffer,
}

/// [`Backend::lora_in`], branch by branch.
pub fn lora_in<B: Backend + ?Sized>(
    backend: &B,
    x: &B::Buffer,
    rows: usize,
    inputs: usize,
    branches: &mut [LoraIn<B>],
) {
    for branch in branches {
        let dims = Dims { rows, inputs, outputs: branch.rank };
        backend.linear(x, Mat::Dense(branch.a), dims, 1.0, Out::Set, branch.u);
    }
}

/// [`Backend::lora_out`].
pub fn lora_out<B: Backend + ?Sized>(backend: &B, rows: usize, branch: &LoraOut<B>, y: &mut B::Buffer) {
    let dims = Dims { rows, inputs: branch.rank, outputs: branch.outputs };
    backend.linear(branch.u, Mat::Dense(branch.b), dims, branch.scaling, Out::Add, y);
}

/// [`Backend::lora_backward`], branch by branch.
pub fn lora_backward<B: Backend + ?Sized>(
    backend: &B,
    x: &B::Buffer,
    rows: usize,
    inputs: usize,
    branches: &mut [LoraBackward<B>],
    du: &mut B::Buffer,
    mut dx: Option<(Out, &mut B::Buffer)>,
) {
    for branch in branches {
        let into = Dims { rows, inputs, outputs: branch.rank };
        let out_of = Dims { rows, inputs: branch.rank, outputs: branch.outputs };
        let s = branch.scaling;
        backend.linear_backward_weight(branch.dy, branch.u, out_of, s, branch.db);
        backend.linear_backward_input(branch.dy, Mat::Dense(branch.b), out_of, s, Out::Set, du);
        backend.linear_backward_weight(du, x, into, 1.0, branch.da);
        if let Some((to, dx)) = &mut dx {
            if let Some(w) = branch.w {
                let dims = Dims { rows, inputs, outputs: branch.outputs };
                backend.linear_backward_input(branch.dy, w, dims, 1.0, *to, dx);
                *to = Out::Add;
            }
            backend.linear_backward_input(du, Mat::Dense(branch.a), into, 1.0, *to, dx);
            *to = Out::Add;
        }
    }
}
