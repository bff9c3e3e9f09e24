//! Text as it grows token by token, never cut inside a character.

use crate::error::Error;
use crate::tokenizer::Tokenizer;

/// A token whose bytes are still incomplete decodes to this at the end.
const REPLACEMENT: char = '\u{FFFD}';

/// A character has at most four bytes, so a few tokens complete it. Where so many tokens in a row
/// end in nonsense, the model is emitting nonsense, and it is shown.
const MAX_HELD: usize = 32;

/// Decodes a growing list of ids. [`DecodeStream::push`] returns the text that is certain by now:
/// a token that ends inside a UTF-8 character (text-generation-webui#1603) is held back until the
/// character is whole. Everything pushed is out after [`DecodeStream::flush`].
///
/// A few ids before the new one are decoded with it, so that decoders which drop the space before
/// a text's first word keep the one between words.
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    /// Ids of the last emission (context), then those held back.
    window: Vec<u32>,
    /// How many of `window` have been emitted.
    emitted: usize,
    /// The text of `window[..emitted]`.
    context: String,
}

impl<'a> DecodeStream<'a> {
    pub(crate) fn new(tokenizer: &'a Tokenizer) -> Self {
        DecodeStream { tokenizer, window: Vec::new(), emitted: 0, context: String::new() }
    }

    /// Add a token; the text that became certain (often empty while a character is incomplete).
    pub fn push(&mut self, id: u32) -> Result<String, Error> {
        if self.tokenizer.is_special(id) {
            return Ok(String::new());
        }
        self.window.push(id);
        let text = self.tokenizer.decode(&self.window, true)?;
        let held = self.window.len() - self.emitted;
        if text.ends_with(REPLACEMENT) && held < MAX_HELD {
            return Ok(String::new());
        }
        self.emit(&text)
    }

    /// The end: what was held back, incomplete characters as U+FFFD.
    pub fn flush(&mut self) -> Result<String, Error> {
        if self.emitted == self.window.len() {
            return Ok(String::new());
        }
        let text = self.tokenizer.decode(&self.window, true)?;
        self.emit(&text)
    }

    fn emit(&mut self, text: &str) -> Result<String, Error> {
        let new = match text.strip_prefix(self.context.as_str()) {
            Some(new) => new.to_string(),
            // Byte-fallback decoders give up a whole run of byte tokens where one of them is
            // wrong, also those already shown: then only the new ids are decoded.
            None => self.tokenizer.decode(&self.window[self.emitted..], true)?,
        };
        // A token may add no text of its own; it must stay in the context of the next one only if
        // something came out, else the context would lose the word before it.
        if !new.is_empty() {
            self.window.drain(..self.emitted);
        }
        self.emitted = self.window.len();
        self.context = self.tokenizer.decode(&self.window, true)?;
        Ok(new)
    }
}
