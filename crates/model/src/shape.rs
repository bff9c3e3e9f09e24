//! What a model and what is trained in it take, known before a weight is read.

use crate::build::linear_shapes;
use crate::config::Config;
use crate::decoder::{BatchSize, Keeping, WorkspaceSpec};
use crate::lora::LoraConfig;

/// What is trained.
#[derive(Clone, Copy, Debug)]
pub enum Trained<'a> {
    Lora(&'a LoraConfig),
    /// Every weight of the model itself.
    All,
}

/// A model by its configuration.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    pub config: &'a Config,
    pub trained: Trained<'a>,
}

impl Shape<'_> {
    /// LoRA's rank of each linear layer of each block, 0 without.
    pub fn ranks(&self) -> Vec<[usize; 7]> {
        let rank = |name: &str| match self.trained {
            Trained::Lora(lora) if lora.targets(name) => lora.rank_of(name),
            _ => 0,
        };
        (0..self.config.num_hidden_layers)
            .map(|block| linear_shapes(self.config, block).map(|(name, ..)| rank(&name)))
            .collect()
    }

    /// Whether the embedding, and a head of its own, are trained in full.
    pub fn trains_ends(&self) -> (bool, bool) {
        match self.trained {
            Trained::All => (true, !self.config.tie_word_embeddings),
            Trained::Lora(lora) => {
                let has = |name: &str| lora.modules_to_save.iter().any(|m| m == name);
                let one = self.config.tie_word_embeddings && lora.ensure_weight_tying;
                (has("embed_tokens") || (one && has("lm_head")), has("lm_head") && !one)
            }
        }
    }

    /// Values of each trained tensor.
    pub fn trained_tensors(&self) -> Vec<usize> {
        let (config, ends) = (self.config, self.trains_ends());
        let end = config.vocab_size * config.hidden_size;
        let mut tensors = Vec::new();
        for (block, ranks) in self.ranks().into_iter().enumerate() {
            for ((_, inputs, outputs), rank) in linear_shapes(config, block).into_iter().zip(ranks) {
                match self.trained {
                    Trained::All => tensors.push(inputs * outputs),
                    Trained::Lora(lora) => {
                        let magnitude = if lora.dora && rank > 0 { outputs } else { 0 };
                        tensors.extend([rank * inputs, outputs * rank, magnitude]);
                    }
                }
            }
        }
        if matches!(self.trained, Trained::All) {
            tensors.extend(vec![config.hidden_size; 2 * config.num_hidden_layers + 1]);
        }
        tensors.extend([ends.0, ends.1].into_iter().filter(|&trained| trained).map(|_| end));
        tensors.retain(|&len| len > 0);
        tensors
    }

    pub fn has_dropout(&self) -> bool {
        let any = || self.ranks().iter().flatten().any(|&rank| rank > 0);
        matches!(self.trained, Trained::Lora(lora) if lora.dropout > 0.0) && any()
    }

    fn has_dora(&self) -> bool {
        let any = || self.ranks().iter().flatten().any(|&rank| rank > 0);
        matches!(self.trained, Trained::Lora(lora) if lora.dora) && any()
    }

    /// Values of the rows' norms that DoRA divides by.
    pub fn row_norms(&self) -> usize {
        let layers = self.linear_layers().zip(self.ranks().into_iter().flatten());
        let adapted = layers.filter(|(_, rank)| *rank > 0).map(|((_, outputs, _), _)| outputs);
        if self.has_dora() { adapted.sum() } else { 0 }
    }

    /// Blocks that a training pass could compute again, at most.
    pub fn most_recompute(&self) -> usize {
        self.config.num_hidden_layers.saturating_sub(1 + self.lowest_trained())
    }

    /// The buffers of a training pass; of an evaluation without `recompute`.
    pub fn workspace(&self, size: BatchSize, recompute: Option<usize>) -> WorkspaceSpec {
        let layers = self.config.num_hidden_layers;
        WorkspaceSpec {
            ranks: self.ranks(),
            dora: self.has_dora(),
            size,
            keeping: recompute.map(|blocks| Keeping::new(layers, self.lowest_trained(), blocks)),
            dropout: recompute.is_some() && self.has_dropout(),
        }
    }

    fn lowest_trained(&self) -> usize {
        if self.trains_ends().0 {
            return 0;
        }
        let ranks = self.ranks();
        ranks.iter().position(|ranks| ranks.iter().any(|&rank| rank > 0)).unwrap_or(ranks.len())
    }

    /// The LoRA branches of each group of layers that read one input: that input's width, and ranks and outputs.
    pub fn lora_groups(&self) -> impl Iterator<Item = (usize, Vec<(usize, usize)>)> {
        self.ranks().into_iter().enumerate().flat_map(|(block, ranks)| {
            let layers = linear_shapes(self.config, block).map(|(_, inputs, outputs)| (inputs, outputs));
            // q, k, v · o · gate, up · down
            [0..3, 3..4, 4..6, 6..7].map(|group| {
                let branches = group.clone().map(|i| (ranks[i], layers[i].1));
                (layers[group.start].0, branches.collect())
            })
        })
    }

    /// Names, rows and columns of the base's linear layers.
    pub fn linear_layers(&self) -> impl Iterator<Item = (String, usize, usize)> {
        let blocks = 0..self.config.num_hidden_layers;
        blocks.flat_map(|block| linear_shapes(self.config, block)).map(|(name, i, o)| (name, o, i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Rope, RopeScaling};
    use crate::decoder::Decoder;
    use std::sync::Arc;
    use tolmach_engine::CpuBackend;

    fn config(tied: bool) -> Config {
        Config {
            hidden_size: 24,
            intermediate_size: 40,
            num_hidden_layers: 3,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 6,
            vocab_size: 50,
            max_position_embeddings: 64,
            rms_norm_eps: 1e-5,
            tie_word_embeddings: tied,
            rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
        }
    }

    #[test]
    fn a_shape_foretells_what_the_model_will_have() {
        let lora = |targets: &[&str], saved: &[&str], tying| LoraConfig {
            target_modules: targets.iter().map(ToString::to_string).collect(),
            modules_to_save: saved.iter().map(ToString::to_string).collect(),
            ensure_weight_tying: tying,
            dropout: 0.1,
            ..LoraConfig::of_rank(4)
        };
        let cases = [
            Some(lora(&["all-linear"], &[], false)),
            Some(lora(&["layers.1.mlp.up_proj", "layers.2.self_attn.q_proj"], &[], false)),
            Some(lora(&["v_proj"], &["lm_head"], true)),
            Some(lora(&["v_proj"], &["lm_head", "embed_tokens"], false)),
            Some(lora(&[], &["lm_head"], false)),
            Some(LoraConfig { dora: true, ..lora(&["v_proj", "layers.0.mlp.up_proj"], &[], false) }),
            Some(LoraConfig { dora: true, ..lora(&[], &["lm_head"], false) }),
            None,
        ];
        for (lora, tied) in cases.iter().flat_map(|lora| [(lora, true), (lora, false)]) {
            let config = config(tied);
            let mut model = Decoder::random(Arc::new(CpuBackend::new()), config.clone(), 1).unwrap();
            match lora {
                Some(lora) => model.add_lora(lora, 1).unwrap(),
                None => model.train_all(),
            }
            let trained = lora.as_ref().map_or(Trained::All, Trained::Lora);
            let shape = Shape { config: &config, trained };
            let mut found: Vec<usize> = model.parameters_mut().iter().map(|p| p.len()).collect();
            let mut foretold = shape.trained_tensors();
            found.sort_unstable();
            foretold.sort_unstable();
            assert_eq!(foretold, found, "{lora:?} {tied}");
            let size = BatchSize { rows: 20, queries: 11, labelled: 7 };
            for recompute in [None, Some(0), Some(1), Some(9)] {
                model.recompute = recompute.unwrap_or(0);
                let found = model.workspace_spec(size, recompute.is_some());
                assert_eq!(shape.workspace(size, recompute), found, "{lora:?} {tied} {recompute:?}");
            }
        }
    }
}
