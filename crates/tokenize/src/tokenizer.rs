//! A model folder's tokenizer.

use crate::error::Error;
use crate::special::FolderConfig;
use crate::stream::DecodeStream;
use std::path::Path;
use tokenizers::{AddedToken, PostProcessorWrapper};

/// `tokenizer.json` with its special tokens resolved (see the module `special`).
///
/// Encoding never adds anything by itself: the post-processor is looked at once, for whether it
/// adds BOS, and then taken out, because it would also shift offsets (byte-level ones trim
/// spaces from them) and some append EOS. Truncation and padding saved in `tokenizer.json`
/// (a remnant of somebody's training) are taken out too.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocab_size: usize,
    bos: Option<u32>,
    eos: Option<u32>,
    eos_text: Option<String>,
    pad: Option<u32>,
    unk: Option<u32>,
    adds_bos: bool,
    stop_ids: Vec<u32>,
    warnings: Vec<String>,
}

/// Text as tokens: what each id is and which bytes of the text it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextTokens {
    pub ids: Vec<u32>,
    /// Byte ranges `(start, end)` of the text; both equal for a token that stands for no text.
    pub offsets: Vec<(usize, usize)>,
}

impl Tokenizer {
    /// Load from a model folder.
    ///
    /// Fails where `tokenizer.json` is missing or broken, or a configured BOS or EOS is not in
    /// the vocabulary. A missing EOS is no error yet: see [`Tokenizer::require_eos`].
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("tokenizer.json");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(no_tokenizer(folder)),
            Err(source) => return Err(Error::Io { path, source }),
        };
        let inner = tokenizers::Tokenizer::from_bytes(&bytes)
            .map_err(|e| Error::BadTokenizer { path: path.clone(), reason: e.to_string() })?;
        Self::resolve(inner, &FolderConfig::read(folder)?)
            .map_err(|e| match e {
                Error::Decode { reason } => Error::BadTokenizer { path, reason },
                other => other,
            })
    }

    fn resolve(mut inner: tokenizers::Tokenizer, files: &FolderConfig) -> Result<Self, Error> {
        let mut warnings = Vec::new();
        let vocab_size = inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        let find = |key: &'static str, llama_default: Option<&str>| -> Result<Option<u32>, Error> {
            if let Some(token) = files.token_name(key) {
                let id = inner.token_to_id(&token);
                return id.map(Some).ok_or(Error::UnknownSpecialToken { name: key, token });
            }
            let by_class = llama_default.filter(|_| files.is_llama_class());
            let by_class = by_class.and_then(|token| inner.token_to_id(token));
            let by_id = || files.token_ids(&format!("{key}_id")).into_iter().find(|&id| (id as usize) < vocab_size);
            Ok(by_class.or_else(by_id))
        };
        let bos = find("bos_token", Some("<s>"))?;
        let eos = find("eos_token", Some("</s>"))?;
        // Padding is never used here: a pad token that transformers would have added is no error.
        let pad = find("pad_token", None).unwrap_or_default();
        let unk = find("unk_token", Some("<unk>")).unwrap_or_default();

        let adds_bos = match files.add_bos_token() {
            Some(true) if bos.is_none() => return Err(Error::NoBos),
            Some(explicit) => explicit,
            None if inner.get_post_processor().is_none() => files.is_llama_class() && bos.is_some(),
            None => bos.is_some() && first_id_of_empty_text(&inner)? == bos,
        };
        inner.with_post_processor(None::<PostProcessorWrapper>);
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| Error::Decode { reason: e.to_string() })?;
        for id in [bos, eos].into_iter().flatten() {
            make_special(&mut inner, id)?;
        }

        let mut stop_ids: Vec<u32> = eos.into_iter().collect();
        let generation_stops = files.token_ids("eos_token_id");
        if let Some(eos) = eos
            && !generation_stops.is_empty()
            && !generation_stops.contains(&eos)
        {
            warnings.push(format!(
                "generation_config.json or config.json stops at token {generation_stops:?}, but the tokenizer's \
                 eos_token is {eos}: other programs may not stop where this model was taught to"
            ));
        }
        stop_ids.extend(generation_stops.into_iter().filter(|id| Some(*id) != eos));
        let eos_text = eos.and_then(|id| inner.id_to_token(id));
        Ok(Tokenizer { inner, vocab_size, bos, eos, eos_text, pad, unk, adds_bos, stop_ids, warnings })
    }

    /// The largest token id plus one.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Refuse a model whose embedding (`model_vocab_size` rows) is too small for this tokenizer.
    pub fn check_vocab_size(&self, model_vocab_size: usize) -> Result<(), Error> {
        if self.vocab_size > model_vocab_size {
            return Err(Error::VocabularyTooLarge { tokenizer: self.vocab_size, model: model_vocab_size });
        }
        Ok(())
    }

    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    pub fn eos_id(&self) -> Option<u32> {
        self.eos
    }

    pub fn pad_id(&self) -> Option<u32> {
        self.pad
    }

    pub fn unk_id(&self) -> Option<u32> {
        self.unk
    }

    /// EOS as id and as text, or the error that says what to do.
    pub fn require_eos(&self) -> Result<(u32, &str), Error> {
        self.eos.zip(self.eos_text.as_deref()).ok_or(Error::NoEos)
    }

    /// Texts start with BOS for this model.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// Ids that end an answer: EOS first, then those of `generation_config.json` (or `config.json`).
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// Oddities of the folder that are worth telling the user, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The tokens of `text` with byte offsets. Starts with BOS if the model wants it ([`Self::adds_bos`])
    /// and the text does not begin with it already: there is never more than one. EOS is not added.
    ///
    /// Special tokens written out in the text (`</s>`) become those tokens, as in transformers.
    pub fn encode(&self, text: &str) -> Result<TextTokens, Error> {
        let encoding = self.inner.encode(text, false).map_err(|e| {
            let shown: String = text.chars().take(40).collect();
            Error::Encode { id: format!("{shown:?}"), reason: e.to_string() }
        })?;
        let mut ids = encoding.get_ids().to_vec();
        let mut offsets = encoding.get_offsets().to_vec();
        if let (true, Some(bos)) = (self.adds_bos, self.bos)
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
            offsets.insert(0, (0, 0));
        }
        Ok(TextTokens { ids, offsets })
    }

    /// Ids to text. With `skip_special`, special tokens leave no trace.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, Error> {
        self.inner.decode(ids, skip_special).map_err(|e| Error::Decode { reason: e.to_string() })
    }

    /// Text as it grows token by token, for generation. Special tokens are skipped.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }

    /// A token as its vocabulary spells it (`▁Hello`, `<0xD0>`, `Ġworld`).
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The token is special (BOS, EOS and what `tokenizer.json` marks as such).
    pub fn is_special(&self, id: u32) -> bool {
        Some(id) == self.bos
            || Some(id) == self.eos
            || self.inner.get_added_vocabulary().get_added_tokens_decoder().get(&id).is_some_and(|t| t.special)
    }
}

