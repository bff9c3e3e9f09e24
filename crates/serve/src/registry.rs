//! Which models there are: bases, each in memory once, and the adapters over them.

use crate::api::error::ApiError;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::scheduler::{EngineOptions, Scheduler};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};
use tolmach_corpus::Message;
use tolmach_engine::CpuBackend;
use tolmach_model::{ADAPTER_WEIGHTS, Decoder, Side};
use tolmach_tokenize::{ChatTemplate, PromptTemplate, Tokenizer};

/// A base model with its tokenizer.
pub struct Base {
    pub folder: PathBuf,
    pub decoder: Arc<Decoder<CpuBackend>>,
    pub tokenizer: Arc<Tokenizer>,
    pub(crate) scheduler: Scheduler,
}

impl Base {
    /// The longest prompt and reply together, in tokens.
    pub fn context(&self) -> usize {
        self.scheduler.context()
    }

    /// Tokens that its KV cache holds for all replies together.
    pub fn cache_tokens(&self) -> usize {
        self.scheduler.cache_rows()
    }
}

/// What a model id stands for.
pub struct Model {
    pub id: String,
    pub base: Arc<Base>,
    /// The base's own, or one that shares its frozen matrices and has an adapter attached.
    pub decoder: Arc<Decoder<CpuBackend>>,
    pub side: Side,
    prompts: Prompts,
    /// What really runs, for `system_fingerprint`: the weights' fingerprint, or "step 120".
    pub version: String,
    /// Unix seconds.
    pub created: u64,
}

/// How a conversation becomes a model's prompt.
#[derive(Clone)]
enum Prompts {
    /// The template that it was trained with.
    Template(PromptTemplate),
    /// The model's own chat template.
    Chat(ChatTemplate),
}

/// All models by id. Cheap to read; a request keeps the `Arc<Model>` it started with.
pub struct Registry {
    engine: EngineOptions,
    metrics: Arc<Metrics>,
    bases: RwLock<Vec<Arc<Base>>>,
    models: RwLock<BTreeMap<String, Arc<Model>>>,
}

impl Registry {
    /// Without a model yet.
    pub fn new(engine: EngineOptions) -> Self {
        Self { engine, metrics: Arc::default(), bases: RwLock::default(), models: RwLock::default() }
    }

