//! How long a run will take: measured on a few of its own micro-batches through a few of its own blocks.

use crate::error::Error;
use crate::evaluate::batch;
use crate::plan::TrainPlan;
use crate::state::State;
use crate::train::{gradient_norm, update};
use std::time::{Duration, Instant};
use tolmach_engine::{Backend, random};
use tolmach_model::{Decoder, Noises, Side, Workspace};
use tolmach_tokenize::{PackedBatch, Share, TokenExample};

/// Blocks of the deeper of the two models that are timed. The last block runs over fewer rows, so of
/// three two are like those of the whole model.
const DEEP: usize = 3;

/// Seconds, measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Calibration {
    /// One block, forward and backward, per row.
    pub block: f64,
    /// The same with the block computed again.
    pub recomputed_block: f64,
    /// One block, forward alone, per row.
    pub forward: f64,
    /// Embedding, last block and head, forward and backward, per labelled row.
    pub ends: f64,
    /// The same, forward alone.
    pub ends_forward: f64,
    /// Clearing gradients, their norm and the update, per trained value.
    pub update: f64,
    /// The norms that DoRA divides by, of one block, once in a step; 0 without.
    pub norms: f64,
}

/// What a whole run comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// One optimizer step, on average, in seconds.
    pub step_seconds: f64,
    /// All steps.
    pub training_seconds: f64,
    /// All evaluations.
    pub evaluation_seconds: f64,
}

/// Seconds spent in passes, and what went through.
#[derive(Default)]
struct Sums {
    shallow: f64,
    deep: f64,
    again: f64,
    shallow_forward: f64,
    deep_forward: f64,
    rows: usize,
    labelled: usize,
}

/// Time about `budget` of the run's own micro-batches, on models of one and of [`DEEP`] blocks that `model`
/// makes, trained as the run will. The first micro-batch warms up.
///
/// # Errors
/// Those of `model`; a token outside the vocabulary.
pub fn calibrate<B: Backend, E: From<Error>>(
    plan: &TrainPlan,
    train: &[TokenExample],
    recompute: usize,
    budget: Duration,
    model: impl Fn(usize) -> Result<Decoder<B>, E>,
) -> Result<Calibration, E> {
    let (mut shallow, mut deep) = (model(1)?, model(DEEP)?);
    let mut spaces = [None, None, None];
    let mut sums = Sums::default();
    let begun = Instant::now();
    for (number, micro_batch) in sample(plan, train).iter().cycle().enumerate() {
        let mut turn = Sums::default();
        turn.run(&mut shallow, &mut deep, &mut spaces, micro_batch, plan.seed, recompute > 0)?;
        let enough = begun.elapsed() >= budget;
        if number == 0 && !enough {
            continue;
        }
        sums.add(&turn);
        if enough {
            break;
        }
    }
    let (update, norms) = time_update(&mut deep, plan)?;
    Ok(Calibration { update, norms, ..sums.calibration() })
}

/// A few micro-batches, spread evenly over the first epoch.
fn sample(plan: &TrainPlan, train: &[TokenExample]) -> Vec<PackedBatch> {
    const MOST: usize = 16;
    let lengths: Vec<usize> = train.iter().map(TokenExample::len).collect();
    let steps = plan.epoch(0, &lengths);
    let all: Vec<&Vec<usize>> = steps.iter().flat_map(|step| &step.micro_batches).collect();
    let count = all.len().min(MOST);
    let pack = |indices: &Vec<usize>| {
        let shares: Vec<Share> = indices.iter().map(|&i| plan.prefixes.of(i)).collect();
        let examples: Vec<&TokenExample> = indices.iter().map(|&i| &train[i]).collect();
        PackedBatch::pack_shared(&shares, &examples)
    };
    (0..count).map(|i| pack(all[i * all.len() / count])).collect()
}

