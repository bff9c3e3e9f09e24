//! What is seen while it trains: a bar (or now and then a line), validation losses, replies.

use super::samples::{Replier, SamplesFile};
use super::{Sample, TrainOptions, Tuning};
use crate::loading::model_failure;
use crate::report::Failure;
use crate::ui::Ui;
use indicatif::{HumanDuration, ProgressBar};
use std::time::{Duration, Instant};
use tolmach_engine::CpuBackend;
use tolmach_model::{Decoder, SamplingConfig, Side, generate_all};
use tolmach_tokenize::Tokenizer;
use tolmach_train::{Event, Progress, StepReport, TrainPlan};

/// Lines in all where there is no terminal for a bar.
const LINES: usize = 20;
/// Longest reply to a sample prompt, in tokens.
const SAMPLE_TOKENS: usize = 64;

pub struct TrainingProgress<'a> {
    ui: &'a Ui,
    bar: ProgressBar,
    steps: usize,
    tokens: u64,
    begun: Instant,
    begun_at: u64,
    replies: Option<Replies<'a>>,
    /// The latest replies, or what went wrong with them.
    samples: Result<Vec<Sample>, Failure>,
}

/// What is replied to.
struct Replies<'a> {
    tokenizer: &'a Tokenizer,
    prompts: &'a [String],
    ids: Vec<Vec<u32>>,
    file: SamplesFile,
    /// Whether the base is still there after the first step: not in full training.
    keeps_base: bool,
}

impl<'a> TrainingProgress<'a> {
    /// # Errors
    /// A sample prompt cannot be encoded. `samples` is there if there are sample prompts.
    pub fn new(
        ui: &'a Ui,
        plan: &TrainPlan,
        progress: &Progress,
        options: &'a TrainOptions,
        tokenizer: Option<&'a Tokenizer>,
        samples: Option<SamplesFile>,
    ) -> Result<Self, Failure> {
        let replies = match tokenizer.zip(samples) {
            Some((tokenizer, file)) => {
                let prompts = &options.sample_prompts;
                let encode = |prompt: &String| {
                    let text = options.template.render_prompt(prompt, "");
                    tokenizer.encode(&text, true).map(|tokens| tokens.ids)
                };
                let ids = prompts.iter().map(encode).collect::<Result<_, _>>()?;
                let keeps_base = !matches!(options.tuning, Tuning::Full);
                Some(Replies { tokenizer, prompts, ids, file, keeps_base })
            }
            None => None,
        };
        let bar = ui.bar(plan.tokens as u64, "train");
        bar.set_position(progress.tokens);
        bar.reset_eta();
        Ok(Self {
            ui,
            bar,
            steps: plan.steps,
            tokens: plan.tokens as u64,
            begun: Instant::now(),
            begun_at: progress.tokens,
            replies,
            samples: Ok(Vec::new()),
        })
    }

    pub fn on(&mut self, event: &Event<CpuBackend>) {
        match event {
            Event::MicroBatch { tokens } => self.bar.inc(*tokens as u64),
            Event::Step(report) => self.step(report),
            Event::Evaluating { done, total } => self.bar.set_message(format!("evaluating {done}/{total}")),
            Event::Evaluated(evaluation) => {
                let (step, loss) = (evaluation.step, evaluation.loss);
                self.line(format!(
                    "after step {step}: validation loss {loss:.4}, perplexity {:.2}",
                    loss.exp()
                ));
            }
            Event::SampleDue { step, model } => self.sample(*step, model),
            Event::Saved { .. } | Event::Live { written: Ok(()), .. } => {}
            Event::Live { step, written: Err(e) } => {
                self.bar
                    .suspend(|| self.ui.warn(format!("after step {step} the adapter cannot be shown: {e}")));
            }
        }
    }

    fn step(&mut self, report: &StepReport) {
        let StepReport { step, loss, learning_rate, tokens_per_second, tokens_so_far, .. } = *report;
        self.bar.set_position(tokens_so_far);
        let text = format!("step {step}/{} loss {loss:.4} lr {learning_rate:.2e}", self.steps);
        if !self.bar.is_hidden() {
            self.bar.set_message(text);
        } else if step == self.steps || step.is_multiple_of(self.steps.div_ceil(LINES)) {
            self.ui.say(format!("{text} {tokens_per_second:.0} tokens/s eta {}", self.eta(tokens_so_far)));
        }
    }

    fn eta(&self, tokens_so_far: u64) -> HumanDuration {
        let rate = (tokens_so_far - self.begun_at) as f64 / self.begun.elapsed().as_secs_f64();
        let left = self.tokens.saturating_sub(tokens_so_far) as f64 / rate.max(1e-9);
        HumanDuration(Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX))
    }

    /// A line above the bar.
    fn line(&self, text: impl AsRef<str>) {
        self.bar.suspend(|| self.ui.say(text));
    }

    fn sample(&mut self, step: usize, model: &Decoder<CpuBackend>) {
        let Some(replies) = &mut self.replies else { return };
        match replies.at(step, model) {
            Ok(samples) => {
                for Sample { prompt, reply } in &samples {
                    self.line(format!("after step {step}: {prompt}\n    {}", reply.replace('\n', "\n    ")));
                }
                if self.samples.is_ok() {
                    self.samples = Ok(samples);
                }
            }
            Err(failure) => self.samples = Err(failure),
        }
    }

    /// Take the bar away; the last replies.
    pub fn finish(self) -> Result<Vec<Sample>, Failure> {
        self.bar.finish_and_clear();
        self.samples
    }
}

impl Replies<'_> {
    /// Reply after so many updates, and record it; the base's replies are recorded once.
    fn at(&mut self, step: usize, model: &Decoder<CpuBackend>) -> Result<Vec<Sample>, Failure> {
        if !self.file.has_base(self.prompts) && (step == 0 || self.keeps_base) {
            let base = self.of(model, Side::Base)?;
            self.file.add(0, Replier::Base, &base)?;
        }
        let samples = self.of(model, Side::Tuned)?;
        self.file.add(step, Replier::Tuned, &samples)?;
        Ok(samples)
    }

    fn of(&self, model: &Decoder<CpuBackend>, side: Side) -> Result<Vec<Sample>, Failure> {
        let (ids, stops) = (&self.ids, self.tokenizer.eos_ids());
        let greedy = SamplingConfig::default();
        let replies = generate_all(model, side, ids, &greedy, stops, SAMPLE_TOKENS, ids.len(), |_| {})
            .map_err(model_failure)?;
        let sample = |(prompt, reply): (&String, tolmach_model::Reply)| Sample {
            prompt: prompt.clone(),
            reply: self.tokenizer.decode(&reply.tokens, true).trim().to_string(),
        };
        Ok(self.prompts.iter().zip(replies).map(sample).collect())
    }
}
