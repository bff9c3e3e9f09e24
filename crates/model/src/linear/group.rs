//! Layers that read one input: q, k, v, and gate, up. Their LoRA branches are computed together, where nothing
//! but the input goes into them: a dropout has a mask of its own for each layer, and DoRA its own way.
//!
//! Letters as in [`super`].

use super::{Branch, Linear, LinearScratch, Pass};
use crate::parameter::{Side, Weight};
use tolmach_engine::{Backend, LoraBackward, LoraIn, Out};

/// A layer with what its forward writes.
pub struct Forward<'a, B: Backend> {
    pub layer: &'a Linear<B>,
    /// `[T, O]`, set
    pub y: &'a mut B::Buffer,
    pub branch: &'a mut Branch<B>,
}

/// A layer with what its backward reads.
pub struct Backward<'a, B: Backend> {
    pub layer: &'a mut Linear<B>,
    pub branch: &'a Branch<B>,
    /// `[T, O]`
    pub dy: &'a B::Buffer,
}

impl<B: Backend> Linear<B> {
    fn joins(&self, pass: Pass, site: u64) -> bool {
        self.lora.is_some() && !self.has_dora() && pass.side == Side::Tuned && self.mask(pass, site).is_none()
    }
}

/// [`Linear::forward`] of layers whose sites follow `site`.
pub fn forward<B: Backend, const N: usize>(
    backend: &B,
    (pass, site): (Pass, u64),
    x: &B::Buffer,
    rows: usize,
    mut layers: [Forward<B>; N],
    scratch: &mut LinearScratch<B>,
) {
    let inputs = layers[0].layer.inputs;
    let mut joined = Vec::with_capacity(N);
    for (site, Forward { layer, y, branch }) in (site..).zip(&mut layers) {
        match &layer.lora {
            Some(lora) if layer.joins(pass, site) => {
                joined.push(LoraIn { a: &lora.a.value, rank: lora.rank, u: &mut branch.u });
            }
            _ => layer.forward(backend, pass, site, x, rows, Out::Set, y, branch, scratch),
        }
    }
    backend.lora_in(x, rows, inputs, &mut joined);
    for (site, Forward { layer, y, branch }) in (site..).zip(&mut layers) {
        if layer.joins(pass, site) {
            layer.weight_forward(backend, pass, x, &branch.u, rows, Out::Set, y);
        }
    }
}

/// [`Linear::backward`] of layers whose sites follow `site`: the gradients of all add up in `dx [T, I]`.
pub fn backward<B: Backend, const N: usize>(
    backend: &B,
    (pass, site): (Pass, u64),
    x: &B::Buffer,
    rows: usize,
    layers: [Backward<B>; N],
    mut dx: Option<(Out, &mut B::Buffer)>,
    scratch: &mut LinearScratch<B>,
) {
    let inputs = layers[0].layer.inputs;
    let mut joined = Vec::with_capacity(N);
    for (site, Backward { layer, branch, dy }) in (site..).zip(layers) {
        if layer.joins(pass, site) {
            layer.weight_gradient(backend, x, dy, rows);
            joined.extend(layer.lora_backward(pass, &branch.u, dy));
        } else {
            let into = dx.as_mut().map(|(to, dx)| (std::mem::replace(to, Out::Add), &mut **dx));
            layer.backward(backend, pass, site, x, branch, dy, rows, into, scratch);
        }
    }
    if !joined.is_empty() {
        backend.lora_backward(x, rows, inputs, &mut joined, &mut scratch.du, dx);
    }
}

impl<B: Backend> Linear<B> {
    /// The gradients of W, if it is trained, and of what it was multiplied with.
    pub(super) fn weight_backward(
        &mut self,
        backend: &B,
        pass: Pass,
        x: &B::Buffer,
        dy: &B::Buffer,
        rows: usize,
        dx: Option<(Out, &mut B::Buffer)>,
    ) {
        self.weight_gradient(backend, x, dy, rows);
        self.input_gradient(backend, pass, dy, rows, dx);
    }

    /// The gradient of W, if it is trained.
    pub(super) fn weight_gradient(&mut self, backend: &B, x: &B::Buffer, dy: &B::Buffer, rows: usize) {
        let dims = self.dims(rows);
        if let Weight::Trained { parameter, .. } = &mut self.weight {
            backend.linear_backward_weight(dy, x, dims, 1.0, &mut parameter.grad);
        }
    }

    /// The gradient of what W was multiplied with, through W alone.
    pub(super) fn input_gradient(
        &self,
        backend: &B,
        pass: Pass,
        dy: &B::Buffer,
        rows: usize,
        dx: Option<(Out, &mut B::Buffer)>,
    ) {
        if let Some((to, dx)) = dx {
            backend.linear_backward_input(dy, self.weight.mat(pass.side), self.dims(rows), 1.0, to, dx);
        }
    }

    /// The branch on its way back, with the weight beside it.
    pub(super) fn lora_backward<'a>(
        &'a mut self,
        pass: Pass,
        u: &'a B::Buffer,
        dy: &'a B::Buffer,
    ) -> Option<LoraBackward<'a, B>> {
        let (lora, outputs) = (self.lora.as_mut()?, self.outputs);
        Some(LoraBackward {
            a: &lora.a.value,
            b: &lora.b.value,
            rank: lora.rank,
            outputs,
            scaling: lora.scaling,
            u,
            dy,
            w: Some(self.weight.mat(pass.side)),
            da: &mut lora.a.grad,
            db: &mut lora.b.grad,
        })
    }
}
