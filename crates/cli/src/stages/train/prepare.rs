//! What is known before a weight is read: the data, the plan, what it takes; and whether that can be had.

use super::data::Data;
use super::facts::PlanFacts;
use super::{Quantize, TrainOptions, Tuning, needed_tokenizer, train_failure};
use crate::loading::model_failure;
use crate::machine;
use crate::report::{Exit, Failure};
use crate::ui::Ui;
use indicatif::HumanBytes;
use std::path::Path;
use tolmach_engine::Dtype;
use tolmach_model::{AdapterInfo, Checkpoint, Config, Shape, Trained};
use tolmach_tokenize::Tokenizer;
use tolmach_train::{BaseWeights, Fitted, Footprint, Resources, TrainConfig, fit};

/// The base as far as a plan needs it.
pub struct Base {
    pub config: Config,
    /// The type of each tensor; none where only `config.json` is there.
    checkpoint: Option<Checkpoint>,
    /// Where there is no checkpoint.
    dtype: Dtype,
}

impl Base {
    /// From a model folder.
    ///
    /// # Errors
    /// `config.json` or the weights are missing, or cannot be read.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        if !folder.is_dir() {
            return Err(model_failure(tolmach_model::Error::no_folder(folder)));
        }
        let config = Config::read(&folder.join("config.json")).map_err(model_failure)?;
        let checkpoint = Checkpoint::open_folder(folder).map_err(model_failure)?;
        Ok(Self { config, checkpoint: Some(checkpoint), dtype: Dtype::F32 })
    }

    /// From a `config.json` alone: weights of the type that it names, else bf16.
    ///
    /// # Errors
    /// The file is missing or describes no model of ours.
    pub fn of_config(file: &Path) -> Result<Self, Failure> {
        let config = Config::read(file).map_err(model_failure)?;
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
        let named = json["torch_dtype"].as_str().or(json["dtype"].as_str());
        let dtype = match named {
            Some("float32") => Dtype::F32,
            Some("float16") => Dtype::F16,
            _ => Dtype::BF16,
        };
        Ok(Self { config, checkpoint: None, dtype })
    }

    /// From a folder with `config.json` and, for all that is known of the weights, the bytes that they take.
    ///
    /// # Errors
    /// As [`Base::of_config`].
    pub fn of_remote(folder: &Path, weights: Option<u64>) -> Result<Self, Failure> {
        let named = Self::of_config(&folder.join("config.json"))?;
        let each = weights.map(|bytes| bytes / named.config.parameters().max(1) as u64);
        // A type is often named that the file is not of: size counts. Between types of 2 bytes it is no matter.
        let dtype = match (each, named.dtype) {
            (Some(4..), _) => Dtype::F32,
            (Some(_), Dtype::F32) => Dtype::BF16,
            (_, dtype) => dtype,
        };
        Ok(Self { dtype, ..named })
    }

    /// The weights, if they are there.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn weights(&self, shape: &Shape, quantize: Option<Quantize>) -> Result<BaseWeights, Failure> {
        let weights = match &self.checkpoint {
            Some(checkpoint) => {
                BaseWeights::mapped(shape, |name| checkpoint.dtype(name)).map_err(model_failure)
            }
            None => BaseWeights::mapped(shape, |_| Ok(self.dtype)),
        }?;
        Ok(match quantize {
            Some(quantize) => weights.quantized(shape, quantize.block()),
            None => weights,
        })
    }
}

/// A run before its model is loaded.
pub struct Planned {
    pub tokenizer: Option<Tokenizer>,
    pub data: Data,
    /// What the adapter folder will say; `None` in full training.
    pub adapter: Option<AdapterInfo>,
    pub fitted: Fitted,
    pub facts: PlanFacts,
}

impl Planned {
    /// # Errors
    /// Missing or invalid input, impossible settings, more memory than may be had.
    pub fn new(options: &TrainOptions, base: &Base, ui: &Ui) -> Result<Self, Failure> {
        options.train.check().map_err(train_failure)?;
        let config = &base.config;
        let max_seq_length =
            options.train.resolved_max_seq_length(config.max_position_embeddings).map_err(train_failure)?;
        let tokenizer = needed_tokenizer(options, config, ui)?;
        let data = Data::load(options, tokenizer.as_ref(), config, max_seq_length, ui)?;
        let adapter = adapter(options)?;
        let trained = adapter.as_ref().map_or(Trained::All, |info| Trained::Lora(&info.lora));
        let shape = Shape { config, trained };
        // One mask over a shared row is another draw than a mask for each example.
        let shared_prefix = options.train.shared_prefix && !shape.has_dropout();
        let train = TrainConfig { shared_prefix, ..options.train.clone() };
        tolmach_engine::cpu::release_freed_memory(); // files were read and parsed
        let program = machine::resident_bytes().unwrap_or(0) + machine::CODE;
        let footprint = Footprint {
            shape,
            base: base.weights(&shape, options.quantize)?,
            program,
            threads: rayon::current_num_threads(),
        };
        let resources = Resources {
            limit: options.train.memory,
            available: machine::available_bytes().map(|bytes| bytes + program),
        };
        let examples = tolmach_train::Data { train: &data.train, validation: &data.validation };
        let fitted = fit(&train, max_seq_length, &examples, &footprint, resources).map_err(train_failure)?;
        let disk = footprint.disk(&fitted.plan);
        let facts = PlanFacts::new(options, &shape, adapter.as_ref(), &fitted, &data, max_seq_length, disk);
        Ok(Self { tokenizer, data, adapter, fitted, facts })
    }
}

/// What the adapter will be.
fn adapter(options: &TrainOptions) -> Result<Option<AdapterInfo>, Failure> {
    let base = Some(crate::hub::shown(&options.base));
    match &options.tuning {
        Tuning::Lora(lora) => {
            lora.check().map_err(|e| model_failure(e).exit(Exit::Usage))?;
            Ok(Some(AdapterInfo { lora: lora.clone(), base_model_name_or_path: base }))
        }
        Tuning::Continue(folder) => {
            let info = AdapterInfo::read(folder).map_err(model_failure)?;
            Ok(Some(AdapterInfo { base_model_name_or_path: base, ..info }))
        }
        Tuning::Full => Ok(None),
    }
}

/// Training must not start what it cannot save.
///
/// # Errors
/// The disk of the output folder has less room than the training state and the result need.
pub fn check_disk(folder: &Path, facts: &PlanFacts) -> Result<(), Failure> {
    let Some(free) = machine::free_disk_bytes(folder) else { return Ok(()) };
    if free >= facts.disk {
        return Ok(());
    }
    Err(Failure::input(format!(
        "{}: the training state and the result need {}, the disk has {} free",
        folder.display(),
        HumanBytes(facts.disk),
        HumanBytes(free)
    ))
    .hint("free some space, or name a folder on another disk with -o"))
}
