//! The demo's base model: full training from random weights, with the project's own loop.

use super::{ENGLISH_TEMPLATE, Texts};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use tolmach_engine::{CpuBackend, Dtype};
use tolmach_model::{Config, Decoder, Rope, RopeScaling};
use tolmach_tokenize::{ExampleEncoder, MaskConfig, OverLong, PromptTemplate, TokenExample, Tokenizer};
use tolmach_train::{Event, Run, Schedule, State, TrainConfig, TrainPlan, train};

/// About a million weights: enough to follow seven kinds of instructions, small enough to be taught in
/// two minutes. The head is its own, so that `modules_to_save` can train both ends.
fn config(vocab_size: usize) -> Config {
    Config {
        hidden_size: 128,
        intermediate_size: 352,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        num_key_value_heads: 4,
        head_dim: 32,
        vocab_size,
        max_position_embeddings: 512,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
    }
}

/// How the base model is trained.
#[derive(Clone, Copy, Debug)]
pub struct Pretraining {
    pub epochs: usize,
    pub learning_rate: f64,
    pub step_tokens: usize,
}

impl Default for Pretraining {
    fn default() -> Self {
        Self { epochs: 16, learning_rate: 2.5e-3, step_tokens: 2048 }
    }
}

/// Train the base model on `texts.pretraining` and write `config.json`, `generation_config.json` and
/// `model.safetensors` (bf16) beside the tokenizer in `folder`.
///
/// # Errors
/// The tokenizer is missing, a text cannot be encoded, a file cannot be written.
pub fn pretrain(texts: &Texts, seed: u64, how: Pretraining, folder: &Path) -> Result<()> {
    let tokenizer = Tokenizer::load(folder)?;
    let examples = encode(texts, &tokenizer)?;
    let train_config = TrainConfig {
        epochs: how.epochs,
        step_tokens: Some(how.step_tokens),
        learning_rate: how.learning_rate,
        schedule: Schedule::Cosine,
        weight_decay: 0.01,
        seed,
        ..Default::default()
    };
    let plan = TrainPlan::new(&train_config, how.step_tokens, &examples, 0)?;
    let config = config(tokenizer.vocab_size());
    eprintln!(
        "pretraining: {} parameters, {} examples, {} tokens in {} steps",
        config.parameters(),
        plan.examples,
        plan.tokens,
        plan.steps
    );
    let mut model = Decoder::random(Arc::new(CpuBackend::new()), config, seed)?;
    model.train_all();
    let mut state = State::new(&mut model)?;
    let cancel = AtomicBool::new(false);
    let run = Run { plan: &plan, train: &examples, validation: &[], files: None, cancel: &cancel };
    let (start, every) = (Instant::now(), (plan.steps / 50).max(1));
    let pool = rayon::ThreadPoolBuilder::new().build()?;
    // Inside a pool, operations do not wait for one.
    pool.install(|| {
        train(&mut model, &mut state, &run, |event| {
            if let Event::Step(report) = event
                && report.step % every == 0
            {
                let seconds = start.elapsed().as_secs_f64();
                let rate = report.tokens_so_far as f64 / seconds;
                let (step, loss) = (report.step, report.loss);
                eprintln!("  step {step}: loss {loss:.3} nats/token, {seconds:.0} s, {rate:.0} tokens/s");
            }
        })
    })?;
    model.save(folder, Dtype::BF16)?;
    let stop = tokenizer.require_eos()?;
    let generation = format!("{:#}\n", serde_json::json!({ "eos_token_id": stop, "do_sample": false }));
    let path = folder.join("generation_config.json");
    tolmach_durable::write(&path, generation).with_context(|| format!("{} is not written", path.display()))
}

/// Whole texts, prompts included.
fn encode(texts: &Texts, tokenizer: &Tokenizer) -> Result<Vec<TokenExample>> {
    let template = PromptTemplate::named(ENGLISH_TEMPLATE)?;
    let whole = MaskConfig { train_on_prompt: true };
    let encoder = ExampleEncoder::new(tokenizer, &template, whole, 512, OverLong::Drop)?;
    let encoded = encoder.encode_all(&texts.pretraining);
    ensure!(encoded.dropped.is_empty(), "{} pretraining texts do not fit", encoded.dropped.len());
    Ok(encoded.examples)
}
