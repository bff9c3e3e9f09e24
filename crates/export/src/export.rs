//! The exports, from the two folders to the proven result.

use crate::certificate::{Certificate, FileFigures};
use crate::chat_template::chat_template;
use crate::error::{Error, Result};
use crate::folder::{Companions, copy, write_companions, write_weights};
use crate::gguf::{GgufLora, TensorType, Vocabulary, write_lora, write_model};
use crate::prove::Live;
use crate::publish::Staged;
use crate::source::{Source, TunedModel, tensors};
use std::path::{Path, PathBuf};
use tolmach_engine::Dtype;
use tolmach_tokenize::{PromptTemplate, Tokenizer};

/// The certificate in a merged folder; beside a file it has the file's name before it.
const CERTIFICATE: &str = "certificate.json";

/// The file of an adapter (or of a model that was merged or trained in full) that says which prompt template
/// it was trained with.
const TEMPLATE: &str = "template.json";

/// What an export is doing, and how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The tuned model reads the fixed texts.
    Live,
    /// Numbers written, of all.
    Writing { done: u64, of: u64 },
    /// What was written is read back and compared.
    Proving,
}

/// A tuned model and where it goes.
pub struct Export<'a> {
    pub base: &'a Path,
    /// `None`: the base as it is.
    pub adapter: Option<&'a Path>,
    /// The base's.
    pub tokenizer: &'a Tokenizer,
    /// What the adapter was trained with; `None` keeps the base's own chat template.
    pub template: Option<&'a PromptTemplate>,
    pub target: &'a Path,
    /// Replace what is there.
    pub force: bool,
}

