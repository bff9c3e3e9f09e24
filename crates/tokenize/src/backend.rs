//! The two kinds of tokenizer behind one face: `tokenizer.json` and SentencePiece's `tokenizer.model`.

use crate::chat_template::SpecialText;
use crate::sentencepiece::{ModelProto, SentencePiece};
use crate::special::AddedText;
use crate::tokenizer::TextTokens;
use std::collections::BTreeMap;
use tokenizers::{AddedToken, PostProcessorWrapper};

/// Stands in the text for "an answer ends here" while it is encoded, and comes out as EOS. A
/// noncharacter, which Unicode reserves for such internal use.
pub(crate) const END: char = '\u{FDD0}';

/// No vocabulary is that large; what an added token claims beyond it is nonsense.
const MAX_ID: u32 = 1 << 30;

/// Why a tokenizer cannot be used or a text not be encoded.
type Reason = String;

pub(crate) enum Backend {
    Json(Box<JsonTokenizer>),
    SentencePiece(Box<ModelTokenizer>),
}

/// `tokenizer.json`. Byte offsets are the encoder's own: the post-processor is asked once whether it
/// adds BOS and then taken out, because byte-level ones trim spaces from the offsets. Saved
/// truncation and padding (a remnant of somebody's training) are taken out too.
pub(crate) struct JsonTokenizer {
    inner: tokenizers::Tokenizer,
    vocab_size: usize,
    /// Of [`END`]; not part of the model's vocabulary.
    end: u32,
    post_processor: Option<PostProcessor>,
}

/// The post-processor that was taken out.
#[derive(Clone, Copy)]
struct PostProcessor {
    /// What it puts before an empty text.
    opening: Option<u32>,
}

/// `tokenizer.model` with what the files beside it add to its vocabulary.
pub(crate) struct ModelTokenizer {
    model: SentencePiece,
    added: BTreeMap<u32, AddedText>,
    /// Pieces that are special because a file says so.
    special: Vec<u32>,
    end: u32,
}

impl JsonTokenizer {
    /// # Errors
    /// The bytes are no `tokenizer.json`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Reason> {
        let text = |e: tokenizers::Error| e.to_string();
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(text)?;
        inner.with_padding(None);
        inner.with_truncation(None).map_err(text)?;
        let opening = inner.encode("", true).map_err(text)?.get_ids().first().copied();
        let post_processor = inner.get_post_processor().map(|_| PostProcessor { opening });
        inner.with_post_processor(None::<PostProcessorWrapper>);
        let vocab_size = inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        // The mark is matched before normalisation, and tokens never reach across it.
        let mark = AddedToken::from(END.to_string(), false).normalized(false);
        inner.add_tokens([mark]).map_err(text)?;
        let end = inner.token_to_id(&END.to_string()).ok_or("it takes no new token")?;
        inner.set_encode_special_tokens(true);
        Ok(JsonTokenizer { inner, vocab_size, end, post_processor })
    }

    /// Some converted tokenizers list EOS as an ordinary piece only; decoding must still skip it.
    fn make_special(&mut self, id: u32) -> Result<(), Reason> {
        if self.is_special(id) {
            return Ok(());
        }
        let Some(content) = self.inner.id_to_token(id) else { return Ok(()) };
        let token = AddedToken::from(content, true);
        self.inner.add_special_tokens([token]).map_err(|e| e.to_string())?;
        Ok(())
    }

    fn is_special(&self, id: u32) -> bool {
        let added = self.inner.get_added_vocabulary();
        added.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
    }
}

impl ModelTokenizer {
    /// `added`: tokens beyond the model's pieces; `special`: names that texts must not spell.
    ///
    /// # Errors
    /// The bytes are no SentencePiece model.
    pub fn parse(bytes: &[u8], added: BTreeMap<u32, AddedText>, special: &[String]) -> Result<Self, Reason> {
        Self::new(ModelProto::parse(bytes)?, added, special)
    }

    /// As [`Self::parse`].
    ///
    /// # Errors
    /// The model cannot be used.
    pub fn new(
        model: ModelProto,
        mut added: BTreeMap<u32, AddedText>,
        special: &[String],
    ) -> Result<Self, Reason> {
        // An id that the model has already is its own piece, listed once more.
        added.retain(|&id, _| id as usize >= model.pieces.len() && id < MAX_ID);
        let end = added.last_key_value().map_or(model.pieces.len() as u32, |(&last, _)| last + 1);
        let mark = END.to_string();
        let matched = added.iter().filter(|(_, token)| !token.special);
        let mut marks: Vec<(&str, u32)> = matched.map(|(&id, token)| (token.text.as_str(), id)).collect();
        marks.push((&mark, end));
        let model = SentencePiece::new(model, &marks, special)?;
        Ok(ModelTokenizer { model, added, special: Vec::new(), end })
    }

    fn is_special(&self, id: u32) -> bool {
        self.model.is_control(id)
            || self.special.contains(&id)
            || self.added.get(&id).is_some_and(|token| token.special)
    }

