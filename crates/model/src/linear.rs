//! A linear layer with an optional LoRA branch (Hu et al. 2021): y = x Wᵀ + s · dropout(x) Aᵀ Bᵀ.
//!
//! Legend: T rows · I inputs · O outputs · R rank. W `[O, I]`, A `[R, I]`, B `[O, R]`.

mod dora;
pub mod group;

pub use dora::{Dora, MAGNITUDE};

use crate::parameter::{Parameter, Side, Weight};
use tolmach_engine::{Backend, Dims, Dropout, LoraBackward, LoraIn, LoraOut, Out, random};

/// The two low-rank matrices of one layer.
pub struct Lora<B: Backend> {
    /// `[R, I]`
    pub a: Parameter<B>,
    /// `[O, R]`
    pub b: Parameter<B>,
    pub rank: usize,
    /// alpha / rank, or alpha / √rank with rsLoRA.
    pub scaling: f64,
    pub dropout: f32,
    pub dora: Option<Dora<B>>,
}

/// What the branch of one layer leaves to the backward.
pub struct Branch<B: Backend> {
    /// dropout(x) Aᵀ, `[T, R]`
    pub u: B::Buffer,
    /// dropout(x) (W + s·B A)ᵀ, `[T, O]`, with DoRA; empty without
    pub z: B::Buffer,
}

pub struct Linear<B: Backend> {
    /// As in the checkpoint, without `.weight`.
    pub name: String,
    pub inputs: usize,
    pub outputs: usize,
    pub weight: Weight<B>,
    pub lora: Option<Lora<B>>,
}

/// How a pass runs.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    pub side: Side,
    /// Key of this micro-batch's dropout masks; `None` outside training.
    pub dropout_key: Option<u64>,
}

impl Pass {
    pub fn inference(side: Side) -> Self {
        Self { side, dropout_key: None }
    }
}

/// Buffers that one linear layer after the other uses.
pub struct LinearScratch<B: Backend> {
    /// dropout(x), `[T, widest input]`.
    dropped: B::Buffer,
    /// The gradient of dropout(x), same size.
    dropped_grad: B::Buffer,
    /// Gradients of u = x Aᵀ of all layers that read one input, see [`Backend::lora_scratch`].
    du: B::Buffer,
    /// Gradient of DoRA's z, `[T, widest output]`.
    dz: B::Buffer,
}

/// How large these buffers are.
#[derive(Clone, Copy, Debug)]
pub struct LinearScratchSize {
    pub rows: usize,
    /// Of all layers' inputs and outputs
    pub widest: usize,
    /// Of the seven layers of a block
    pub ranks: [usize; 7],
    /// Whether a dropout will run
    pub dropout: bool,
    /// Whether a backward of DoRA will run
    pub dora: bool,
}

impl<B: Backend> LinearScratch<B> {
    pub fn new(backend: &B, size: LinearScratchSize) -> Self {
        let [dropped, dropped_grad, du, dz] = Self::sizes(size).map(|len| backend.zeros(len));
        Self { dropped, dropped_grad, du, dz }
    }

    /// Values in these buffers.
    pub fn values(size: LinearScratchSize) -> usize {
        Self::sizes(size).iter().sum()
    }

    #[cfg(test)]
    pub fn buffers(&self) -> [&B::Buffer; 4] {
        [&self.dropped, &self.dropped_grad, &self.du, &self.dz]
    }

    fn sizes(LinearScratchSize { rows, widest, ranks, dropout, dora }: LinearScratchSize) -> [usize; 4] {
        let wide = |needed: bool| if needed { rows * widest } else { 0 };
        let [q, k, v, o, gate, up, down] = ranks;
        let groups = [&[q, k, v][..], &[o], &[gate, up], &[down]];
        let groups = groups.into_iter().filter(|ranks| ranks.iter().any(|&rank| rank > 0));
        let du = groups.map(|ranks| B::lora_scratch(rows, ranks)).max().unwrap_or(0);
        [wide(dropout), wide(dropout), du, wide(dora)]
    }
}

impl<B: Backend> Linear<B> {
    fn dims(&self, rows: usize) -> Dims {
        Dims { rows, inputs: self.inputs, outputs: self.outputs }
    }

    /// The mask of this layer in this micro-batch; `None` where nothing is dropped.
    fn mask(&self, pass: Pass, site: u64) -> Option<Dropout> {
        let p = self.lora.as_ref()?.dropout;
        let key = pass.dropout_key?;
        (p > 0.0).then(|| Dropout { p, key: random::key(key, &[site]) })
    }