impl Export<'_> {
    /// A merged model folder in the Hugging Face layout, in `dtype` (absent: the base's), in shards of at most
    /// `shard_bytes`.
    ///
    /// # Errors
    /// Anything missing or malformed; no space; [`Error::NotEqual`] where the proof fails.
    pub fn merge(
        &self,
        dtype: Option<Dtype>,
        shard_bytes: u64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Certificate> {
        self.check_target()?;
        let staged = Staged::folder(self.target, self.force)?;
        let (live, merged) = self.open(progress)?;
        let dtype = dtype.map_or_else(|| merged.base_dtype(), Ok)?;
        self.write_folder(staged.path(), &merged, dtype, shard_bytes, progress)?;
        let certificate = self.prove_folder(staged.path(), &live, &merged, dtype, progress)?;
        certificate.write(&staged.path().join(CERTIFICATE))?;
        staged.publish()?;
        Ok(certificate)
    }

    /// A model in one GGUF file, its adapter merged in.
    ///
    /// # Errors
    /// As [`Export::merge`]; the tokenizer has no counterpart in llama.cpp.
    pub fn gguf(&self, tensor_type: TensorType, progress: &mut dyn FnMut(Progress)) -> Result<Certificate> {
        self.check_target()?;
        let staged = Staged::file(self.target, self.force)?;
        let vocabulary = self.vocabulary()?;
        let (live, merged) = self.open(progress)?;
        self.write_gguf(staged.path(), &merged, &vocabulary, tensor_type, progress)?;
        let certificate = self.prove_gguf(staged.path(), &live, &merged, tensor_type, progress)?;
        self.publish_file(staged, certificate)
    }

    /// The adapter alone as a GGUF file, to be put over the base's own GGUF file.
    ///
    /// # Errors
    /// As [`Export::gguf`]; there is no adapter, or it has more than LoRA matrices.
    pub fn gguf_lora(&self, adapter: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Certificate> {
        self.check_target()?;
        let staged = Staged::file(self.target, self.force)?;
        let (live, merged) = self.open(progress)?;
        write_lora(staged.path(), adapter, merged.config(), &self.name())?;
        progress(Progress::Proving);
        let mut certificate = self.certificate("gguf-lora f32".into(), &live);
        let stored = GgufLora::open(staged.path(), TunedModel::open(self.base, None)?)?;
        live.prove_lora(&stored, &mut certificate)?;
        let certificate = certificate.require()?;
        self.publish_file(staged, certificate)
    }

    fn open(&self, progress: &mut dyn FnMut(Progress)) -> Result<(Live<'_>, TunedModel)> {
        progress(Progress::Live);
        let live = Live::load(self.base, self.adapter, self.tokenizer)?;
        Ok((live, TunedModel::open(self.base, self.adapter)?))
    }

    pub(crate) fn vocabulary(&self) -> Result<Vocabulary> {
        let config = tolmach_model::Config::read(&self.base.join("config.json"))?;
        let mut vocabulary = Vocabulary::read(self.base, self.tokenizer, config.vocab_size)?;
        vocabulary.chat_template = self.chat_template().or_else(|| own_chat_template(self.base));
        Ok(vocabulary)
    }

    fn chat_template(&self) -> Option<String> {
        self.template.and_then(|template| chat_template(template, self.tokenizer.adds_bos()))
    }

    pub(crate) fn write_folder(
        &self,
        folder: &Path,
        source: &dyn Source,
        dtype: Dtype,
        shard_bytes: u64,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let of = numbers(source);
        write_weights(folder, source, dtype, shard_bytes, &mut |done| {
            progress(Progress::Writing { done, of });
        })?;
        let chat_template = self.chat_template();
        let companions = Companions { tokenizer: self.tokenizer, chat_template: chat_template.as_deref() };
        copy(&self.adapter.unwrap_or(self.base).join(TEMPLATE), &folder.join(TEMPLATE))?;
        write_companions(folder, self.base, source, dtype, &companions)
    }

    pub(crate) fn write_gguf(
        &self,
        path: &Path,
        source: &dyn Source,
        vocabulary: &Vocabulary,
        tensor_type: TensorType,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let of = numbers(source);
        let done = &mut |done| progress(Progress::Writing { done, of });
        write_model(path, source, vocabulary, &self.name(), tensor_type, done)
    }

    /// The certificate of a folder that was written, if it holds.
    pub(crate) fn prove_folder(
        &self,
        folder: &Path,
        live: &Live,
        merged: &dyn Source,
        dtype: Dtype,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Certificate> {
        progress(Progress::Proving);
        let mut certificate = self.certificate(format!("hugging-face {dtype}"), live);
        live.prove_folder(folder, merged, dtype, &mut certificate)?;
        let mut certificate = certificate.require()?;
        for name in names(folder)? {
            certificate.files.push(FileFigures::of(&folder.join(&name), &name)?);
        }
        Ok(certificate)
    }

    /// The certificate of a file that was written, if it holds.
    pub(crate) fn prove_gguf(
        &self,
        path: &Path,
        live: &Live,
        merged: &dyn Source,
        tensor_type: TensorType,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Certificate> {
        progress(Progress::Proving);
        let mut certificate = self.certificate(format!("gguf {tensor_type}"), live);
        live.prove_gguf(path, merged, tensor_type, &mut certificate)?;
        certificate.require()
    }

    fn certificate(&self, format: String, live: &Live) -> Certificate {
        Certificate {
            tolmach: env!("CARGO_PKG_VERSION"),
            format,
            base: last_name(self.base),
            base_fingerprint: live.fingerprint.clone(),
            adapter: self.adapter.map(last_name),
            prompts: live.prompts(),
            logits: None,
            merged: None,
            weights: Vec::new(),
            equal_texts: None,
            warnings: Vec::new(),
            failures: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Put the file and its certificate where they belong. The certificate goes last: it names the bytes, so
    /// an old one beside a new file is seen to be none of its own.
    fn publish_file(&self, staged: Staged, mut certificate: Certificate) -> Result<Certificate> {
        let name = last_name(self.target);
        certificate.files.push(FileFigures::of(staged.path(), &name)?);
        staged.publish()?;
        certificate.write(&self.certificate_path())?;
        Ok(certificate)
    }

    /// Beside the file.
    pub fn certificate_path(&self) -> PathBuf {
        self.target.with_file_name(format!("{}.{CERTIFICATE}", last_name(self.target)))
    }

    fn name(&self) -> String {
        let name = self.target.file_stem().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    fn check_target(&self) -> Result<()> {
        for (folder, what) in [(Some(self.base), "base model"), (self.adapter, "adapter")] {
            let folder = folder.and_then(|folder| folder.canonicalize().ok());
            if folder.is_some() && folder == self.target.canonicalize().ok() {
                return Err(Error::OwnInput { path: self.target.to_path_buf(), what });
            }
        }
        Ok(())
    }
}

fn numbers(source: &dyn Source) -> u64 {
    tensors(source.config()).iter().map(|tensor| tensor.len() as u64).sum()
}

/// What a folder holds.
fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = |source| Error::Read { path: folder.to_path_buf(), source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The last part of a path: a certificate that is published should not tell where it was made. A folder in the
/// Hub's cache (`models--org--name/snapshots/<commit>`) has the name of its repository.
fn last_name(path: &Path) -> String {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    if let [.., folder, "snapshots", _] = parts[..]
        && let Some(name) = folder.strip_prefix("models--")
    {
        return name.replacen("--", "/", 1);
    }
    path.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned())
}

/// `chat_template.jinja`, or what `tokenizer_config.json` says.
fn own_chat_template(folder: &Path) -> Option<String> {
    std::fs::read_to_string(folder.join("chat_template.jinja")).ok().or_else(|| {
        let text = std::fs::read(folder.join("tokenizer_config.json")).ok()?;
        let json: serde_json::Value = serde_json::from_slice(&text).ok()?;
        Some(json["chat_template"].as_str()?.to_string())
    })
}
