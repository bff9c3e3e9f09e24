//! The training loop, top to bottom.

use crate::error::Error;
use crate::evaluate::{batch, largest_micro_batch, mean_loss, spread};
use crate::identity::Identity;
use crate::live::Live;
use crate::metrics::MetricsFile;
use crate::plan::{TrainPlan, name};
use crate::state::{Evaluation, State};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tolmach_engine::{AdamW, Backend, random};
use tolmach_model::{Decoder, Noise, Noises, Side, Workspace};
use tolmach_tokenize::{PackedBatch, Share, StepPlan, TokenExample};

/// Purpose of the embeddings' noise among the numbers of a micro-batch.
const NOISE: u64 = u64::MAX;

/// What a run works on.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    pub plan: &'a TrainPlan,
    pub train: &'a [TokenExample],
    pub validation: &'a [TokenExample],
    /// `None`: nothing is written, and a run that ends early is lost.
    pub files: Option<&'a RunFiles>,
    /// Raised from elsewhere to stop; looked at before every micro-batch.
    pub cancel: &'a AtomicBool,
}

/// What a run writes beside its result.
#[derive(Clone, Debug)]
pub struct RunFiles {
    pub state: PathBuf,
    pub metrics: PathBuf,
    pub identity: Identity,
    /// The adapter as it is, to be looked at meanwhile; `None` where nobody can ask for it.
    pub live: Option<Live>,
    /// Bytes of memory that the process holds now, recorded with every step; `None` where unknown.
    pub resident_bytes: fn() -> Option<u64>,
}

/// What the loop tells as it goes.
pub enum Event<'a, B: Backend> {
    /// A micro-batch of so many tokens went through; its step is not done yet.
    MicroBatch {
        tokens: usize,
    },
    Step(&'a StepReport),
    /// So many of so many validation examples are done.
    Evaluating {
        done: usize,
        total: usize,
    },
    Evaluated(Evaluation),
    /// Time to show what the model replies, after so many updates.
    SampleDue {
        step: usize,
        model: &'a Decoder<B>,
    },
    Saved {
        step: usize,
    },
    /// The present adapter was laid down to be looked at; a failure of that stops nothing.
    Live {
        step: usize,
        written: Result<(), Error>,
    },
}

/// One optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// From 1.
    pub step: usize,
    /// Epochs done, with fraction.
    pub epoch: f64,
    /// Before the update, nats per labelled token.
    pub loss: f64,
    pub learning_rate: f64,
    /// Before clipping.
    pub grad_norm: f64,
    pub tokens: usize,
    pub tokens_so_far: u64,
    /// Of this step alone.
    pub tokens_per_second: f64,
    /// Time spent in steps so far, over all sittings.
    pub seconds: f64,
    pub resident_bytes: Option<u64>,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Finished,
    /// The validation loss stopped falling.
    StoppedEarly,
    /// `cancel` was raised; the state is saved.
    Interrupted,
}

