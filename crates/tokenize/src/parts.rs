//! A tokenizer that lies in no folder of its own: what another kind of file (GGUF) says of one.

use crate::backend::{Backend, JsonTokenizer, ModelTokenizer};
use crate::error::Error;
use crate::sentencepiece::ModelProto;
use crate::tokenizer::Tokenizer;
use std::collections::BTreeMap;
use std::path::Path;

/// The vocabulary with the algorithm that cuts texts into it.
pub enum Pieces {
    SentencePiece(ModelProto),
    /// What `tokenizer.json` would hold.
    Json(Vec<u8>),
}

/// All that makes a [`Tokenizer`]; nothing is resolved from names or defaults.
pub struct TokenizerParts {
    pub pieces: Pieces,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub pad: Option<u32>,
    pub unk: Option<u32>,
    /// Texts start with BOS.
    pub adds_bos: bool,
    /// Ids beside EOS that end an answer.
    pub stops: Vec<u32>,
}

impl Tokenizer {
    /// `path` is the file that the parts come from: what messages name.
    ///
    /// # Errors
    /// The pieces make no tokenizer; a special id is none of theirs; BOS is wanted and not named.
    pub fn from_parts(path: &Path, parts: TokenizerParts) -> Result<Self, Error> {
        let bad = |reason: String| Error::BadTokenizer { path: path.to_path_buf(), reason };
        let TokenizerParts { pieces, bos, eos, pad, unk, adds_bos, stops } = parts;
        let mut backend = match pieces {
            Pieces::Json(bytes) => Backend::Json(Box::new(JsonTokenizer::parse(&bytes).map_err(bad)?)),
            Pieces::SentencePiece(model) => {
                let model = ModelTokenizer::new(model, BTreeMap::new(), &[]).map_err(bad)?;
                Backend::SentencePiece(Box::new(model))
            }
        };
        let vocab_size = backend.vocab_size();
        if let Some(id) = [bos, eos, pad, unk].into_iter().flatten().find(|&id| id as usize >= vocab_size) {
            return Err(bad(format!("special token {id} is none of its {vocab_size} tokens")));
        }
        if adds_bos && bos.is_none() {
            return Err(bad("texts are to start with BOS, but none is named".into()));
        }
        for id in [bos, eos].into_iter().flatten() {
            let made = backend.make_special(id);
            made.map_err(|reason| bad(format!("token {id} cannot be made special: {reason}")))?;
        }
        let more = stops.into_iter().filter(|&id| Some(id) != eos && (id as usize) < vocab_size);
        let eos = eos.into_iter().chain(more).collect();
        Ok(Tokenizer { backend, vocab_size, bos, pad, unk, adds_bos, eos, warnings: Vec::new() })
    }
}
