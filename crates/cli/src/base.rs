//! A base model to talk to: a folder in the Hugging Face layout, or one GGUF file.

use crate::loading::{self, model_failure};
use crate::report::Failure;
use crate::ui::Ui;
use std::path::Path;
use std::sync::Arc;
use tolmach_engine::{Activations, CpuBackend};
use tolmach_export::gguf::GgufModel;
use tolmach_export::prompt_template;
use tolmach_model::Decoder;
use tolmach_tokenize::{PromptTemplate, Tokenizer};

/// A model with its tokenizer.
pub struct Base {
    pub model: Decoder<CpuBackend>,
    pub tokenizer: Tokenizer,
    /// What the model's own file says it was taught with; a folder may say so beside the model.
    pub template: Option<PromptTemplate>,
}

impl Base {
    /// To reply with; `activations` are what weights in Q8_0, Q6_K or Q4_0 meet.
    ///
    /// # Errors
    /// Anything missing, malformed or not computed here; a tokenizer of another model.
    pub fn load(path: &Path, activations: Activations, ui: &Ui) -> Result<Self, Failure> {
        let backend = Arc::new(CpuBackend::with_activations(activations));
        let base = if is_gguf(path) {
            let file = open(path)?;
            let model = file.decoder(backend).map_err(gguf_failure)?;
            let tokenizer = file.vocabulary().tokenizer(path).map_err(gguf_failure)?;
            let jinja = file.vocabulary().chat_template.as_deref();
            let template = jinja.and_then(prompt_template);
            if jinja.is_some() && template.is_none() {
                ui.warn(
                    "the chat template in this file is not one of ours and is not used; --template names one",
                );
            }
            Base { model, tokenizer, template }
        } else {
            let model = Decoder::load(backend, path).map_err(model_failure)?;
            Base { model, tokenizer: loading::tokenizer(path, ui)?, template: None }
        };
        base.tokenizer.check_vocab_size(base.model.config.vocab_size)?;
        Ok(base)
    }
}

/// The tokenizer of a model folder, of a file in it, or of a GGUF file.
///
/// # Errors
/// There is none, or it is broken.
pub fn tokenizer(path: &Path, ui: &Ui) -> Result<Tokenizer, Failure> {
    if is_gguf(path) {
        return open(path)?.vocabulary().tokenizer(path).map_err(gguf_failure);
    }
    loading::tokenizer(path, ui)
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) && !path.is_dir()
}

fn open(path: &Path) -> Result<GgufModel, Failure> {
    GgufModel::open(path, None).map_err(gguf_failure)
}

fn gguf_failure(error: tolmach_export::Error) -> Failure {
    let hint = error.hint();
    Failure::from(error).maybe_hint(hint)
}