/// Train `model` from `state` on to the end of the plan.
///
/// A step adds the gradients of its micro-batches, each scaled by 1 / labelled tokens of the whole
/// step: as if all of it had gone through at once, however it is cut (transformers#34191 divided each
/// micro-batch by its own count). Afterwards the model holds the last weights, or the best ones if the
/// plan keeps those.
///
/// # Errors
/// A loss or gradient that is not finite, with the step and the examples: nothing of that step is
/// applied, and the last saved state stays; a token outside the vocabulary; a file that cannot be
/// written.
pub fn train<B: Backend>(
    model: &mut Decoder<B>,
    state: &mut State<B>,
    run: &Run,
    mut on_event: impl FnMut(Event<B>),
) -> Result<Outcome, Error> {
    let plan = run.plan;
    let lengths: Vec<usize> = run.train.iter().map(TokenExample::len).collect();
    let validation = spread(run.validation, plan.eval_examples);
    let mut metrics = run.files.map(|f| MetricsFile::open(&f.metrics, &state.progress)).transpose()?;
    let mut saves = SaveClock::new(plan.save_every, state.progress.step);
    let mut workspace: Option<Workspace<B>> = None;
    let evaluated = largest_micro_batch(run.validation, plan.eval_examples, plan.eval_micro_batch_tokens());
    model.reserve(&mut workspace, plan.largest_micro_batch.max(evaluated));
    let mut epoch: (usize, Vec<StepPlan>) = (usize::MAX, Vec::new());
    let cancelled = || run.cancel.load(Ordering::Relaxed);

    let outcome = loop {
        // What is due after `step` updates. A resumed run finds here what was left undone.
        let step = state.progress.step;
        if plan.eval_due(step) && !validation.is_empty() && !state.progress.evaluated(step) {
            let loss = mean_loss(
                model,
                &mut workspace,
                &validation,
                plan.eval_micro_batch_tokens(),
                Side::Tuned,
                |done| {
                    on_event(Event::Evaluating { done, total: validation.len() });
                    if cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                },
            )?;
            if let Some(loss) = loss {
                let evaluation = Evaluation { step, loss };
                state.progress.evaluations.push(evaluation);
                if plan.keep_best && state.progress.best() == Some(evaluation) {
                    state.keep_as_best(model);
                }
                metrics.as_mut().map_or(Ok(()), |file| file.evaluation(&evaluation))?;
                on_event(Event::Evaluated(evaluation));
            }
        }
        let stop = if cancelled() {
            Some(Outcome::Interrupted)
        } else if step == plan.steps {
            Some(Outcome::Finished)
        } else {
            let early = plan.early_stop.is_some_and(|patience| state.progress.out_of_patience(patience));
            early.then_some(Outcome::StoppedEarly)
        };
        if plan.sample_due(step) && stop != Some(Outcome::Interrupted) {
            on_event(Event::SampleDue { step, model });
        }
        if let Some(live) = run.files.and_then(|files| files.live.as_ref())
            && stop.is_none()
            && (plan.eval_due(step) || live.is_requested())
        {
            on_event(Event::Live { step, written: live.write(model, step) });
        }
        if let Some(files) = run.files
            && saves.due(step, stop.is_some())
        {
            let begun = Instant::now();
            metrics.as_ref().map_or(Ok(()), MetricsFile::sync)?;
            state.save(&files.state, model, &files.identity)?;
            saves.saved(step, begun.elapsed());
            on_event(Event::Saved { step });
        }
        if let Some(outcome) = stop {
            break outcome;
        }

        // One step: all its micro-batches, then one update.
        let begun = Instant::now();
        let (current, place) = plan.place(step);
        if epoch.0 != current {
            epoch = (current, plan.epoch(current, &lengths));
        }
        let micro_batches = &epoch.1[place].micro_batches;
        let members = || micro_batches.iter().flatten().map(|&i| &run.train[i]);
        let tokens: usize = members().map(TokenExample::len).sum();
        let labelled: usize = members().map(TokenExample::trained_tokens).sum();
        let mut sum = 0.0;
        model.clear_gradients();
        for (number, indices) in micro_batches.iter().enumerate() {
            if cancelled() {
                break;
            }
            let examples: Vec<&TokenExample> = indices.iter().map(|&i| &run.train[i]).collect();
            let shares: Vec<Share> = indices.iter().map(|&i| plan.prefixes.of(i)).collect();
            let packed = PackedBatch::pack_shared(&shares, &examples);
            let (rows, targets) = packed.targets();
            let key = random::key(plan.seed, &[step as u64, number as u64]);
            let noise =
                plan.neftune_noise_alpha.map(|alpha| Noise { alpha, key: random::key(key, &[NOISE]) });
            let noises = Noises { dropout_key: model.has_dropout().then_some(key), embedding: noise };
            let losses = model.losses_backward(
                &mut workspace,
                batch(&packed, &rows, &targets),
                noises,
                1.0 / labelled as f64,
            )?;
            if losses.iter().any(|l| !l.is_finite()) {
                let examples = not_finite(run.train, indices, &packed, &rows, &losses);
                return Err(Error::LossNotFinite { step: step + 1, examples });
            }
            sum += losses.iter().sum::<f64>();
            on_event(Event::MicroBatch { tokens: examples.iter().map(|e| e.len()).sum() });
        }
        if cancelled() {
            continue; // half a step is no step: it is done again after a resume
        }
        let norm = gradient_norm(model);
        if !norm.is_finite() {
            let examples = micro_batches.iter().flatten().map(|&i| name(&run.train[i], i)).collect();
            return Err(Error::GradientNotFinite { step: step + 1, norm, examples });
        }
        // As torch.nn.utils.clip_grad_norm_.
        let clip = plan.max_grad_norm.map_or(1.0, |max| (max / (norm + 1e-6)).min(1.0));
        update(model, state, plan, clip);

        // The update is done; what follows only tells of it.
        let seconds = begun.elapsed().as_secs_f64();
        let progress = &mut state.progress;
        progress.step += 1;
        progress.losses.push(sum / labelled as f64);
        progress.tokens += tokens as u64;
        progress.trained_tokens += labelled as u64;
        progress.seconds += seconds;
        let report = StepReport {
            step: progress.step,
            epoch: plan.epochs_done(progress.step),
            loss: sum / labelled as f64,
            learning_rate: plan.learning_rate(step),
            grad_norm: norm,
            tokens,
            tokens_so_far: progress.tokens,
            tokens_per_second: tokens as f64 / seconds,
            seconds: progress.seconds,
            resident_bytes: run.files.and_then(|files| (files.resident_bytes)()),
        };
        metrics.as_mut().map_or(Ok(()), |file| file.step(&report))?;
        on_event(Event::Step(&report));
    };
    if outcome != Outcome::Interrupted && plan.keep_best {
        state.restore_best(model);
    }
    Ok(outcome)
}