impl Sums {
    fn run<B: Backend>(
        &mut self,
        shallow: &mut Decoder<B>,
        deep: &mut Decoder<B>,
        [shallow_space, deep_space, again_space]: &mut [Option<Workspace<B>>; 3],
        packed: &PackedBatch,
        seed: u64,
        again: bool,
    ) -> Result<(), Error> {
        let (rows, targets) = packed.targets();
        let batch = batch(packed, &rows, &targets);
        let pass = |model: &mut Decoder<B>, space: &mut Option<Workspace<B>>| {
            let dropout_key = model.has_dropout().then(|| random::key(seed, &[0]));
            let noises = Noises { dropout_key, embedding: None };
            let begun = Instant::now();
            model.losses_backward(space, batch, noises, 1e-3)?;
            Ok::<f64, Error>(begun.elapsed().as_secs_f64())
        };
        self.shallow += pass(shallow, shallow_space)?;
        self.deep += pass(deep, deep_space)?;
        if again {
            deep.recompute = DEEP;
            self.again += pass(deep, again_space)?;
            deep.recompute = 0;
        }
        let forward = |model: &Decoder<B>, space: &mut Option<Workspace<B>>| {
            let begun = Instant::now();
            model.losses(space, batch, Side::Tuned)?;
            Ok::<f64, Error>(begun.elapsed().as_secs_f64())
        };
        self.shallow_forward += forward(shallow, shallow_space)?;
        self.deep_forward += forward(deep, deep_space)?;
        self.rows += packed.input_ids.len();
        self.labelled += rows.len();
        Ok(())
    }

    fn add(&mut self, other: &Self) {
        self.shallow += other.shallow;
        self.deep += other.deep;
        self.again += other.again;
        self.shallow_forward += other.shallow_forward;
        self.deep_forward += other.deep_forward;
        self.rows += other.rows;
        self.labelled += other.labelled;
    }

    fn calibration(&self) -> Calibration {
        let (rows, labelled) = (self.rows.max(1) as f64, self.labelled.max(1) as f64);
        let between = (DEEP - 1) as f64;
        let block = (self.deep - self.shallow).max(0.0) / between;
        // Of two blocks that are computed again the upper one's activations are still there.
        let again = if self.again > 0.0 { (self.again - self.deep).max(0.0) } else { 0.0 };
        Calibration {
            block: block / rows,
            recomputed_block: (block + again) / rows,
            forward: (self.deep_forward - self.shallow_forward).max(0.0) / between / rows,
            ends: self.shallow / labelled,
            ends_forward: self.shallow_forward / labelled,
            ..Calibration::default()
        }
    }
}

/// Seconds per trained value of what ends a step, and per block of the norms that begin the next one.
fn time_update<B: Backend>(model: &mut Decoder<B>, plan: &TrainPlan) -> Result<(f64, f64), Error> {
    let mut state = State::new(model)?;
    let values: usize = model.parameters_mut().iter().map(|p| p.len()).sum();
    let (mut best, mut norms) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..3 {
        let begun = Instant::now();
        gradient_norm(model);
        update(model, &mut state, plan, 0.0);
        model.clear_gradients();
        best = best.min(begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        model.compute_row_norms();
        norms = norms.min(begun.elapsed().as_secs_f64());
    }
    Ok((best / values.max(1) as f64, norms / DEEP as f64))
}

impl Calibration {
    /// Of a run of `layers` blocks, `recompute` of them computed again, with `trained` trained values, whose
    /// validation set has `(rows, labelled)` rows.
    pub fn predict(
        &self,
        plan: &TrainPlan,
        layers: usize,
        recompute: usize,
        trained: usize,
        (eval_rows, eval_labelled): (usize, usize),
    ) -> Prediction {
        let again = recompute.saturating_sub(1) as f64;
        let below = layers.saturating_sub(1) as f64;
        let blocks = plan.rows as f64 * ((below - again) * self.block + again * self.recomputed_block);
        let ends = plan.trained_tokens as f64 * self.ends;
        let updates = plan.steps as f64 * (trained as f64 * self.update + layers as f64 * self.norms);
        let training_seconds = blocks + ends + updates;
        let evaluations = (0..=plan.steps).filter(|&step| plan.eval_due(step)).count() as f64;
        let evaluation = eval_rows as f64 * below * self.forward + eval_labelled as f64 * self.ends_forward;
        Prediction {
            step_seconds: training_seconds / plan.steps.max(1) as f64,
            training_seconds,
            evaluation_seconds: evaluations * evaluation,
        }
    }
}
