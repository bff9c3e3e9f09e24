//! A model folder's tokenizer.

use crate::error::Error;
use crate::special::FolderConfig;
use crate::template::Rendered;
use rayon::prelude::*;
use std::path::Path;
use tokenizers::{AddedToken, PostProcessorWrapper};

/// Stands in the text for "an answer ends here" while it is encoded, and comes out as EOS. A
/// noncharacter, which Unicode reserves for such internal use.
const END: char = '\u{FDD0}';

/// `tokenizer.json` with its special tokens resolved (see the module `special`).
///
/// Special tokens get into the ids only from here, never from a text: a `</s>` that an example or
/// a user spells out (it is HTML's end of a strike-through) is encoded as ordinary text, so it can
/// neither end an answer nor open a new one. Byte offsets are the encoder's own: the
/// post-processor of `tokenizer.json` is asked once whether it adds BOS and then taken out,
/// because byte-level ones trim spaces from the offsets. Saved truncation and padding (a remnant
/// of somebody's training) are taken out too.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    vocab_size: usize,
    /// The id that [`END`] has in `inner`; not part of the model's vocabulary.
    end: u32,
    bos: Option<u32>,
    pad: Option<u32>,
    unk: Option<u32>,
    adds_bos: bool,
    /// The ids that end an answer, the tokenizer's own EOS first.
    eos: Vec<u32>,
    warnings: Vec<String>,
}

/// Text as tokens: what each id is and which bytes of the text it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextTokens {
    pub ids: Vec<u32>,
    /// Byte ranges `(start, end)` of the text, one per id. Empty for BOS and EOS. Tokens that share
    /// one character (byte-level and byte-fallback pieces) all have that character's range.
    pub offsets: Vec<(usize, usize)>,
}

