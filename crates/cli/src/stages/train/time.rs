//! How long a run takes and costs: a few seconds of its own arithmetic, on its own shapes.

use super::prepare::{Base, Planned};
use super::{TrainOptions, Tuning};
use crate::report::Failure;
use crate::ui::Ui;
use indicatif::HumanDuration;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tolmach_engine::{BlockType, CpuBackend, Dtype, FrozenMatrix};
use tolmach_model::{Checkpoint, Config, Decoder, Error, LoraConfig, Shape, Trained};
use tolmach_train::{Calibration, calibrate};

/// Time of a calibration; large models take longer, for one pass of three blocks is the least.
const BUDGET: Duration = Duration::from_secs(2);

/// Seconds, and what they cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Time {
    /// One optimizer step, on average.
    pub step_seconds: f64,
    /// Tokens of the data per second, without evaluations.
    pub tokens_per_second: f64,
    pub training_seconds: f64,
    pub evaluation_seconds: f64,
    /// Both.
    pub total_seconds: f64,
    /// Multiply-adds × 2 of a block's frozen weights per second, measured.
    pub gflops: f64,
    /// Of the whole run, in the currency of the price given.
    pub cost: Option<f64>,
}

impl Time {
    /// Calibrate on this machine, and foretell.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn new(
        options: &TrainOptions,
        base: &Base,
        planned: &Planned,
        price_per_hour: Option<f64>,
    ) -> Result<Self, Failure> {
        let (plan, recompute) = (&planned.fitted.plan, planned.fitted.recompute);
        let model = |layers| slim(options, base, planned, layers);
        let calibration =
            calibrate(plan, &planned.data.train, recompute, BUDGET, model).map_err(super::train_failure)?;
        let evaluated = tolmach_train::spread(&planned.data.validation, plan.eval_examples);
        let rows = evaluated.iter().map(|e| e.len()).sum();
        let labelled = evaluated.iter().map(|e| e.trained_tokens()).sum();
        let found = calibration.predict(
            plan,
            base.config.num_hidden_layers,
            recompute,
            planned.facts.trained_parameters,
            (rows, labelled),
        );
        let total_seconds = found.training_seconds + found.evaluation_seconds;
        Ok(Self {
            step_seconds: found.step_seconds,
            tokens_per_second: plan.tokens as f64 / found.training_seconds.max(1e-9),
            training_seconds: found.training_seconds,
            evaluation_seconds: found.evaluation_seconds,
            total_seconds,
            gflops: gflops(&base.config, &calibration),
            cost: price_per_hour.map(|price| price * total_seconds / 3600.0),
        })
    }

    /// As lines after the plan's own.
    pub fn say(&self, ui: &Ui) {
        let line = |name: &str, text: String| ui.say(format!("{name:>12}  {text}"));
        let shown = |seconds: f64| HumanDuration(Duration::from_secs_f64(seconds)).to_string();
        line("measured", format!("{:.0} GFLOP/s in a block, forward and backward", self.gflops));
        line(
            "time",
            format!(
                "{} in all: {:.2} s a step, {:.0} tokens/s{}",
                shown(self.total_seconds),
                self.step_seconds,
                self.tokens_per_second,
                match self.evaluation_seconds {
                    0.0 => String::new(),
                    seconds => format!("; {} of it evaluations", shown(seconds)),
                }
            ),
        );
        if let Some(cost) = self.cost {
            line("cost", format!("{cost:.2} at the price given"));
        }
    }
}

/// Rate of the products with frozen weights: a pass of a row multiplies by each twice.
fn gflops(config: &Config, calibration: &Calibration) -> f64 {
    let lora = LoraConfig::default();
    let shape = Shape { config, trained: Trained::Lora(&lora) };
    let values: usize = shape.linear_layers().take(7).map(|(_, rows, cols)| rows * cols).sum();
    4.0 * values as f64 / calibration.block.max(1e-12) / 1e9
}

/// The base cut down to so many blocks, trained as the run will.
fn slim(
    options: &TrainOptions,
    base: &Base,
    planned: &Planned,
    layers: usize,
) -> Result<Decoder<CpuBackend>, tolmach_train::Error> {
    let config = Config { num_hidden_layers: layers, ..base.config.clone() };
    let quantize = options.quantize.map(super::Quantize::block);
    let mut model = match base.checkpoint() {
        Some(checkpoint) => read(config, base.config.num_hidden_layers, checkpoint, quantize)?,
        None => {
            let zeros = |name: &str, rows, cols| zeros(name, rows, cols, quantize, base.dtype());
            Decoder::from_weights(Arc::new(CpuBackend::new()), config, &zeros, &|_, len| Ok(vec![1.0; len]))?
        }
    };
    match (&options.tuning, &planned.adapter) {
        (Tuning::Full, _) | (_, None) => model.train_all(),
        (_, Some(info)) => {
            // A name with a block's number in it may match none of these blocks.
            let all = LoraConfig { target_modules: vec!["all-linear".into()], ..info.lora.clone() };
            model.add_lora(&info.lora, 1).or_else(|_| model.add_lora(&all, 1))?;
        }
    }
    Ok(model)
}

/// The first blocks of a checkpoint, again from the first where it has fewer.
fn read(
    config: Config,
    there: usize,
    checkpoint: &Checkpoint,
    quantize: Option<BlockType>,
) -> Result<Decoder<CpuBackend>, Error> {
    let stored = |name: &str| {
        let Some((block, rest)) = name.strip_prefix("model.layers.").and_then(|n| n.split_once('.')) else {
            return name.to_string();
        };
        let block = block.parse::<usize>().map_or(0, |block| block % there.max(1));
        format!("model.layers.{block}.{rest}")
    };
    Decoder::from_weights(
        Arc::new(CpuBackend::new()),
        config,
        &|name, rows, cols| match quantize.filter(|_| is_linear(name)) {
            Some(block) => zeros(name, rows, cols, Some(block), Dtype::F32),
            None => checkpoint.matrix(&stored(name), rows, cols),
        },
        &|name, len| checkpoint.values(&stored(name), &[len]),
    )
}

/// Numbers that take as long as any: quantised if the layer would be.
fn zeros(
    name: &str,
    rows: usize,
    cols: usize,
    quantize: Option<BlockType>,
    dtype: Dtype,
) -> Result<FrozenMatrix, Error> {
    let zeros = match quantize.filter(|_| is_linear(name)) {
        Some(block) => FrozenMatrix::zeros(rows, cols, block),
        None => FrozenMatrix::zeros(rows, cols, dtype),
    };
    zeros.map_err(|e| Error::Quantize { name: name.into(), reason: e.to_string() })
}

/// Whether a matrix is a block's.
fn is_linear(name: &str) -> bool {
    name.starts_with("model.layers.")
}

/// A plan with its time.
///
/// # Errors
/// As [`Planned::new`] and [`Time::new`].
pub fn plan_with_time(
    options: &TrainOptions,
    base: &Base,
    price_per_hour: Option<f64>,
    ui: &Ui,
) -> Result<serde_json::Value, Failure> {
    crate::loading::pool(options.threads)?.install(|| {
        let planned = Planned::new(options, base, ui)?;
        planned.facts.say(ui);
        let time = Time::new(options, base, &planned, price_per_hour)?;
        time.say(ui);
        let mut value = serde_json::to_value(&planned.facts)?;
        value["time"] = serde_json::to_value(time)?;
        Ok(value)
    })
}