    /// The base in `folder`, loaded if it is not in memory yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn base(&self, folder: &Path) -> Result<Arc<Base>> {
        let read = |source| Error::Read { path: folder.to_path_buf(), source };
        let folder = folder.canonicalize().map_err(read)?;
        let mut bases = self.bases.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(base) = bases.iter().find(|b| b.folder == folder) {
            return Ok(Arc::clone(base));
        }
        let decoder = Arc::new(Decoder::load(Arc::new(CpuBackend::new()), &folder)?);
        let tokenizer = Arc::new(Tokenizer::load(&folder)?);
        tokenizer.check_vocab_size(decoder.config.vocab_size)?;
        let scheduler = Scheduler::start(&decoder, &self.engine, &self.metrics).map_err(Error::Thread)?;
        let base = Arc::new(Base { folder, decoder, tokenizer, scheduler });
        bases.push(Arc::clone(&base));
        Ok(base)
    }

    /// Serve `base` itself (no adapter) or an adapter over it under a new id, with a prompt template, or with
    /// the one of its folder, else of the base's: `template.json`, else the chat template; else `alpaca-en`.
    ///
    /// # Errors
    /// The id is taken; the adapter cannot be read or belongs to another base.
    pub fn add(
        &self,
        id: &str,
        base: &Arc<Base>,
        adapter: Option<&Path>,
        template: Option<PromptTemplate>,
    ) -> Result<Arc<Model>> {
        let prompts = match template {
            Some(template) => Prompts::Template(template),
            None => prompts_of(base, adapter)?,
        };
        let model = Arc::new(Model::load(id, base, adapter, prompts)?);
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        if models.contains_key(id) {
            return Err(Error::ModelExists { name: id.into() });
        }
        models.insert(id.into(), Arc::clone(&model));
        Ok(model)
    }

    /// Put a newer adapter in the place of `id`'s; requests that run keep the one they started with.
    /// `version` is what clients are told has run, say "step 120".
    ///
    /// # Errors
    /// There is no such model, it has no adapter, or the new one cannot be read.
    pub fn replace(&self, id: &str, adapter: &Path, version: &str) -> Result<Arc<Model>> {
        let old = self.get(id).ok_or_else(|| Error::NoModel { name: id.into() })?;
        if old.side == Side::Base {
            return Err(Error::IsBase { name: id.into() });
        }
        let mut model = Model::load(id, &old.base, Some(adapter), old.prompts.clone())?;
        model.version = version.into();
        let model = Arc::new(model);
        self.models.write().unwrap_or_else(PoisonError::into_inner).insert(id.into(), Arc::clone(&model));
        Ok(model)
    }

    /// Stop serving an adapter; its running requests end as they would have.
    ///
    /// # Errors
    /// There is no such model, or it is a base.
    pub fn remove(&self, id: &str) -> Result<()> {
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        match models.get(id) {
            None => Err(Error::NoModel { name: id.into() }),
            Some(model) if model.side == Side::Base => Err(Error::IsBase { name: id.into() }),
            Some(_) => {
                models.remove(id);
                Ok(())
            }
        }
    }

    pub fn get(&self, id: &str) -> Option<Arc<Model>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// All bases in memory.
    pub fn bases(&self) -> Vec<Arc<Base>> {
        self.bases.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// All models, by id.
    pub fn models(&self) -> Vec<Arc<Model>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// See [`Registry::add`].
fn prompts_of(base: &Base, adapter: Option<&Path>) -> Result<Prompts> {
    for folder in adapter.into_iter().chain([base.folder.as_path()]) {
        if let Some(template) = PromptTemplate::of_folder(folder)? {
            return Ok(Prompts::Template(template));
        }
        if let Some(template) = ChatTemplate::of_folder(folder)? {
            return Ok(Prompts::Chat(template));
        }
    }
    Ok(Prompts::Template(PromptTemplate::default()))
}

impl Model {
    fn load(id: &str, base: &Arc<Base>, adapter: Option<&Path>, prompts: Prompts) -> Result<Self> {
        let decoder = match adapter {
            None => Arc::clone(&base.decoder),
            Some(folder) => {
                let mut decoder = base.decoder.share();
                decoder.load_adapter(folder)?;
                Arc::new(decoder)
            }
        };
        let side = if adapter.is_some() { Side::Tuned } else { Side::Base };
        let version = version(base, adapter)?;
        let created = now();
        Ok(Self { id: id.into(), base: Arc::clone(base), decoder, side, prompts, version, created })
    }

    /// The tokens of a conversation that ends with the user's message.
    pub(crate) fn encode_chat(&self, messages: &[Message]) -> Result<Vec<u32>, ApiError> {
        let bad = |reason: String| {
            let message = format!("This conversation cannot be answered: {reason}.");
            ApiError::bad(message).param("messages").code("invalid_value")
        };
        let tokenizer = &self.base.tokenizer;
        match &self.prompts {
            Prompts::Template(template) => {
                let rendered = template.render_conversation(messages).map_err(|e| bad(e.to_string()))?;
                Ok(tokenizer.encode_rendered(&rendered).map_err(|e| bad(e.to_string()))?.ids)
            }
            Prompts::Chat(template) => {
                tokenizer.encode_chat(template, messages).map_err(|e| bad(e.to_string()))
            }
        }
    }

    /// The tokens of a text that is to be continued as it is.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, ApiError> {
        let tokens = self.base.tokenizer.encode(text, true);
        Ok(tokens.map_err(|e| ApiError::bad(format!("{e}.")).param("prompt").code("invalid_value"))?.ids)
    }
}

/// Of the weights that run: the base's fingerprint, or a hash of the adapter's file.
fn version(base: &Base, adapter: Option<&Path>) -> Result<String> {
    let short = |hash: &str| hash.chars().take(12).collect::<String>();
    let Some(folder) = adapter else {
        return Ok(format!("base-{}", short(base.decoder.fingerprint.as_deref().unwrap_or("unknown"))));
    };
    let path = folder.join(ADAPTER_WEIGHTS);
    let bytes = std::fs::read(&path).map_err(|source| Error::Read { path, source })?;
    Ok(format!("adapter-{}", short(blake3::hash(&bytes).to_hex().as_str())))
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
