//! The proof: what lies on disk is read back and compared with the tuned model as it was trained.
//!
//! Three comparisons, each on 64 fixed texts. (1) The logits of what is on disk against those of the base
//! with its adapter beside it, within the bounds of the format. (2) The same of the merged weights before
//! they were rounded: tight whatever the format, so that a wrong merge cannot hide in a coarse one.
//! (3) Tensor by tensor, what is on disk against the merged weights. And whatever is no number must be
//! equal: the configuration, the vocabulary, BOS and EOS, the tokens of the texts.

use crate::certificate::{Certificate, WeightFigures};
use crate::compare::{Bounds, Figures, Logits, PackedPrompts, compare};
use crate::error::{Error, Result};
use crate::gguf::{Encoder, GgufModel, TensorType, TokenKind, VocabularyModel};
use crate::prompts::{SPACED, TEXTS, prompts};
use crate::source::{Source, Tensor, logits, tensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tolmach_engine::{CpuBackend, Dtype};
use tolmach_model::{Checkpoint, Config, Decoder, Head, Rope, RopeScaling, Side};
use tolmach_tokenize::Tokenizer;

/// The tuned model as it was trained, and what it says.
pub struct Live<'a> {
    pub tokenizer: &'a Tokenizer,
    /// Of the merged model.
    pub config: Config,
    pub fingerprint: Option<String>,
    backend: Arc<CpuBackend>,
    prompts: PackedPrompts,
    logits: Logits,
}

impl<'a> Live<'a> {
    /// Load a base with its adapter, and run the fixed texts through them.
    ///
    /// # Errors
    /// Anything missing or malformed; an adapter of another base.
    pub fn load(base: &Path, adapter: Option<&Path>, tokenizer: &'a Tokenizer) -> Result<Self> {
        let backend = Arc::new(CpuBackend::new());
        let mut model = Decoder::load(Arc::clone(&backend), base)?;
        if let Some(adapter) = adapter {
            model.load_adapter(adapter)?;
        }
        tokenizer.check_vocab_size(model.config.vocab_size)?;
        let prompts = PackedPrompts::new(&prompts(tokenizer, model.config.max_position_embeddings)?);
        let tie_word_embeddings = matches!(model.head, Head::Tied);
        let config = Config { tie_word_embeddings, ..model.config.clone() };
        let fingerprint = model.fingerprint.clone();
        let values = model.logits_once(prompts.batch(), Side::Tuned)?;
        let logits = Logits { values, vocab: config.vocab_size };
        Ok(Self { tokenizer, config, fingerprint, backend, prompts, logits })
    }

    /// Texts that are compared.
    pub fn prompts(&self) -> usize {
        self.prompts.len()
    }

    fn compare(&self, source: &dyn Source, bounds: Bounds) -> Result<Option<Figures>> {
        let vocab = source.config().vocab_size;
        if vocab != self.config.vocab_size {
            return Ok(None);
        }
        let values = logits(source, Arc::clone(&self.backend), self.prompts.batch())?;
        Ok(compare(&self.logits, &Logits { values, vocab }, bounds))
    }

    /// A model folder on disk.
    ///
    /// # Errors
    /// The folder cannot be read: a failed comparison is no error, but stands in the certificate.
    pub fn prove_folder(
        &self,
        folder: &Path,
        merged: &dyn Source,
        dtype: Dtype,
        certificate: &mut Certificate,
    ) -> Result<()> {
        let model = Decoder::load(Arc::clone(&self.backend), folder)?;
        self.check_config(&model.config, certificate);
        let vocab = model.config.vocab_size;
        let found = if vocab == self.config.vocab_size {
            let values = model.logits_once(self.prompts.batch(), Side::Tuned)?;
            compare(&self.logits, &Logits { values, vocab }, Bounds::of_dtype(dtype))
        } else {
            None
        };
        certificate.logits = note(found, "", certificate);
        if dtype != Dtype::F32 {
            self.check_merged(merged, certificate)?;
        }
        let stored = FolderModel { config: merged.config().clone(), file: Checkpoint::open_folder(folder)? };
        let bound = match dtype {
            Dtype::F32 => 0.0,
            Dtype::F16 => rounding_bound(TensorType::F16),
            Dtype::BF16 => rounding_bound(TensorType::Bf16),
        };
        check_weights(&stored, merged, &|_| (dtype.to_string(), bound), certificate)?;
        self.check_stop(folder, certificate)?;
        self.check_tokenizer(&Tokenizer::load(folder)?, certificate)
    }

    /// A whole model in a GGUF file.
    ///
    /// # Errors
    /// As [`Live::prove_folder`].
    pub fn prove_gguf(
        &self,
        path: &Path,
        merged: &dyn Source,
        tensor_type: TensorType,
        certificate: &mut Certificate,
    ) -> Result<()> {
        let stored = GgufModel::open(path, Some(&self.config))?;
        self.check_config(stored.config(), certificate);
        let found = self.compare(&stored, Bounds::of_type(tensor_type))?;
        certificate.logits = note(found, "", certificate);
        if tensor_type != TensorType::F32 {
            self.check_merged(merged, certificate)?;
        }
        let type_of = |tensor: &_| {
            let stored_as = stored.stored_type(tensor).unwrap_or(TensorType::F32);
            (stored_as.to_string(), rounding_bound(stored_as))
        };
        check_weights(&stored, merged, &type_of, certificate)?;
        self.check_vocabulary(&stored, certificate);
        Ok(())
    }