fn no_tokenizer(folder: &Path) -> Error {
    let hint = if !folder.is_dir() {
        "nor is there such a folder"
    } else if folder.join("tokenizer.model").exists() {
        "there is a SentencePiece tokenizer.model, which is not read yet: convert it with transformers \
         (AutoTokenizer.from_pretrained(…).save_pretrained(…)) or take tokenizer.json from the model's page"
    } else {
        "a model folder holds config.json, tokenizer.json and the weights"
    };
    Error::NoTokenizer { folder: folder.to_path_buf(), hint }
}

/// What the post-processor puts before an empty text.
fn first_id_of_empty_text(inner: &tokenizers::Tokenizer) -> Result<Option<u32>, Error> {
    let encoding = inner.encode("", true).map_err(|e| Error::Decode { reason: e.to_string() })?;
    Ok(encoding.get_ids().first().copied())
}

/// Some converted tokenizers list EOS as an ordinary piece only: then `</s>` in a text would be
/// spelled out as `<`, `/`, `s`, `>`. As transformers does, make it a special token.
fn make_special(inner: &mut tokenizers::Tokenizer, id: u32) -> Result<(), Error> {
    let added = inner.get_added_vocabulary().get_added_tokens_decoder();
    if added.get(&id).is_some_and(|token| token.special) {
        return Ok(());
    }
    let Some(content) = inner.id_to_token(id) else { return Ok(()) };
    inner.add_special_tokens([AddedToken::from(content, true)]).map_err(|e| Error::Decode { reason: e.to_string() })?;
    Ok(())
}
