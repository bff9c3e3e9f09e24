//! A model that is run once, a block in memory at a time: for models larger than memory.

use super::{Batch, Decoder, Layout, Workspace, WorkspaceSpec};
use crate::block::Block;
use crate::build::block;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::linear::Pass;
use crate::parameter::{Side, Weight};
use std::sync::Arc;
use tolmach_engine::{Backend, FrozenMatrix};

impl<B: Backend> Decoder<B> {
    /// [`Decoder::logits`] of a model that is not needed afterwards: each block gives its memory back once
    /// it has run.
    ///
    /// # Errors
    /// A token id outside the vocabulary.
    pub fn logits_once(mut self, batch: Batch, side: Side) -> Result<Vec<f32>> {
        let (ranks, dora) = (vec![self.max_ranks(); 2], self.has_dora());
        let blocks = std::mem::take(&mut self.blocks);
        self.logits_through((ranks, dora), batch, side, blocks.into_iter().map(Ok))
    }

    /// [`Decoder::logits`] of the model that [`Decoder::from_weights`] would make; a block is made, run and
    /// dropped before the next one.
    ///
    /// # Errors
    /// A token id outside the vocabulary; those of the two functions.
    #[allow(clippy::needless_pass_by_value, reason = "as `Decoder::load`: the model owns its backend")]
    pub fn logits_of_weights<E: From<Error>>(
        backend: Arc<B>,
        config: &Config,
        matrix: &dyn Fn(&str, usize, usize) -> Result<FrozenMatrix, E>,
        vector: &dyn Fn(&str, usize) -> Result<Vec<f32>, E>,
        batch: Batch,
    ) -> Result<Vec<f32>, E> {
        let outer = Config { num_hidden_layers: 0, ..config.clone() };
        let outer = Self::from_weights(Arc::clone(&backend), outer, matrix, vector)?;
        let blocks = (0..config.num_hidden_layers).map(|i| block(&*backend, config, i, matrix, vector));
        outer.logits_through((vec![[0; 7]; 2], false), batch, Side::Tuned, blocks)
    }

    /// Embedding, norm and head are this model's, the blocks are given. `ranks` are those of a lower block
    /// and of the last one, `dora` tells whether they are DoRA's.
    fn logits_through<E: From<Error>>(
        &self,
        (ranks, dora): (Vec<[usize; 7]>, bool),
        batch: Batch,
        side: Side,
        blocks: impl ExactSizeIterator<Item = Result<Block<B>, E>>,
    ) -> Result<Vec<f32>, E> {
        self.check(batch.input_ids)?;
        let layout = Layout::new(&*self.backend, &self.config, batch);
        let spec = WorkspaceSpec { ranks, dora, size: layout.size(), keeping: None, dropout: false };
        let ws = &mut Workspace::new(&*self.backend, &self.config, spec);
        let (ctx, top_ctx) = layout.contexts(&*self.backend, &self.config, Pass::inference(side));
        self.backend.embed(batch.input_ids, self.embed_tokens.mat(side), self.config.hidden_size, &mut ws.x);
        let last = blocks.len().saturating_sub(1);
        for (i, block) in blocks.enumerate() {
            let (block, site) = (block?, 7 * i as u64);
            if i < last {
                block.forward(&ctx, site, &mut ws.x, &mut ws.kept[0], &mut ws.scratch, None);
            } else {
                let Workspace { x, top, top_kept, scratch, .. } = &mut *ws;
                block.forward_narrow((&ctx, &top_ctx), &layout.narrow, site, x, top, top_kept, scratch);
            }
            for layer in block.linear_layers() {
                if let Weight::Frozen(matrix) = &layer.weight {
                    self.backend.release(matrix);
                }
            }
        }
        self.rows_forward(&ctx, &layout.narrow, ws);
        Ok(self.project_out(&ws.normed, batch.rows.len(), side))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::lora::LoraConfig;
    use std::path::Path;
    use tolmach_engine::CpuBackend;

    #[test]
    fn a_block_at_a_time_gives_the_same_logits_bit_for_bit() {
        let ids: Vec<u32> = (0..24).map(|i| i * 7 % 80).collect();
        let positions: Vec<u32> = (0..24).collect();
        let (segment, rows) = (0..24, [3, 11, 23]);
        let batch = Batch {
            input_ids: &ids,
            positions: &positions,
            segments: std::slice::from_ref(&segment),
            prefixes: &[],
            rows: &rows,
            targets: &[],
        };
        let backend = Arc::new(CpuBackend::new());
        for name in ["gqa-tied", "mha-untied"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name);
            let mut model = Decoder::load(Arc::clone(&backend), &folder).unwrap();
            let plain = model.logits(&mut None, batch, Side::Base).unwrap();
            let file = Checkpoint::open_folder(&folder).unwrap();
            let found = Decoder::logits_of_weights(
                Arc::clone(&backend),
                &model.config,
                &|name, rows, cols| file.matrix(name, rows, cols),
                &|name, len| file.values(name, &[len]),
                batch,
            );
            assert_eq!(found.unwrap(), plain, "{name}");
            let lora = LoraConfig {
                rank: 4,
                alpha: 8.0,
                dropout: 0.0,
                target_modules: vec!["all-linear".into()],
                modules_to_save: vec![],
                ..LoraConfig::of_rank(4)
            };
            model.add_lora(&lora, 1).unwrap();
            for parameter in model.parameters_mut() {
                parameter.value.iter_mut().for_each(|v| *v += 0.01);
            }
            let tuned = model.logits(&mut None, batch, Side::Tuned).unwrap();
            assert_ne!(tuned, plain, "{name}");
            assert_eq!(model.logits_once(batch, Side::Tuned).unwrap(), tuned, "{name}");
        }
    }
}