    /// `x [T, I]` → `y [T, O]` (set or added). `branch` is kept for the backward.
    /// `site` numbers the layers of the model: each has its own dropout mask.
    pub fn forward(
        &self,
        backend: &B,
        pass: Pass,
        site: u64,
        x: &B::Buffer,
        rows: usize,
        to: Out,
        y: &mut B::Buffer,
        branch: &mut Branch<B>,
        scratch: &mut LinearScratch<B>,
    ) {
        if self.has_dora() && pass.side == Side::Tuned {
            return self.dora_forward(backend, (pass, site), x, rows, to, y, branch, scratch);
        }
        self.branch(backend, pass, site, x, rows, branch, scratch);
        self.weight_forward(backend, pass, x, &branch.u, rows, to, y);
    }

    /// W and the branch's second half: `y [T, O]` (set or added) x Wᵀ + s · u Bᵀ.
    fn weight_forward(
        &self,
        backend: &B,
        pass: Pass,
        x: &B::Buffer,
        u: &B::Buffer,
        rows: usize,
        to: Out,
        y: &mut B::Buffer,
    ) {
        let (w, dims) = (self.weight.mat(pass.side), self.dims(rows));
        match &self.lora {
            Some(lora) if pass.side == Side::Tuned => {
                let (b, rank, outputs, scaling) = (&lora.b.value, lora.rank, self.outputs, lora.scaling);
                backend.linear_lora(x, w, dims, &LoraOut { b, rank, outputs, scaling, u }, to, y);
            }
            _ => backend.linear(x, w, dims, 1.0, to, y),
        }
    }

    /// The part of [`Linear::forward`] that the backward reads.
    pub fn branch(
        &self,
        backend: &B,
        pass: Pass,
        site: u64,
        x: &B::Buffer,
        rows: usize,
        branch: &mut Branch<B>,
        scratch: &mut LinearScratch<B>,
    ) {
        let Some(lora) = self.lora.as_ref().filter(|_| pass.side == Side::Tuned) else { return };
        let input = match self.mask(pass, site) {
            Some(mask) => {
                backend.dropout(x, rows * self.inputs, mask, Out::Set, &mut scratch.dropped);
                &scratch.dropped
            }
            None => x,
        };
        let half = LoraIn { a: &lora.a.value, rank: lora.rank, u: &mut branch.u };
        backend.lora_in(input, rows, self.inputs, &mut [half]);
        self.direction(backend, input, rows, branch);
    }

    /// From `dy [T, O]`: adds to the gradients of W (if trained), A and B, and sets or adds to
    /// `dx [T, I]` if anything below needs it. `x` and `branch` are the forward's.
    pub fn backward(
        &mut self,
        backend: &B,
        pass: Pass,
        site: u64,
        x: &B::Buffer,
        branch: &Branch<B>,
        dy: &B::Buffer,
        rows: usize,
        mut dx: Option<(Out, &mut B::Buffer)>,
        scratch: &mut LinearScratch<B>,
    ) {
        let mask = self.mask(pass, site);
        if self.has_dora() {
            return self.dora_backward(backend, mask, x, branch, dy, rows, dx, scratch);
        }
        let inputs = self.inputs;
        let LinearScratch { dropped, dropped_grad, du, .. } = scratch;
        let Some(mask) = mask else {
            self.weight_gradient(backend, x, dy, rows);
            return match self.lora_backward(pass, &branch.u, dy) {
                Some(branch) => backend.lora_backward(x, rows, inputs, &mut [branch], du, dx),
                None => self.input_gradient(backend, pass, dy, rows, dx),
            };
        };
        self.weight_backward(backend, pass, x, dy, rows, dx.as_mut().map(|(to, dx)| (*to, &mut **dx)));
        // What the weight was given is not what the branch was.
        let Some(branch) = self.lora_backward(pass, &branch.u, dy) else { return };
        let branch = LoraBackward { w: None, ..branch };
        let len = rows * inputs;
        backend.dropout(x, len, mask, Out::Set, dropped);
        let grad = dx.is_some().then_some((Out::Set, &mut *dropped_grad));
        backend.lora_backward(dropped, rows, inputs, &mut [branch], du, grad);
        if let Some((_, dx)) = dx {
            backend.dropout(dropped_grad, len, mask, Out::Add, dx);
        }
    }

    /// Whether a backward has anything to compute here.
    pub fn is_trained(&self) -> bool {
        self.lora.is_some() || self.weight.is_trained()
    }

    pub fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter<B>> {
        let lora = self.lora.iter_mut().flat_map(|l| {
            let magnitude = l.dora.as_mut().map(Dora::parameter_mut);
            [Some(&mut l.a), Some(&mut l.b), magnitude].into_iter().flatten()
        });
        self.weight.parameter_mut().into_iter().chain(lora)
    }
}
