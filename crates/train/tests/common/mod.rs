//! A tiny model and data for the tests of the loop.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]
#![allow(dead_code, reason = "each test program uses a part")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tolmach_engine::{Backend, CpuBackend, random};
use tolmach_model::{AdapterInfo, Config, Decoder, LoraConfig, Rope, RopeScaling};
use tolmach_tokenize::TokenExample;
use tolmach_train::{Error, Event, Identity, Outcome, Run, RunFiles, State, TrainConfig, TrainPlan, train};

pub const VOCAB: usize = 40;

pub fn config() -> Config {
    Config {
        hidden_size: 16,
        intermediate_size: 24,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 8,
        vocab_size: VOCAB,
        max_position_embeddings: 64,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: true,
        rope: Rope { theta: 10_000.0, scaling: RopeScaling::None },
    }
}

pub fn lora() -> LoraConfig {
    LoraConfig {
        rank: 4,
        alpha: 8.0,
        dropout: 0.1,
        target_modules: vec!["all-linear".into()],
        modules_to_save: vec![],
        ..LoraConfig::of_rank(4)
    }
}

pub fn base<B: Backend>(backend: B) -> Decoder<B> {
    Decoder::random(Arc::new(backend), config(), 1).unwrap()
}

/// A base with fresh LoRA on every linear layer.
pub fn model() -> Decoder<CpuBackend> {
    let mut model = base(CpuBackend::new());
    model.add_lora(&lora(), 7).unwrap();
    model
}

/// `count` examples of 6 to 15 tokens that count upwards: something to learn.
pub fn examples(count: usize) -> Vec<TokenExample> {
    (0..count)
        .map(|i| {
            let draw = |purpose| random::key(5, &[i as u64, purpose]) as usize;
            let (len, start) = (6 + draw(0) % 10, draw(1) % VOCAB);
            let input_ids: Vec<u32> = (0..len).map(|t| ((start + t) % VOCAB) as u32).collect();
            let labels = input_ids.iter().enumerate().map(|(t, &id)| if t < 3 { -100 } else { id as i32 });
            TokenExample { id: Some(format!("e{i}")), labels: labels.collect(), input_ids }
        })
        .collect()
}

pub fn plan(config: &TrainConfig, train: &[TokenExample], validation: &[TokenExample]) -> TrainPlan {
    TrainPlan::new(config, 64, train, validation.len()).unwrap()
}

/// Ten steps with everything on: dropout, accumulation, shuffling, decay, clipping.
pub fn ten_steps() -> TrainConfig {
    TrainConfig {
        max_steps: Some(10),
        step_examples: Some(6),
        micro_batch_tokens: Some(32),
        learning_rate: 0.01,
        weight_decay: 0.01,
        save_every: Some(1),
        ..Default::default()
    }
}

/// A run in a folder.
pub struct Bench {
    pub train: Vec<TokenExample>,
    pub validation: Vec<TokenExample>,
    pub plan: TrainPlan,
    pub files: RunFiles,
    pub cancel: AtomicBool,
}

impl Bench {
    pub fn new(folder: &Path, config: &TrainConfig) -> Self {
        Self::with_data(folder, config, examples(20), examples(30).split_off(24))
    }

    pub fn with_data(
        folder: &Path,
        config: &TrainConfig,
        train: Vec<TokenExample>,
        validation: Vec<TokenExample>,
    ) -> Self {
        let plan = plan(config, &train, &validation);
        let files = RunFiles {
            state: folder.join("training-state.safetensors"),
            metrics: folder.join("metrics.jsonl"),
            identity: Identity::new(&plan, &train, &validation),
            live: None,
            resident_bytes: || None,
        };
        Self { train, validation, plan, files, cancel: AtomicBool::new(false) }
    }

    /// Start, or go on from the state in the folder.
    pub fn run<B: Backend>(
        &self,
        model: &mut Decoder<B>,
        on_event: impl FnMut(Event<B>),
    ) -> Result<(Outcome, State<B>), Error> {
        let mut state = if self.files.state.exists() {
            State::load(&self.files.state, model, &self.files.identity)?
        } else {
            State::new(model)?
        };
        let run = Run {
            plan: &self.plan,
            train: &self.train,
            validation: &self.validation,
            files: Some(&self.files),
            cancel: &self.cancel,
        };
        let outcome = train(model, &mut state, &run, on_event)?;
        Ok((outcome, state))
    }
}

/// The bytes of the adapter that a model would be saved as.
pub fn adapter_bytes(model: &mut Decoder<CpuBackend>) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let info = AdapterInfo { lora: lora(), base_model_name_or_path: None };
    model.save_adapter(dir.path(), &info).unwrap();
    std::fs::read(dir.path().join(tolmach_model::ADAPTER_WEIGHTS)).unwrap()
}
