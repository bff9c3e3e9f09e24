//! The loss on examples that are not trained on.

use crate::error::Error;
use crate::plan::asking_rows;
use std::ops::ControlFlow;
use tolmach_engine::Backend;
use tolmach_model::{Batch, BatchSize, Decoder, Side, Workspace};
use tolmach_tokenize::{PackedBatch, SharedPrefixes, StepSize, TokenExample, plan_steps};

/// Mean loss per labelled token in nats (perplexity is its exponential); `None` if `progress`, which
/// is told how many examples are done, broke off. Packed as in training, without dropout.
///
/// # Errors
/// A token id outside the vocabulary; no labelled token at all.
pub fn mean_loss<B: Backend>(
    model: &Decoder<B>,
    workspace: &mut Option<Workspace<B>>,
    examples: &[&TokenExample],
    micro_batch_tokens: usize,
    side: Side,
    mut progress: impl FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<f64>, Error> {
    let lengths: Vec<usize> = examples.iter().map(|e| e.len()).collect();
    let order: Vec<usize> = (0..examples.len()).collect();
    let alone = SharedPrefixes::none(examples.len());
    let (mut sum, mut count, mut done) = (0.0, 0, 0);
    for step in plan_steps(&lengths, &alone, &order, StepSize::Examples(usize::MAX), micro_batch_tokens) {
        for indices in step.micro_batches {
            if progress(done).is_break() {
                return Ok(None);
            }
            let members: Vec<&TokenExample> = indices.iter().map(|&i| examples[i]).collect();
            let packed = PackedBatch::pack(&members);
            let (rows, targets) = packed.targets();
            let losses = model.losses(workspace, batch(&packed, &rows, &targets), side)?;
            sum += losses.iter().sum::<f64>();
            count += losses.len();
            done += indices.len();
        }
    }
    if count == 0 { Err(Error::NoExamples) } else { Ok(Some(sum / count as f64)) }
}

/// The largest micro-batch of [`mean_loss`] over `count` of the examples.
pub fn largest_micro_batch(examples: &[TokenExample], count: usize, micro_batch_tokens: usize) -> BatchSize {
    let examples = spread(examples, count);
    let lengths: Vec<usize> = examples.iter().map(|e| e.len()).collect();
    let order: Vec<usize> = (0..examples.len()).collect();
    let alone = SharedPrefixes::none(examples.len());
    let steps = plan_steps(&lengths, &alone, &order, StepSize::Examples(usize::MAX), micro_batch_tokens);
    let batches = steps.iter().flat_map(|step| &step.micro_batches);
    batches.fold(BatchSize::default(), |largest, batch| {
        let sum = |of: fn(&TokenExample) -> usize| batch.iter().map(|&i| of(examples[i])).sum();
        largest.max(BatchSize {
            rows: sum(TokenExample::len),
            queries: sum(asking_rows),
            labelled: sum(TokenExample::trained_tokens),
        })
    })
}

/// The model's view of packed examples; `rows` and `targets` are [`PackedBatch::targets`].
pub fn batch<'a>(packed: &'a PackedBatch, rows: &'a [usize], targets: &'a [u32]) -> Batch<'a> {
    Batch {
        input_ids: &packed.input_ids,
        positions: &packed.positions,
        segments: &packed.segments,
        prefixes: &packed.prefixes,
        rows,
        targets,
    }
}

/// `count` of the examples, evenly spread.
pub fn spread(examples: &[TokenExample], count: usize) -> Vec<&TokenExample> {
    let count = count.min(examples.len());
    (0..count).map(|i| &examples[i * examples.len() / count]).collect()
}