impl Tokenizer {
    /// Load a model folder's tokenizer, given the folder or its `tokenizer.json`.
    ///
    /// # Errors
    /// `tokenizer.json` is missing or broken, a JSON file beside it is broken, or BOS or EOS is
    /// named but not in the vocabulary. A missing EOS is no error yet: see [`Tokenizer::require_eos`].
    pub fn load(folder_or_file: &Path) -> Result<Self, Error> {
        let is_file = folder_or_file.extension().is_some_and(|e| e == "json") && !folder_or_file.is_dir();
        let folder = match folder_or_file.parent().filter(|_| is_file) {
            Some(parent) => parent,
            None => folder_or_file,
        };
        let path = if is_file { folder_or_file.to_path_buf() } else { folder.join("tokenizer.json") };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if is_missing(&e) => return Err(no_tokenizer(folder)),
            Err(source) => return Err(Error::Read { path, source }),
        };
        let bad = |e: tokenizers::Error| Error::BadTokenizer { path: path.clone(), reason: e.to_string() };
        let mut inner = tokenizers::Tokenizer::from_bytes(&bytes).map_err(bad)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(bad)?;
        let opening = inner.encode("", true).map_err(bad)?.get_ids().first().copied();
        Self::resolve(inner, opening, &FolderConfig::read(folder)?)
    }

    /// `opening`: what the post-processor puts before an empty text.
    fn resolve(
        mut inner: tokenizers::Tokenizer,
        opening: Option<u32>,
        files: &FolderConfig,
    ) -> Result<Self, Error> {
        let vocab_size = inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        let find = |key: &'static str, llama_default: Option<&str>| -> Result<Option<u32>, Error> {
            if let Some(token) = files.token_name(key) {
                let id = inner.token_to_id(&token);
                return id.map(Some).ok_or(Error::UnknownSpecialToken { name: key, token });
            }
            let by_class = llama_default.filter(|_| files.is_llama_class());
            let by_class = by_class.and_then(|token| inner.token_to_id(token));
            let by_id = || {
                let ids = files.token_ids(&format!("{key}_id"));
                ids.into_iter().find(|&id| (id as usize) < vocab_size)
            };
            Ok(by_class.or_else(by_id))
        };
        let bos = find("bos_token", Some("<s>"))?;
        let own_eos = find("eos_token", Some("</s>"))?;
        // Neither is needed here: one that transformers would have to add is no error.
        let pad = find("pad_token", None).unwrap_or_default();
        let unk = find("unk_token", Some("<unk>")).unwrap_or_default();

        let adds_bos = match files.add_bos_token() {
            Some(true) if bos.is_none() => return Err(Error::NoBos),
            Some(explicit) => explicit,
            None if inner.get_post_processor().is_none() => bos.is_some(),
            None => bos.is_some() && opening == bos,
        };
        inner.with_post_processor(None::<PostProcessorWrapper>);
        for id in [bos, own_eos].into_iter().flatten() {
            make_special(&mut inner, id)?;
        }
        let end = add_end_mark(&mut inner)?;
        inner.set_encode_special_tokens(true);

        let stops = files.token_ids("eos_token_id");
        let mut warnings = Vec::new();
        warnings.extend(own_eos.and_then(|eos| stop_mismatch(eos, &stops)));
        let mut eos: Vec<u32> = own_eos.into_iter().collect();
        eos.extend(stops.into_iter().filter(|&id| Some(id) != own_eos && (id as usize) < vocab_size));
        Ok(Tokenizer { inner, vocab_size, end, bos, pad, unk, adds_bos, eos, warnings })
    }

    /// The largest token id plus one.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// # Errors
    /// A model whose embedding (`model_vocab_size` rows) is too small for this tokenizer.
    pub fn check_vocab_size(&self, model_vocab_size: usize) -> Result<(), Error> {
        if self.vocab_size > model_vocab_size {
            return Err(Error::VocabularyTooLarge { tokenizer: self.vocab_size, model: model_vocab_size });
        }
        Ok(())
    }

    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// The token that ends an answer in training.
    pub fn eos(&self) -> Option<u32> {
        self.eos.first().copied()
    }

    /// All ids that end an answer in generation: [`Self::eos`], then those of
    /// `generation_config.json` (or `config.json`).
    pub fn eos_ids(&self) -> &[u32] {
        &self.eos
    }

    /// EOS, or the error that says what to do.
    ///
    /// # Errors
    /// There is none.
    pub fn require_eos(&self) -> Result<u32, Error> {
        self.eos().ok_or(Error::NoEos)
    }

    pub fn pad(&self) -> Option<u32> {
        self.pad
    }

    pub fn unk(&self) -> Option<u32> {
        self.unk
    }

    /// Texts start with BOS for this model.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// Oddities of the folder that are worth telling the user, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// A token as its vocabulary spells it (`▁Hello`, `<0xD0>`, `Ġworld`).
    pub fn token_text(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id).filter(|_| id != self.end)
    }

    /// The token is special (BOS, EOS and what `tokenizer.json` marks as such).
    pub fn is_special(&self, id: u32) -> bool {
        let added = self.inner.get_added_vocabulary();
        added.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
    }

    /// The text spells out a special token (`</s>`), which other programs might obey.
    pub fn spells_out_special(&self, text: &str) -> bool {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        added.values().any(|token| token.special && text.contains(&token.content))
    }

    /// The tokens of `text` with byte offsets. With `add_special`, BOS comes first if the model
    /// wants it ([`Self::adds_bos`]). EOS is not added.
    ///
    /// # Errors
    /// The text holds U+FDD0, or the model has no token for one of its characters and no `unk`.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<TextTokens, Error> {
        refuse_end_mark(text)?;
        self.encode_marked(text, add_special)
    }

    /// [`Self::encode`] for many texts, in parallel and in order.
    ///
    /// # Errors
    /// That of the first text that fails.
    pub fn encode_batch<S: AsRef<str> + Sync>(
        &self,
        texts: &[S],
        add_special: bool,
    ) -> Result<Vec<TextTokens>, Error> {
        texts.par_iter().map(|text| self.encode(text.as_ref(), add_special)).collect()
    }

    /// The tokens of a rendered example or conversation, in ONE encoding: BOS if the model wants
    /// it, and EOS after every trained range. Offsets are those of `rendered.text`; EOS has the
    /// empty range at the end of its answer.
    ///
    /// # Errors
    /// As [`Self::encode`]; an answer is there, but the tokenizer has no EOS.
    pub fn encode_rendered(&self, rendered: &Rendered) -> Result<TextTokens, Error> {
        refuse_end_mark(&rendered.text)?;
        if rendered.trained.is_empty() {
            return self.encode_marked(&rendered.text, true);
        }
        let eos = self.require_eos()?;
        let mut marked = String::with_capacity(rendered.text.len() + rendered.trained.len() * END.len_utf8());
        let mut written = 0;
        for range in &rendered.trained {
            marked.push_str(&rendered.text[written..range.end]);
            marked.push(END);
            written = range.end;
        }
        marked.push_str(&rendered.text[written..]);

        let mut tokens = self.encode_marked(&marked, true)?;
        let mut inserted = 0; // bytes of END marks passed so far
        for (id, (start, end)) in tokens.ids.iter_mut().zip(&mut tokens.offsets) {
            *start -= inserted;
            if *id == self.end {
                *id = eos;
                *end = *start;
                inserted += END.len_utf8();
            } else {
                *end -= inserted;
            }
        }
        Ok(tokens)
    }

    fn encode_marked(&self, text: &str, add_special: bool) -> Result<TextTokens, Error> {
        let encoding = self.inner.encode(text, false).map_err(|e| encode_error(text, e.to_string()))?;
        let mut tokens = TextTokens::default();
        if let (true, true, Some(bos)) = (add_special, self.adds_bos, self.bos) {
            tokens.ids.push(bos);
            tokens.offsets.push((0, 0));
        }
        tokens.ids.extend_from_slice(encoding.get_ids());
        tokens.offsets.extend_from_slice(encoding.get_offsets());
        Ok(tokens)
    }

    /// Ids to text; unknown ids and, with `skip_special`, special tokens leave no trace. Where the
    /// decoder of `tokenizer.json` fails (a pathological regular expression), the tokens as the
    /// vocabulary spells them.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        self.inner
            .decode(ids, skip_special)
            .unwrap_or_else(|_| ids.iter().filter_map(|&id| self.token_text(id)).collect())
    }
}

