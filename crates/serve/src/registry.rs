//! Which models there are: bases, each in memory once, and the adapters over them.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};
use tolmach_engine::CpuBackend;
use tolmach_model::{Decoder, Side};
use tolmach_tokenize::{PromptTemplate, Tokenizer};

/// A base model with its tokenizer.
pub struct Base {
    pub folder: PathBuf,
    pub decoder: Arc<Decoder<CpuBackend>>,
    pub tokenizer: Arc<Tokenizer>,
}

/// What a model id stands for.
pub struct Model {
    pub id: String,
    pub base: Arc<Base>,
    /// The base's own, or one that shares its frozen matrices and has an adapter attached.
    pub decoder: Arc<Decoder<CpuBackend>>,
    pub side: Side,
    pub template: PromptTemplate,
    /// What really runs, for `system_fingerprint`: the weights' fingerprint, or "step 120".
    pub version: String,
    /// Unix seconds.
    pub created: u64,
}

/// All models by id. Cheap to read; a request keeps the `Arc<Model>` it started with.
#[derive(Default)]
pub struct Registry {
    bases: RwLock<Vec<Arc<Base>>>,
    models: RwLock<BTreeMap<String, Arc<Model>>>,
}

impl Registry {
    pub fn new() -> Self {
        Self::default()
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
        let base = Arc::new(Base { folder, decoder, tokenizer });
        bases.push(Arc::clone(&base));
        Ok(base)
    }

    /// Serve `base` itself (no adapter) or an adapter over it under a new id.
    ///
    /// # Errors
    /// The id is taken; the adapter cannot be read or belongs to another base.
    pub fn add(
        &self,
        id: &str,
        base: &Arc<Base>,
        adapter: Option<&Path>,
        template: PromptTemplate,
    ) -> Result<Arc<Model>> {
        let model = Arc::new(Model::load(id, base, adapter, template)?);
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
        let mut model = Model::load(id, &old.base, Some(adapter), old.template.clone())?;
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

    /// All models, by id.
    pub fn models(&self) -> Vec<Arc<Model>> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

impl Model {
    fn load(id: &str, base: &Arc<Base>, adapter: Option<&Path>, template: PromptTemplate) -> Result<Self> {
        let decoder = match adapter {
            None => Arc::clone(&base.decoder),
            Some(folder) => {
                let mut decoder = base.decoder.share();
                decoder.load_adapter(folder)?;
                Arc::new(decoder)
            }
        };
        let side = if adapter.is_some() { Side::Tuned } else { Side::Base };
        let version = decoder.fingerprint.clone().unwrap_or_default();
        let created = now();
        Ok(Self { id: id.into(), base: Arc::clone(base), decoder, side, template, version, created })
    }
}

/// Unix seconds.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
