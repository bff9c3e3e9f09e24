//! The weights of a MarianMT model, packed for their products.

use super::config::{Shape, Side};
use super::error::MarianError;
use std::path::Path;
use std::sync::Arc;
use tolmach_engine::FrozenMatrix;
use tolmach_engine::cpu::infer::{PackedMatrix, Precision};
use tolmach_model::Checkpoint;

/// A whole model. Shapes: C hidden, F ffn, V vocabulary.
pub struct Model {
    pub shape: Shape,
    pub encoder: Embedding,
    pub encoder_layers: Vec<EncoderLayer>,
    pub decoder: Embedding,
    pub decoder_layers: Vec<DecoderLayer>,
    /// `[V, C]`
    pub head: Arc<PackedMatrix>,
    pub head_bias: Vec<f32>,
}

pub struct Embedding {
    /// `[V, C]`
    pub tokens: Arc<PackedMatrix>,
    /// `[positions, C]`
    pub positions: Vec<f32>,
}

/// `x · weightᵀ + bias`
pub struct Linear {
    pub weight: PackedMatrix,
    pub bias: Vec<f32>,
}

pub struct LayerNorm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

pub struct FeedForward {
    pub fc1: Linear,
    pub fc2: Linear,
    pub norm: LayerNorm,
}

pub struct SelfAttention {
    /// q, k, v one below the other: `[3C, C]`
    pub qkv: Linear,
    pub out: Linear,
    pub norm: LayerNorm,
}

pub struct CrossAttention {
    pub q: Linear,
    /// k, v one below the other: `[2C, C]`, over what the encoder made.
    pub kv: Linear,
    pub out: Linear,
    pub norm: LayerNorm,
}

pub struct EncoderLayer {
    pub attention: SelfAttention,
    pub feed_forward: FeedForward,
}

pub struct DecoderLayer {
    pub attention: SelfAttention,
    pub cross: CrossAttention,
    pub feed_forward: FeedForward,
}

impl Model {
    /// The weights in `folder`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn load(folder: &Path, shape: Shape, precision: Precision) -> Result<Self, MarianError> {
        let loader =
            Loader { checkpoint: Checkpoint::open_folder(folder)?, hidden: shape.hidden_size, precision };
        let decoder_tokens = loader.embedding(&shape, "decoder", shape.decoder.vocab)?;
        let encoder_tokens = if shape.shared_embeddings {
            Arc::clone(&decoder_tokens)
        } else {
            loader.embedding(&shape, "encoder", shape.encoder.vocab)?
        };
        let head = if shape.tied_head {
            Arc::clone(&decoder_tokens)
        } else {
            Arc::new(loader.packed("lm_head.weight", shape.decoder.vocab, shape.hidden_size)?)
        };
        let embedding = |side: &str, tokens| -> Result<Embedding, MarianError> {
            Ok(Embedding { tokens, positions: loader.positions(side, shape.max_positions)? })
        };
        let encoder_layer = |i| loader.encoder_layer(&format!("model.encoder.layers.{i}"), &shape.encoder);
        let decoder_layer = |i| loader.decoder_layer(&format!("model.decoder.layers.{i}"), &shape.decoder);
        Ok(Model {
            encoder: embedding("encoder", encoder_tokens)?,
            encoder_layers: (0..shape.encoder.layers).map(encoder_layer).collect::<Result<_, _>>()?,
            decoder: embedding("decoder", decoder_tokens)?,
            decoder_layers: (0..shape.decoder.layers).map(decoder_layer).collect::<Result<_, _>>()?,
            head,
            head_bias: loader.checkpoint.values("final_logits_bias", &[1, shape.decoder.vocab])?,
            shape,
        })
    }
}

struct Loader {
    checkpoint: Checkpoint,
    hidden: usize,
    precision: Precision,
}

type Loaded<T> = Result<T, tolmach_model::Error>;

impl Loader {
    fn packed(&self, name: &str, rows: usize, cols: usize) -> Loaded<PackedMatrix> {
        Ok(PackedMatrix::new(&[&self.checkpoint.matrix(name, rows, cols)?], self.precision))
    }

    /// One matrix may be stored under any of several names: whoever saved it kept some of the ties.
    fn embedding(&self, shape: &Shape, side: &str, vocab: usize) -> Loaded<Arc<PackedMatrix>> {
        let own = format!("model.{side}.embed_tokens.weight");
        let mut names = vec![own.as_str()];
        if shape.shared_embeddings {
            names.insert(0, "model.shared.weight");
        }
        if shape.tied_head && (side == "decoder" || shape.shared_embeddings) {
            names.push("lm_head.weight");
        }
        let name = names.iter().find(|name| self.checkpoint.contains(name)).unwrap_or(&names[0]);
        Ok(Arc::new(self.packed(name, vocab, self.hidden)?))
    }