/// The norm of all gradients together.
pub(crate) fn gradient_norm<B: Backend>(model: &mut Decoder<B>) -> f64 {
    let backend = Arc::clone(&model.backend);
    model.parameters_mut().iter().map(|p| backend.sum_squares(&p.grad, p.len())).sum::<f64>().sqrt()
}

/// One AdamW update of every trained tensor. As in Hugging Face's Trainer norms are not decayed (a
/// Llama has no biases); LoRA's matrices, embeddings and heads are.
pub(crate) fn update<B: Backend>(
    model: &mut Decoder<B>,
    state: &mut State<B>,
    plan: &TrainPlan,
    grad_scale: f64,
) {
    let backend = Arc::clone(&model.backend);
    let step = state.progress.step;
    for (parameter, (m, v)) in model.parameters_mut().into_iter().zip(&mut state.moments) {
        let is_norm = parameter.name.ends_with("norm.weight");
        // LoRA+ in PEFT counts a vector to B.
        let is_b = [".lora_B.weight", ".lora_magnitude_vector"].iter().any(|x| parameter.name.ends_with(x));
        let update = AdamW {
            learning_rate: plan.learning_rate(step) * if is_b { plan.loraplus_lr_ratio } else { 1.0 },
            beta1: plan.beta1,
            beta2: plan.beta2,
            eps: plan.eps,
            weight_decay: if is_norm { 0.0 } else { plan.weight_decay },
            step: step as u64 + 1,
            grad_scale,
        };
        let len = parameter.len();
        backend.adamw(&mut parameter.value, &parameter.grad, m, v, len, update);
    }
}

/// The examples of a micro-batch that have a loss that is not finite.
fn not_finite(
    train: &[TokenExample],
    indices: &[usize],
    packed: &PackedBatch,
    rows: &[usize],
    losses: &[f64],
) -> Vec<String> {
    let bad = |segment: &std::ops::Range<usize>| {
        rows.iter().zip(losses).any(|(row, loss)| segment.contains(row) && !loss.is_finite())
    };
    let members = packed.members.iter().zip(&packed.segments);
    let bad = members.filter(|(_, segment)| bad(segment)).filter_map(|(member, _)| *member);
    bad.map(|m| indices[m]).map(|i| name(&train[i], i)).collect()
}

/// When to save: every so many steps, or by the clock. When is no matter for the result.
struct SaveClock {
    every: Option<usize>,
    saved_step: usize,
    saved_at: Instant,
    pause: Duration,
}

impl SaveClock {
    /// Between saves by the clock, unless one takes so long that this would cost over 2 % of the time.
    const PAUSE: Duration = Duration::from_secs(60);

    fn new(every: Option<usize>, step: usize) -> Self {
        Self { every, saved_step: step, saved_at: Instant::now(), pause: Self::PAUSE }
    }

    fn due(&self, step: usize, last: bool) -> bool {
        let by_rule = match self.every {
            Some(every) => step.is_multiple_of(every),
            None => self.saved_at.elapsed() >= self.pause,
        };
        // The last one also when nothing changed: a run of no steps still leaves a state.
        last || (by_rule && step != self.saved_step)
    }

    fn saved(&mut self, step: usize, took: Duration) {
        (self.saved_step, self.saved_at) = (step, Instant::now());
        self.pause = Self::PAUSE.max(50 * took);
    }
}
