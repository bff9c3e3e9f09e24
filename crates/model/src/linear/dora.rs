//! DoRA (Liu et al. 2024), as PEFT's `use_dora`: the direction of a row of W + s·B A, and its length apart.
//!
//! y = m ⊙ z / n, with z = x (W + s·B A)ᵀ, m the trained magnitudes and n = ‖W + s·B A‖ of each row, which
//! has no gradient (the paper's section 4.3). Under dropout x' = dropout(x) goes through the adapter alone:
//! y = x Wᵀ − x' Wᵀ + m ⊙ z' / n, with z' = x' (W + s·B A)ᵀ.
//!
//! Letters as in [`super`].

use super::{Branch, Linear, LinearScratch, Pass};
use crate::parameter::{Parameter, Side};
use std::sync::OnceLock;
use tolmach_engine::{Backend, Dims, Dropout, Mat, Out};

/// How PEFT's name of a magnitude ends.
pub const MAGNITUDE: &str = ".lora_magnitude_vector";

/// What DoRA adds to the two matrices of a layer.
pub struct Dora<B: Backend> {
    /// `[O]`
    pub magnitude: Parameter<B>,
    /// `[O]`, of the present A and B: computed at the first pass, forgotten when they may change.
    norms: OnceLock<B::Buffer>,
}

impl<B: Backend> Dora<B> {
    /// The magnitude, which may be changed, as may A and B: norms are computed anew.
    pub(super) fn parameter_mut(&mut self) -> &mut Parameter<B> {
        self.norms.take();
        &mut self.magnitude
    }
}

impl<B: Backend> Linear<B> {
    pub fn has_dora(&self) -> bool {
        self.lora.as_ref().is_some_and(|lora| lora.dora.is_some())
    }

    /// Make the layer's LoRA branch DoRA's, of these magnitudes `[O]`.
    pub fn add_dora(&mut self, backend: &B, magnitudes: &[f32]) {
        let name = format!("base_model.model.{}{MAGNITUDE}", self.name);
        let magnitude = Parameter::new(backend, name, 1, self.outputs, magnitudes);
        if let Some(lora) = &mut self.lora {
            lora.dora = Some(Dora { magnitude, norms: OnceLock::new() });
        }
    }

    /// ‖W + s·B A‖ of each row, `[O]`.
    pub fn row_norms(&self, backend: &B) -> B::Buffer {
        let lora = self.lora.as_ref().expect("only an adapted layer asks");
        let dims = Dims { rows: lora.rank, inputs: self.inputs, outputs: self.outputs };
        let mut norms = backend.zeros(self.outputs);
        let (a, b) = (&lora.a.value, &lora.b.value);
        backend.row_norms(self.weight.mat(Side::Base), a, b, dims, lora.scaling, &mut norms);
        norms
    }

    /// Magnitude and norms, the latter computed unless they are known.
    pub fn dora(&self, backend: &B) -> Option<(&B::Buffer, &B::Buffer)> {
        let dora = self.lora.as_ref()?.dora.as_ref()?;
        let norms = dora.norms.get_or_init(|| self.row_norms(backend));
        Some((&dora.magnitude.value, norms))
    }

    /// [`Linear::forward`] of the tuned side.
    pub(super) fn dora_forward(
        &self,
        backend: &B,
        (pass, site): (Pass, u64),
        x: &B::Buffer,
        rows: usize,
        to: Out,
        y: &mut B::Buffer,
        branch: &mut Branch<B>,
        scratch: &mut LinearScratch<B>,
    ) {
        self.branch(backend, pass, site, x, rows, branch, scratch);
        let (Some((magnitude, norms)), Some(lora)) = (self.dora(backend), &self.lora) else { return };
        let Branch { u, z } = branch;
        if self.mask(pass, site).is_none() {
            return backend.dora(z, magnitude, norms, rows, self.outputs, to, y);
        }
        // x' Wᵀ is z' without its update.
        backend.linear(x, self.weight.mat(pass.side), self.dims(rows), 1.0, to, y);
        backend.add_scaled(z, -1.0, rows * self.outputs, y);
        let out_of = Dims { rows, inputs: lora.rank, outputs: self.outputs };
        backend.linear(u, Mat::Dense(&lora.b.value), out_of, lora.scaling, Out::Add, y);
        backend.dora(z, magnitude, norms, rows, self.outputs, Out::Add, y);
    }

