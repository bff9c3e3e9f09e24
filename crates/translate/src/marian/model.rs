//! The weights of a MarianMT or M2M100 model, packed for their products.

use super::config::{Family, Shape, Side};
use super::error::MarianError;
use std::path::Path;
use std::sync::Arc;
use tolmach_engine::FrozenMatrix;
use tolmach_engine::cpu::infer::{PackedMatrix, Precision};
use tolmach_model::Checkpoint;

/// A whole model. Shapes: C hidden, F ffn, V vocabulary.
pub struct Model {
    pub shape: Shape,
    pub encoder: Stack<EncoderLayer>,
    pub decoder: Stack<DecoderLayer>,
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

/// One side of the model: what goes into its layers, and the norm that ends them.
pub struct Stack<L> {
    pub embedding: Embedding,
    pub layers: Vec<L>,
    pub norm: Option<LayerNorm>,
}

/// `x · weightᵀ + bias`
pub struct Linear {
    pub weight: PackedMatrix,
    pub bias: Vec<f32>,
}

pub struct LayerNorm {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
    /// Of the norm of a sub-layer: it is where the sub-layer begins, not where it ends.
    pub first: bool,
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
        let checkpoint = Checkpoint::open_folder(folder)?;
        let loader = Loader { checkpoint, hidden: shape.hidden_size, family: shape.family, precision };
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
        let head_bias = match shape.family {
            Family::Marian => loader.checkpoint.values("final_logits_bias", &[1, shape.decoder.vocab])?,
            Family::M2m100 => vec![0.0; shape.decoder.vocab],
        };
        let encoder_layer = |layer: &str| loader.encoder_layer(layer, &shape.encoder);
        let decoder_layer = |layer: &str| loader.decoder_layer(layer, &shape.decoder);
        Ok(Model {
            encoder: loader.stack("encoder", encoder_tokens, &shape, shape.encoder.layers, encoder_layer)?,
            decoder: loader.stack("decoder", decoder_tokens, &shape, shape.decoder.layers, decoder_layer)?,
            head,
            head_bias,
            shape,
        })
    }
}

struct Loader {
    checkpoint: Checkpoint,
    hidden: usize,
    family: Family,
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

    fn stack<L>(
        &self,
        side: &str,
        tokens: Arc<PackedMatrix>,
        shape: &Shape,
        layers: usize,
        layer: impl Fn(&str) -> Loaded<L>,
    ) -> Loaded<Stack<L>> {
        let layers = (0..layers).map(|i| layer(&format!("model.{side}.layers.{i}")));
        Ok(Stack {
            embedding: Embedding { tokens, positions: self.positions(side, shape)? },
            layers: layers.collect::<Result<_, _>>()?,
            norm: match self.family {
                Family::Marian => None,
                Family::M2m100 => Some(self.norm(&format!("model.{side}.layer_norm"))?),
            },
        })
    }

    /// Stored, or else computed: they are constants.
    fn positions(&self, side: &str, shape: &Shape) -> Loaded<Vec<f32>> {
        let count = shape.max_positions;
        let name = format!("model.{side}.embed_positions.weight");
        match self.family {
            Family::M2m100 => Ok(fairseq_sinusoids(shape.pad as usize + 1, count, self.hidden)),
            Family::Marian if self.checkpoint.contains(&name) => {
                self.checkpoint.values(&name, &[count, self.hidden])
            }
            Family::Marian => Ok(sinusoids(count, self.hidden)),
        }
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
        let first = self.family == Family::M2m100;
        Ok(LayerNorm { weight: values("weight")?, bias: values("bias")?, first })
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

/// As fairseq has them: `count` positions from `first` on, frequencies that end with 1/10000 itself, a
/// zero at the end of rows of odd width. In f32 all along, as the models were trained.
fn fairseq_sinusoids(first: usize, count: usize, width: usize) -> Vec<f32> {
    let half = width / 2;
    let step = (10000f64.ln() / half.saturating_sub(1).max(1) as f64) as f32;
    let mut table = vec![0.0; count * width];
    for (position, row) in (first..).zip(table.chunks_exact_mut(width)) {
        for j in 0..half {
            let angle = position as f32 * (j as f32 * -step).exp();
            (row[j], row[half + j]) = angle.sin_cos();
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::{fairseq_sinusoids, sinusoids};

    #[test]
    fn positions_are_sines_then_cosines() {
        let table = sinusoids(3, 4);
        assert_eq!(table[..4], [0.0, 0.0, 1.0, 1.0]);
        let want = [2f64.sin(), 0.02f64.sin(), 2f64.cos(), 0.02f64.cos()].map(|v| v as f32);
        assert_eq!(table[8..], want);
    }
    #[test]
    fn fairseq_counts_from_its_padding() {
        let table = fairseq_sinusoids(2, 3, 5);
        let slow = 2.0 * (-10000f64.ln()).exp();
        let want = [2f64.sin(), slow.sin(), 2f64.cos(), slow.cos(), 0.0].map(|v| v as f32);
        assert!(table[..5].iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-6), "{:?}", &table[..5]);
        assert_eq!(table.len(), 15);
    }
}