    fn token_text(&self, id: u32) -> Option<&str> {
        self.model.text(id).or_else(|| self.added.get(&id).map(|token| token.text.as_str()))
    }
}

impl Backend {
    /// The largest token id plus one.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Json(json) => json.vocab_size,
            Self::SentencePiece(model) => model.end as usize,
        }
    }

    /// The id of [`END`].
    pub fn end(&self) -> u32 {
        match self {
            Self::Json(json) => json.end,
            Self::SentencePiece(model) => model.end,
        }
    }

    pub fn token_id(&self, text: &str) -> Option<u32> {
        match self {
            Self::Json(json) => json.inner.token_to_id(text),
            Self::SentencePiece(model) => {
                let added = model.added.iter().find(|(_, token)| token.text == text);
                model.model.id(text).or(added.map(|(&id, _)| id))
            }
        }
    }

    /// A token as its vocabulary spells it.
    pub fn token_text(&self, id: u32) -> Option<String> {
        match self {
            Self::Json(json) => json.inner.id_to_token(id).filter(|_| id != json.end),
            Self::SentencePiece(model) => model.token_text(id).map(String::from),
        }
    }

    /// The id that the tokenizer's own file gives `bos_token`, `eos_token` …
    pub fn own_id(&self, key: &str) -> Option<u32> {
        let Self::SentencePiece(model) = self else { return None };
        match key {
            "bos_token" => model.model.bos(),
            "eos_token" => model.model.eos(),
            "pad_token" => model.model.pad(),
            "unk_token" => Some(model.model.unk()),
            _ => None,
        }
    }

    /// Where no setting decides: BOS, if there is one and no post-processor speaks against it.
    pub fn adds_bos(&self, bos: Option<u32>) -> bool {
        match self {
            Self::Json(json) => bos.is_some() && json.post_processor.is_none_or(|o| o.opening == bos),
            Self::SentencePiece(_) => bos.is_some(),
        }
    }

    /// # Errors
    /// The tokenizer does not take the token.
    pub fn make_special(&mut self, id: u32) -> Result<(), Reason> {
        match self {
            Self::Json(json) => json.make_special(id),
            Self::SentencePiece(model) => {
                model.special.push(id);
                Ok(())
            }
        }
    }

    pub fn is_special(&self, id: u32) -> bool {
        match self {
            Self::Json(json) => json.is_special(id),
            Self::SentencePiece(model) => model.is_special(id),
        }
    }

    /// The text spells out a special token.
    pub fn spells_out_special(&self, text: &str) -> bool {
        match self {
            Self::Json(json) => {
                let added = json.inner.get_added_vocabulary().get_added_tokens_decoder();
                added.values().any(|token| token.special && text.contains(&token.content))
            }
            Self::SentencePiece(model) => {
                let named = model.special.iter().filter_map(|&id| model.token_text(id));
                let added = model.added.values().filter(|token| token.special).map(|t| t.text.as_str());
                model.model.controls().chain(named).chain(added).any(|token| text.contains(token))
            }
        }
    }

    /// All special tokens as texts spell them.
    pub fn special_texts(&self) -> Vec<SpecialText> {
        match self {
            Self::Json(json) => {
                let added = json.inner.get_added_vocabulary().get_added_tokens_decoder().iter();
                let special = added.filter(|(_, token)| token.special && !token.content.is_empty());
                special
                    .map(|(&id, token)| SpecialText {
                        text: token.content.clone(),
                        id,
                        lstrip: token.lstrip,
                        rstrip: token.rstrip,
                    })
                    .collect()
            }
            Self::SentencePiece(model) => (0..model.end)
                .filter(|&id| model.is_special(id))
                .filter_map(|id| Some((id, model.token_text(id)?)))
                .filter(|(_, text)| !text.is_empty())
                .map(|(id, text)| SpecialText { text: text.into(), id, lstrip: false, rstrip: false })
                .collect(),
        }
    }

    /// The tokens of a text with byte offsets; no special ones among them.
    ///
    /// # Errors
    /// The model has no token for one of the characters and no `unk`, or the text is too long.
    pub fn encode(&self, text: &str) -> Result<TextTokens, Reason> {
        match self {
            Self::Json(json) => {
                let encoding = json.inner.encode(text, false).map_err(|e| e.to_string())?;
                Ok(TextTokens { ids: encoding.get_ids().to_vec(), offsets: encoding.get_offsets().to_vec() })
            }
            Self::SentencePiece(model) => model.model.encode(text),
        }
    }

    /// Ids to text; unknown ids and, with `skip_special`, special tokens leave no trace. Where the
    /// decoder of `tokenizer.json` fails (a pathological regular expression), the tokens as the
    /// vocabulary spells them.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        match self {
            Self::Json(json) => json
                .inner
                .decode(ids, skip_special)
                .unwrap_or_else(|_| ids.iter().filter_map(|&id| self.token_text(id)).collect()),
            Self::SentencePiece(model) => model.model.decode(ids, |id| {
                if model.is_special(id) {
                    return if skip_special { Some("") } else { model.token_text(id) };
                }
                model.added.get(&id).map(|token| token.text.as_str())
            }),
        }
    }
}