    /// An adapter in a GGUF file, over its base.
    ///
    /// # Errors
    /// As [`Live::prove_folder`].
    pub fn prove_lora(&self, stored: &dyn Source, certificate: &mut Certificate) -> Result<()> {
        let found = self.compare(stored, Bounds::EXACT)?;
        certificate.logits = note(found, "", certificate);
        Ok(())
    }

    fn check_merged(&self, merged: &dyn Source, certificate: &mut Certificate) -> Result<()> {
        let found = self.compare(merged, Bounds::EXACT)?;
        certificate.merged = note(found, "the merged weights: ", certificate);
        Ok(())
    }

    fn check_config(&self, found: &Config, certificate: &mut Certificate) {
        let (expected, found) = (in_f32(&self.config), in_f32(found));
        if expected != found {
            let message = format!("the configuration is {found:?}, the model's is {expected:?}");
            certificate.failures.push(message);
        }
    }

    /// `generation_config.json` stops where the model was taught to stop (unsloth#416).
    fn check_stop(&self, folder: &Path, certificate: &mut Certificate) -> Result<()> {
        let path = folder.join("generation_config.json");
        let text = std::fs::read(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let json: Value = serde_json::from_slice(&text).map_err(|source| Error::Json { path, source })?;
        let stops = &json["eos_token_id"];
        let stops_at = |eos: u32| match stops {
            Value::Array(ids) => ids.contains(&eos.into()),
            id => id.as_u64() == Some(eos.into()),
        };
        if let Some(eos) = self.tokenizer.eos().filter(|&eos| !stops_at(eos)) {
            let message = format!("generation_config.json: eos_token_id is {stops}, the model's is {eos}");
            certificate.failures.push(message);
        }
        Ok(())
    }

    /// The tokenizer of an exported folder: every token, BOS, EOS, and what becomes of the texts.
    fn check_tokenizer(&self, found: &Tokenizer, certificate: &mut Certificate) -> Result<()> {
        let own = self.tokenizer;
        let pairs = [
            ("EOS", format!("{:?}", own.eos_ids()), format!("{:?}", found.eos_ids())),
            ("BOS", format!("{:?}", own.bos()), format!("{:?}", found.bos())),
            ("adding BOS", own.adds_bos().to_string(), found.adds_bos().to_string()),
        ];
        for (what, expected, found) in pairs {
            if expected != found {
                certificate.failures.push(format!("{what} is {found}, the model's is {expected}"));
            }
        }
        let spelled = |id| found.token_text(id);
        check_tokens(own, own.vocab_size().max(found.vocab_size()), &spelled, certificate);
        let mut other = Vec::new();
        for text in TEXTS.iter().chain(&SPACED) {
            if own.encode(text, true)?.ids != found.encode(text, true)?.ids {
                other.push(*text);
            }
        }
        note_texts(&other, TEXTS.len() + SPACED.len(), certificate);
        Ok(())
    }

    /// The vocabulary in a GGUF file, used as llama.cpp uses it.
    fn check_vocabulary(&self, stored: &GgufModel, certificate: &mut Certificate) {
        let (own, found) = (self.tokenizer, stored.vocabulary());
        let rows = self.config.vocab_size;
        let lengths = [found.tokens.len(), found.kinds.len()];
        if lengths != [rows; 2] {
            let message = format!("there are {} tokens for {rows} rows of the embedding", lengths[0]);
            certificate.failures.push(message);
        }
        let pairs = [
            ("EOS", format!("{:?}", own.eos()), format!("{:?}", found.eos)),
            ("BOS", format!("{:?}", own.bos()), format!("{:?}", found.bos)),
            ("adding BOS", own.adds_bos().to_string(), found.add_bos.to_string()),
        ];
        for (what, expected, found) in pairs {
            if expected != found {
                certificate.failures.push(format!("{what} is {found}, the model's is {expected}"));
            }
        }
        check_tokens(own, own.vocab_size(), &|id| found.tokens.get(id as usize).cloned(), certificate);
        let encoder = match Encoder::new(found) {
            Ok(encoder) => encoder,
            Err(reason) => {
                certificate.failures.push(format!("its vocabulary makes no tokenizer: {reason}"));
                return;
            }
        };
        let same = |text: &str| own.encode(text, true).ok().map(|t| t.ids) == encoder.encode(text).ok();
        let other: Vec<&str> = TEXTS.into_iter().filter(|text| !same(text)).collect();
        note_texts(&other, TEXTS.len(), certificate);
        let own_symbols = found.kinds.iter().filter(|kind| **kind == TokenKind::UserDefined).count();
        if own_symbols > 0 && matches!(found.model, VocabularyModel::Llama { .. }) {
            certificate.warnings.push(format!(
                "there are {own_symbols} user-defined symbols; llama.cpp may cut the text around them otherwise"
            ));
        }
        if !SPACED.iter().all(|text| same(text)) {
            let warning = "runs of spaces become other tokens: llama.cpp keeps what this tokenizer squeezes";
            certificate.warnings.push(warning.into());
        }
    }
}

/// Keep the figures, and what is wrong with them.
fn note(found: Option<Figures>, what: &str, certificate: &mut Certificate) -> Option<Figures> {
    match &found {
        Some(figures) => {
            let failures = figures.failures();
            certificate.failures.extend(failures.into_iter().map(|failure| format!("{what}{failure}")));
        }
        None => certificate.failures.push(format!("{what}the vocabulary has another size")),
    }
    found
}

/// Keep how many of `all` texts are cut alike, and one that is not.
fn note_texts(other: &[&str], all: usize, certificate: &mut Certificate) {
    certificate.equal_texts = Some(all - other.len());
    if let Some(first) = other.first() {
        let message = format!("{} of {all} texts become other tokens, the first is {first:?}", other.len());
        certificate.failures.push(message);
    }
}

fn check_tokens(
    own: &Tokenizer,
    ids: usize,
    found: &dyn Fn(u32) -> Option<String>,
    certificate: &mut Certificate,
) {
    let differs = |&id: &u32| own.token_text(id).is_some() && own.token_text(id) != found(id);
    let wrong: Vec<u32> = (0..ids as u32).filter(differs).collect();
    if let Some(&first) = wrong.first() {
        certificate.failures.push(format!(
            "{} tokens are spelled otherwise: token {first} is {:?}, the model's is {:?}",
            wrong.len(),
            found(first).unwrap_or_default(),
            own.token_text(first).unwrap_or_default()
        ));
    }
}

/// Largest √(Σ difference² / Σ value²) that rounding to a type explains.
///
/// Halves have relative steps of 2⁻¹¹ and 2⁻⁸. A block of n-bit numbers has steps of its extreme / 2ⁿ⁻¹;
/// for the bell-shaped weights of a model that is 0.5 % and 8 % of their spread, and a few large ones
/// among many small cost up to three times as much.
fn rounding_bound(tensor_type: TensorType) -> f64 {
    match tensor_type {
        TensorType::F32 => 0.0,
        TensorType::F16 => 5e-4,
        TensorType::Bf16 => 4e-3,
        TensorType::Q8_0 => 0.02,
        TensorType::Q6K => 0.06,
        TensorType::Q4_0 | TensorType::Q4K => 0.25,
    }
}

/// A model folder's tensors as they are on disk.
struct FolderModel {
    config: Config,
    file: Checkpoint,
}

impl Source for FolderModel {
    fn config(&self) -> &Config {
        &self.config
    }

