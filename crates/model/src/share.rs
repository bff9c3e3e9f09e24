//! Another decoder over the same frozen matrices: a base in memory once, many adapters over it.

use crate::block::Block;
use crate::decoder::{Decoder, Head};
use crate::linear::Linear;
use crate::parameter::{NormWeight, Parameter, Weight};
use std::sync::Arc;
use tolmach_engine::Backend;

impl<B: Backend> Decoder<B> {
    /// The base of this model as a decoder of its own, with neither adapter nor trained copies: frozen
    /// matrices are shared with this one, the norms' few numbers are copied.
    ///
    /// # Panics
    /// A weight of the model itself is trained ([`Decoder::train_all`]): there is no base to share.
    pub fn share(&self) -> Self {
        let backend = &*self.backend;
        let head = match &self.head {
            Head::Own(weight) if !self.config.tie_word_embeddings => Head::Own(frozen(weight)),
            _ => Head::Tied,
        };
        Self {
            backend: Arc::clone(&self.backend),
            config: self.config.clone(),
            embed_tokens: frozen(&self.embed_tokens),
            blocks: self.blocks.iter().map(|b| block(backend, b)).collect(),
            norm: norm(backend, &self.norm),
            head,
            fingerprint: self.fingerprint.clone(),
            recompute: self.recompute,
        }
    }
}

fn block<B: Backend>(backend: &B, of: &Block<B>) -> Block<B> {
    Block {
        input_layernorm: norm(backend, &of.input_layernorm),
        q_proj: linear(&of.q_proj),
        k_proj: linear(&of.k_proj),
        v_proj: linear(&of.v_proj),
        o_proj: linear(&of.o_proj),
        post_attention_layernorm: norm(backend, &of.post_attention_layernorm),
        gate_proj: linear(&of.gate_proj),
        up_proj: linear(&of.up_proj),
        down_proj: linear(&of.down_proj),
    }
}

fn linear<B: Backend>(of: &Linear<B>) -> Linear<B> {
    Linear {
        name: of.name.clone(),
        inputs: of.inputs,
        outputs: of.outputs,
        weight: frozen(&of.weight),
        lora: None,
    }
}

fn frozen<B: Backend>(weight: &Weight<B>) -> Weight<B> {
    match weight {
        Weight::Frozen(matrix) | Weight::Trained { base: Some(matrix), .. } => {
            Weight::Frozen(Arc::clone(matrix))
        }
        Weight::Trained { base: None, parameter } => {
            panic!("{} is trained in full: no base is left to share", parameter.name)
        }
    }
}

fn norm<B: Backend>(backend: &B, of: &NormWeight<B>) -> NormWeight<B> {
    let Parameter { name, rows, cols, .. } = &of.parameter;
    let values = of.parameter.to_f32(backend);
    NormWeight { parameter: Parameter::new(backend, name.clone(), *rows, *cols, &values), trained: false }
}