#[cfg(test)]
impl Tokenizer {
    pub(crate) fn inner_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }
}

/// `open` fails with `NotADirectory` where a folder was given that is a file.
fn is_missing(e: &std::io::Error) -> bool {
    matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn no_tokenizer(folder: &Path) -> Error {
    let hint = if !folder.is_dir() {
        "nor is there such a folder"
    } else if folder.join("tokenizer.model").exists() {
        "there is a SentencePiece tokenizer.model, which cannot be read yet: convert it with transformers \
         (AutoTokenizer.from_pretrained(…).save_pretrained(…)) or take tokenizer.json from the model's page"
    } else {
        "a model folder holds config.json, tokenizer.json and the weights"
    };
    Error::NoTokenizer { folder: folder.to_path_buf(), hint }
}

/// Some converted tokenizers list EOS as an ordinary piece only; decoding must still skip it.
fn make_special(inner: &mut tokenizers::Tokenizer, id: u32) -> Result<(), Error> {
    let added = inner.get_added_vocabulary().get_added_tokens_decoder();
    if added.get(&id).is_some_and(|token| token.special) {
        return Ok(());
    }
    let Some(content) = inner.id_to_token(id) else { return Ok(()) };
    let token = AddedToken::from(content.clone(), true);
    inner.add_special_tokens([token]).map_err(|e| encode_error(&content, e.to_string()))?;
    Ok(())
}

/// Give [`END`] an id beyond the vocabulary. It is matched before normalisation, and tokens never
/// reach across it.
fn add_end_mark(inner: &mut tokenizers::Tokenizer) -> Result<u32, Error> {
    let mark = END.to_string();
    let token = AddedToken::from(mark.as_str(), false).normalized(false);
    inner.add_tokens([token]).map_err(|e| encode_error(&mark, e.to_string()))?;
    inner.token_to_id(&mark).ok_or_else(|| encode_error(&mark, "the tokenizer takes no new token".into()))
}

fn refuse_end_mark(text: &str) -> Result<(), Error> {
    if text.contains(END) {
        return Err(encode_error(text, "it holds the noncharacter U+FDD0; remove that".into()));
    }
    Ok(())
}

fn encode_error(text: &str, reason: String) -> Error {
    Error::Encode { text: text.chars().take(40).collect(), reason }
}

fn stop_mismatch(eos: u32, stops: &[u32]) -> Option<String> {
    (!stops.is_empty() && !stops.contains(&eos)).then(|| {
        format!(
            "generation_config.json or config.json stops at token {stops:?}, but the tokenizer's eos_token is \
             {eos}: other programs may not stop where this model was taught to"
        )
    })
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