    fn read(&self, tensor: &Tensor, values: &mut Vec<f32>) -> Result<()> {
        *values = self.file.values(&tensor.name, &tensor.shape)?;
        self.file.release(&tensor.name);
        Ok(())
    }
}

/// Every tensor on disk against the merged one. `type_of` says what it is stored as and the bound.
fn check_weights(
    stored: &dyn Source,
    merged: &dyn Source,
    type_of: &dyn Fn(&Tensor) -> (String, f64),
    certificate: &mut Certificate,
) -> Result<()> {
    let mut by_type: BTreeMap<String, WeightFigures> = BTreeMap::new();
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    for tensor in tensors(merged.config()) {
        merged.read(&tensor, &mut expected)?;
        stored.read(&tensor, &mut found)?;
        let (mut off, mut size) = (0.0f64, 0.0f64);
        for (&a, &b) in expected.iter().zip(&found) {
            off += f64::from(a - b).powi(2);
            size += f64::from(a).powi(2);
        }
        let relative = match (off / size).sqrt() {
            _ if off == 0.0 => 0.0,
            nan if nan.is_nan() => f64::INFINITY,
            relative => relative,
        };
        let (stored_as, bound) = type_of(&tensor);
        let figures = by_type.entry(stored_as.clone()).or_insert_with(|| WeightFigures {
            stored_as,
            tensors: 0,
            worst_relative_rms: 0.0,
            worst_tensor: tensor.name.clone(),
            bound,
        });
        figures.tensors += 1;
        if relative > figures.worst_relative_rms {
            (figures.worst_relative_rms, figures.worst_tensor) = (relative, tensor.name.clone());
        }
        if relative > bound {
            certificate.failures.push(format!(
                "tensor `{}` is off by {relative:.2e} of its size (at most {bound:.0e})",
                tensor.name
            ));
        }
    }
    certificate.weights = by_type.into_values().collect();
    Ok(())
}

/// Constants as GGUF keeps them.
fn in_f32(config: &Config) -> Config {
    let round = |x: f64| f64::from(x as f32);
    let scaling = match config.rope.scaling {
        RopeScaling::Linear { factor } => RopeScaling::Linear { factor: round(factor) },
        ref other => other.clone(),
    };
    Config {
        rms_norm_eps: round(config.rms_norm_eps),
        rope: Rope { theta: round(config.rope.theta), scaling },
        ..config.clone()
    }
}