    /// Stored, or else computed: they are constants.
    fn positions(&self, side: &str, count: usize) -> Loaded<Vec<f32>> {
        let name = format!("model.{side}.embed_positions.weight");
        if self.checkpoint.contains(&name) {
            return self.checkpoint.values(&name, &[count, self.hidden]);
        }
        Ok(sinusoids(count, self.hidden))
    }

    /// Layers that read the same input as one.
    fn linear(&self, names: &[String], out: usize, inputs: usize) -> Loaded<Linear> {
        let mut bias = Vec::new();
        let mut weights: Vec<FrozenMatrix> = Vec::new();
        for name in names {
            weights.push(self.checkpoint.matrix(&format!("{name}.weight"), out, inputs)?);
            bias.extend(self.checkpoint.values(&format!("{name}.bias"), &[out])?);
        }
        let weights: Vec<&FrozenMatrix> = weights.iter().collect();
        Ok(Linear { weight: PackedMatrix::new(&weights, self.precision), bias })
    }

    fn norm(&self, name: &str) -> Loaded<LayerNorm> {
        let values = |part| self.checkpoint.values(&format!("{name}.{part}"), &[self.hidden]);
        Ok(LayerNorm { weight: values("weight")?, bias: values("bias")? })
    }

    /// Projections of an attention, stacked.
    fn projections(&self, name: &str, which: &[&str]) -> Loaded<Linear> {
        let names: Vec<String> = which.iter().map(|part| format!("{name}.{part}_proj")).collect();
        self.linear(&names, self.hidden, self.hidden)
    }

    fn self_attention(&self, layer: &str) -> Loaded<SelfAttention> {
        let name = format!("{layer}.self_attn");
        Ok(SelfAttention {
            qkv: self.projections(&name, &["q", "k", "v"])?,
            out: self.projections(&name, &["out"])?,
            norm: self.norm(&format!("{layer}.self_attn_layer_norm"))?,
        })
    }

    fn feed_forward(&self, layer: &str, ffn: usize) -> Loaded<FeedForward> {
        Ok(FeedForward {
            fc1: self.linear(&[format!("{layer}.fc1")], ffn, self.hidden)?,
            fc2: self.linear(&[format!("{layer}.fc2")], self.hidden, ffn)?,
            norm: self.norm(&format!("{layer}.final_layer_norm"))?,
        })
    }

    fn encoder_layer(&self, layer: &str, side: &Side) -> Loaded<EncoderLayer> {
        Ok(EncoderLayer {
            attention: self.self_attention(layer)?,
            feed_forward: self.feed_forward(layer, side.ffn)?,
        })
    }

    fn decoder_layer(&self, layer: &str, side: &Side) -> Loaded<DecoderLayer> {
        let cross = format!("{layer}.encoder_attn");
        Ok(DecoderLayer {
            attention: self.self_attention(layer)?,
            cross: CrossAttention {
                q: self.projections(&cross, &["q"])?,
                kv: self.projections(&cross, &["k", "v"])?,
                out: self.projections(&cross, &["out"])?,
                norm: self.norm(&format!("{layer}.encoder_attn_layer_norm"))?,
            },
            feed_forward: self.feed_forward(layer, side.ffn)?,
        })
    }
}

/// Vaswani et al. 2017, the sines in the first half of a row and the cosines in the second.
fn sinusoids(count: usize, width: usize) -> Vec<f32> {
    let sines = width.div_ceil(2);
    let mut table = vec![0.0; count * width];
    for (position, row) in table.chunks_exact_mut(width).enumerate() {
        for (j, value) in row.iter_mut().enumerate() {
            let pair = if j < sines { j } else { j - sines };
            let angle = position as f64 / 10000f64.powf(2.0 * pair as f64 / width as f64);
            *value = if j < sines { angle.sin() } else { angle.cos() } as f32;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::sinusoids;

    #[test]
    fn positions_are_sines_then_cosines() {
        let table = sinusoids(3, 4);
        assert_eq!(table[..4], [0.0, 0.0, 1.0, 1.0]);
        let want = [2f64.sin(), 0.02f64.sin(), 2f64.cos(), 0.02f64.cos()].map(|v| v as f32);
        assert_eq!(table[8..], want);
    }
}