    /// The rest of [`Linear::branch`]: `z [T, O]` = `input` (W + s·B A)ᵀ, from `u` = `input` Aᵀ.
    pub(super) fn direction(&self, backend: &B, input: &B::Buffer, rows: usize, branch: &mut Branch<B>) {
        let Some(lora) = self.lora.as_ref().filter(|lora| lora.dora.is_some()) else { return };
        let Branch { u, z } = branch;
        backend.linear(input, self.weight.mat(Side::Tuned), self.dims(rows), 1.0, Out::Set, z);
        let out_of = Dims { rows, inputs: lora.rank, outputs: self.outputs };
        backend.linear(u, Mat::Dense(&lora.b.value), out_of, lora.scaling, Out::Add, z);
    }

    /// [`Linear::backward`], W being frozen.
    pub(super) fn dora_backward(
        &mut self,
        backend: &B,
        mask: Option<Dropout>,
        x: &B::Buffer,
        Branch { u, z }: &Branch<B>,
        dy: &B::Buffer,
        rows: usize,
        dx: Option<(Out, &mut B::Buffer)>,
        scratch: &mut LinearScratch<B>,
    ) {
        self.dora(backend); // the forward's norms, so they are there
        let (dims, outputs) = (self.dims(rows), self.outputs);
        let w = self.weight.mat(Side::Tuned);
        let Some(lora) = &mut self.lora else { return };
        let Some(Dora { magnitude: m, norms }) = &mut lora.dora else { return };
        let Some(norms) = norms.get() else { return };
        let LinearScratch { dropped, dropped_grad, du, dz } = scratch;
        backend.dora_backward(z, &m.value, norms, dy, rows, outputs, dz, &mut m.grad);
        let into = Dims { rows, inputs: dims.inputs, outputs: lora.rank };
        let out_of = Dims { rows, inputs: lora.rank, outputs };
        backend.linear_backward_weight(dz, u, out_of, lora.scaling, &mut lora.b.grad);
        backend.linear_backward_input(dz, Mat::Dense(&lora.b.value), out_of, lora.scaling, Out::Set, du);
        let Some(mask) = mask else {
            backend.linear_backward_weight(du, x, into, 1.0, &mut lora.a.grad);
            if let Some((to, dx)) = dx {
                backend.linear_backward_input(dz, w, dims, 1.0, to, dx);
                backend.linear_backward_input(du, Mat::Dense(&lora.a.value), into, 1.0, Out::Add, dx);
            }
            return;
        };
        let len = rows * dims.inputs;
        backend.dropout(x, len, mask, Out::Set, dropped);
        backend.linear_backward_weight(du, dropped, into, 1.0, &mut lora.a.grad);
        if let Some((to, dx)) = dx {
            // Past the mask goes dy W; through it (dz − dy) W + du A.
            backend.linear_backward_input(dy, w, dims, 1.0, to, dx);
            backend.add_scaled(dy, -1.0, rows * outputs, dz);
            backend.linear_backward_input(dz, w, dims, 1.0, Out::Set, dropped_grad);
            backend.linear_backward_input(du, Mat::Dense(&lora.a.value), into, 1.0, Out::Add, dropped_grad);
            backend.dropout(dropped_grad, len, mask, Out::Add, dx);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]
mod tests {
    use super::*;
    use crate::linear::{LinearScratchSize, Lora};
    use crate::parameter::Weight;
    use std::sync::Arc;
    use tolmach_engine::{FrozenMatrix, ReferenceBackend, random};

    const B: ReferenceBackend = ReferenceBackend;
    const ROWS: usize = 5;
    const SIZES: (usize, usize, usize) = (7, 6, 3); // I, O, R
    const SITE: u64 = 4;

    fn numbers(seed: f64, len: usize) -> Vec<f32> {
        (0..len).map(|i| ((i as f64 + seed) * 12.9898 + seed).sin() as f32).collect()
    }

    fn layer(dropout: f32) -> Linear<ReferenceBackend> {
        let (inputs, outputs, rank) = SIZES;
        let w = FrozenMatrix::from_f32(outputs, inputs, &numbers(1.0, outputs * inputs)).unwrap();
        let parameter = |name: &str, rows, cols, seed| {
            Parameter::new(&B, name.into(), rows, cols, &numbers(seed, rows * cols))
        };
        let mut layer = Linear {
            name: "layer".into(),
            inputs,
            outputs,
            weight: Weight::Frozen(Arc::new(B.matrix(w))),
            lora: Some(Lora {
                a: parameter("a", rank, inputs, 2.0),
                b: parameter("b", outputs, rank, 3.0),
                rank,
                scaling: 0.7,
                dropout,
                dora: None,
            }),
        };
        layer.add_dora(&B, &numbers(4.0, outputs));
        layer
    }

    fn pass(dropout: f32) -> Pass {
        Pass { side: Side::Tuned, dropout_key: (dropout > 0.0).then_some(17) }
    }

    fn buffers(dropout: bool) -> (Branch<ReferenceBackend>, LinearScratch<ReferenceBackend>) {
        let (inputs, outputs, rank) = SIZES;
        let branch = Branch { u: B.zeros(ROWS * rank), z: B.zeros(ROWS * outputs) };
        let widest = inputs.max(outputs);
        let size = LinearScratchSize { rows: ROWS, widest, ranks: [rank; 7], dropout, dora: true };
        (branch, LinearScratch::new(&B, size))
    }

    fn forward(layer: &Linear<ReferenceBackend>, dropout: f32, x: &Vec<f64>, to: Out) -> Vec<f64> {
        let (mut branch, mut scratch) = buffers(dropout > 0.0);
        let mut y = vec![0.25; ROWS * layer.outputs];
        layer.forward(&B, pass(dropout), SITE, x, ROWS, to, &mut y, &mut branch, &mut scratch);
        y
    }

    /// PEFT's lines, by hand: `result + (g − 1) · F.linear(x, W) + g · s · lora_B(lora_A(x))`, g = m / n, where
    /// under dropout `result` is of the whole x and all else of what is left of it.
    #[test]
    fn forward_is_pefts_with_and_without_dropout() {
        let (inputs, outputs, rank) = SIZES;
        let x: Vec<f64> = numbers(5.0, ROWS * inputs).iter().map(|&v| f64::from(v)).collect();
        for dropout in [0.0f32, 0.4] {
            let layer = layer(dropout);
            let lora = layer.lora.as_ref().unwrap();
            let w = B.dense(match &layer.weight {
                Weight::Frozen(w) => w,
                Weight::Trained { .. } => unreachable!(),
            });
            let key = random::key(17, &[SITE]);
            let kept = |i: usize| dropout == 0.0 || random::keep(key, i as u64, dropout);
            let left = |i: usize| if kept(i) { x[i] / (1.0 - f64::from(dropout)) } else { 0.0 };
            let (a, b) = (&lora.a.value, &lora.b.value);
            let update = |o: usize, i: usize| {
                0.7 * (0..rank).map(|r| b[o * rank + r] * a[r * inputs + i]).sum::<f64>()
            };
            for (to, old) in [(Out::Set, 0.0), (Out::Add, 0.25)] {
                let y = forward(&layer, dropout, &x, to);
                for (t, o) in (0..ROWS).flat_map(|t| (0..outputs).map(move |o| (t, o))) {
                    let sum = |f: &dyn Fn(usize) -> f64| (0..inputs).map(f).sum::<f64>();
                    let norm = sum(&|i| (w[o * inputs + i] + update(o, i)).powi(2)).sqrt();
                    let gain = lora.dora.as_ref().unwrap().magnitude.value[o] / norm;
                    let plain = sum(&|i| w[o * inputs + i] * x[t * inputs + i]);
                    let base = sum(&|i| w[o * inputs + i] * left(t * inputs + i));
                    let moved = sum(&|i| update(o, i) * left(t * inputs + i));
                    let expected = old + plain + (gain - 1.0) * base + gain * moved;
                    let found = y[t * outputs + o];
                    assert!((found - expected).abs() < 1e-12, "{dropout} {to:?}: {found} {expected}");
                }
            }
        }
    }

    /// A and B are moved behind the layer's back, so that its norms stay what they were: a constant.
    #[test]
    fn backward_is_that_of_finite_differences_with_constant_norms() {
        let (inputs, outputs, _) = SIZES;
        let wide = |v: Vec<f32>| v.into_iter().map(f64::from).collect::<Vec<f64>>();
        let (x, dy) = (wide(numbers(5.0, ROWS * inputs)), wide(numbers(6.0, ROWS * outputs)));
        for dropout in [0.0f32, 0.4] {
            let mut layer = layer(dropout);
            let (mut branch, mut scratch) = buffers(dropout > 0.0);
            let (pass, mut y) = (pass(dropout), B.zeros(ROWS * outputs));
            layer.forward(&B, pass, SITE, &x, ROWS, Out::Set, &mut y, &mut branch, &mut scratch);
            let mut dx = vec![0.5; ROWS * inputs];
            let into = Some((Out::Add, &mut dx));
            layer.backward(&B, pass, SITE, &x, &branch, &dy, ROWS, into, &mut scratch);
            dx.iter_mut().for_each(|v| *v -= 0.5);

            let scalar = |layer: &Linear<ReferenceBackend>, x: &Vec<f64>| {
                forward(layer, dropout, x, Out::Set).iter().zip(&dy).map(|(y, d)| y * d).sum::<f64>()
            };
            let close = |what: &str, found: f64, above: f64, below: f64| {
                let expected = (above - below) / 2e-5;
                assert!((found - expected).abs() < 1e-6, "{dropout} {what}: {found} {expected}");
            };
            for i in 0..x.len() {
                let moved = |by: f64| {
                    let mut x = x.clone();
                    x[i] += by;
                    scalar(&layer, &x)
                };
                close("x", dx[i], moved(1e-5), moved(-1e-5));
            }
            fn parameter(
                layer: &mut Linear<ReferenceBackend>,
                of: usize,
            ) -> &mut Parameter<ReferenceBackend> {
                let Lora { a, b, dora, .. } = layer.lora.as_mut().unwrap();
                [a, b, &mut dora.as_mut().unwrap().magnitude].into_iter().nth(of).unwrap()
            }
            for (of, what) in ["A", "B", "magnitude"].into_iter().enumerate() {
                for i in 0..parameter(&mut layer, of).len() {
                    let mut moved = |by: f64| {
                        parameter(&mut layer, of).value[i] += by;
                        let value = scalar(&layer, &x);
                        parameter(&mut layer, of).value[i] -= by;
                        value
                    };
                    let (above, below) = (moved(1e-5), moved(-1e-5));
                    close(what, parameter(&mut layer, of).grad[i], above, below);
                }
            }
        }
    }

    #[test]
    fn norms_follow_what_may_have_changed() {
        let mut layer = layer(0.0);
        let norms = |layer: &Linear<ReferenceBackend>| layer.dora(&B).unwrap().1.clone();
        let before = norms(&layer);
        layer.parameters_mut().for_each(|p| p.value.iter_mut().for_each(|v| *v *= 1.5));
        let after = norms(&layer);
        assert!(before.iter().zip(&after).all(|(a, b)| a != b));
        assert_eq!(after, layer.row_norms(&B));
    }
}
