//! A model folder's tokenizer.

use crate::backend::{Backend, END};
use crate::chat_template::SpecialText;
use crate::error::Error;
use crate::loading::{self, Opened};
use crate::template::Rendered;
use rayon::prelude::*;
use std::path::Path;

/// The files that a model folder's tokenizer may consist of, its chat template included. (What is fetched from the
/// Hub for models of any kind has a longer list of its own.)
pub const TOKENIZER_FILES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
];

/// `tokenizer.json` or `tokenizer.model` with its special tokens resolved (see the module `special`).
///
/// Special tokens get into the ids only from here, never from a text: a `</s>` that an example or
/// a user spells out (it is HTML's end of a strike-through) is encoded as ordinary text, so it can
/// neither end an answer nor open a new one.
pub struct Tokenizer {
    pub(crate) backend: Backend,
    pub(crate) vocab_size: usize,
    pub(crate) bos: Option<u32>,
    pub(crate) pad: Option<u32>,
    pub(crate) unk: Option<u32>,
    pub(crate) adds_bos: bool,
    /// The ids that end an answer, the tokenizer's own EOS first.
    pub(crate) eos: Vec<u32>,
    pub(crate) warnings: Vec<String>,
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
    /// Load a model folder's tokenizer, given the folder, its `tokenizer.json` or its
    /// `tokenizer.model`. Which of the two a folder's is: see the module `loading`.
    ///
    /// # Errors
    /// There is no tokenizer, it or a JSON file beside it is broken, or BOS or EOS is named but not
    /// in the vocabulary. A missing EOS is no error yet: see [`Tokenizer::require_eos`].
    pub fn load(folder_or_file: &Path) -> Result<Self, Error> {
        let Opened { mut backend, files, mut warnings } = loading::open(folder_or_file)?;
        let vocab_size = backend.vocab_size();
        let find = |key: &'static str, llama_default: Option<&str>| -> Result<Option<u32>, Error> {
            if let Some(token) = files.token_name(key) {
                let id = backend.token_id(&token);
                return id.map(Some).ok_or(Error::UnknownSpecialToken { name: key, token });
            }
            let by_class = llama_default.filter(|_| files.is_llama_class());
            let by_class = by_class.and_then(|token| backend.token_id(token));
            let by_id = || {
                let ids = files.token_ids(&format!("{key}_id"));
                ids.into_iter().find(|&id| (id as usize) < vocab_size)
            };
            Ok(by_class.or_else(|| backend.own_id(key)).or_else(by_id))
        };
        let bos = find("bos_token", Some("<s>"))?;
        let own_eos = find("eos_token", Some("</s>"))?;
        // Neither is needed here: one that transformers would have to add is no error.
        let pad = find("pad_token", None).unwrap_or_default();
        let unk = find("unk_token", Some("<unk>")).unwrap_or_default();

        let adds_bos = match files.add_bos_token() {
            Some(true) if bos.is_none() => return Err(Error::NoBos),
            Some(explicit) => explicit,
            None => backend.adds_bos(bos),
        };
        for id in [bos, own_eos].into_iter().flatten() {
            backend.make_special(id).map_err(|reason| Error::BadTokenizer {
                path: folder_or_file.to_path_buf(),
                reason: format!("token {id} cannot be made special: {reason}"),
            })?;
        }
        let stops = files.token_ids("eos_token_id");
        warnings.extend(own_eos.and_then(|eos| stop_mismatch(eos, &stops)));
        let mut eos: Vec<u32> = own_eos.into_iter().collect();
        eos.extend(stops.into_iter().filter(|&id| Some(id) != own_eos && (id as usize) < vocab_size));
        Ok(Tokenizer { backend, vocab_size, bos, pad, unk, adds_bos, eos, warnings })
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
        self.backend.token_text(id)
    }

    /// The token is special (BOS, EOS and what the tokenizer's files mark as such).
    pub fn is_special(&self, id: u32) -> bool {
        self.backend.is_special(id)
    }

    /// The text spells out a special token (`</s>`), which other programs might obey.
    pub fn spells_out_special(&self, text: &str) -> bool {
        self.backend.spells_out_special(text)
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
            if *id == self.backend.end() {
                *id = eos;
                *end = *start;
                inserted += END.len_utf8();
            } else {
                *end -= inserted;
            }
        }
        Ok(tokens)
    }

    /// The tokens of a text in which each [`END`] stands for the next of `ids`; BOS is not added.
    pub(crate) fn encode_with_marks(&self, marked: &str, ids: &[u32]) -> Result<Vec<u32>, Error> {
        let mut next = ids.iter();
        let mut tokens = self.encode_marked(marked, false)?.ids;
        for id in &mut tokens {
            if *id == self.backend.end() {
                *id = *next.next().expect("there is a mark for each id");
            }
        }
        Ok(tokens)
    }

    /// The special tokens that a chat template may spell out.
    pub(crate) fn special_texts(&self) -> Vec<SpecialText> {
        self.backend.special_texts()
    }

    fn encode_marked(&self, text: &str, add_special: bool) -> Result<TextTokens, Error> {
        let mut tokens = self.backend.encode(text).map_err(|reason| encode_error(text, reason))?;
        if let (true, true, Some(bos)) = (add_special, self.adds_bos, self.bos) {
            tokens.ids.insert(0, bos);
            tokens.offsets.insert(0, (0, 0));
        }
        Ok(tokens)
    }

    /// Ids to text; unknown ids and, with `skip_special`, special tokens leave no trace. Where the
    /// decoder of `tokenizer.json` fails (a pathological regular expression), the tokens as the
    /// vocabulary spells them.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        self.backend.decode(ids, skip_special)
    }
}

#[cfg(test)]
impl Tokenizer {
    pub(crate) fn inner_id(&self, token: &str) -> Option<u32> {
        self.backend.token_id(token)
    }
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
