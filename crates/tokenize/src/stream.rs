//! Text as it grows token by token, never cut inside a character.

use crate::tokenizer::Tokenizer;

/// What bytes that are no whole character decode to.
const REPLACEMENT: char = '\u{FFFD}';

/// A character has at most four bytes, so a few tokens complete it. Where so many tokens in a row
/// end in nonsense, the model is emitting nonsense, and it is shown.
const MAX_HELD: usize = 32;

/// Decodes a growing list of ids. [`DecodeStream::push`] returns the text that is certain by now:
/// a token that ends inside a UTF-8 character (text-generation-webui#1603) is held back until the
/// character is whole. Special tokens leave no trace.
///
/// All returned texts joined, [`DecodeStream::finish`] included, are what [`Tokenizer::decode`]
/// makes of all ids, with one exception: where one byte of a run of `<0x..>` tokens is wrong,
/// `decode` gives up the whole run; the stream keeps the characters that were whole.
///
/// The ids of the last emission are decoded along with the new ones, so that decoders which drop
/// the space before a text's first word keep the one between words.
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
    pub fn new(tokenizer: &'a Tokenizer) -> Self {
        DecodeStream { tokenizer, window: Vec::new(), emitted: 0, context: String::new() }
    }

    /// Add a token; the text that became certain, if any did.
    pub fn push(&mut self, id: u32) -> Option<String> {
        if self.tokenizer.is_special(id) {
            return None;
        }
        self.window.push(id);
        let text = self.tokenizer.decode(&self.window, true);
        let held = self.window.len() - self.emitted;
        if text.ends_with(REPLACEMENT) && held < MAX_HELD {
            return None;
        }
        self.emit(&text)
    }

    /// The end: what was held back, incomplete characters as U+FFFD.
    pub fn finish(&mut self) -> Option<String> {
        let text = self.tokenizer.decode(&self.window, true);
        self.emit(&text)
    }

    fn emit(&mut self, text: &str) -> Option<String> {
        let new = match text.strip_prefix(self.context.as_str()) {
            Some(new) => new.to_string(),
            // A wrong byte token has undone characters that were already shown.
            None => self.tokenizer.decode(&self.window[self.emitted..], true),
        };
        // Only what has text where it opens a text may replace the context: a token without any,
        // or a space that the decoder drops there, would push out the word before it.
        if !self.tokenizer.decode(&self.window[self.emitted..], true).is_empty() {
            self.window.drain(..self.emitted);
        }
        self.emitted = self.window.len();
        self.context = self.tokenizer.decode(&self.window, true);
        (!new.is_empty()).then_some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{byte_level, sentencepiece};
    use proptest::prelude::*;

    fn stream(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
        let mut stream = DecodeStream::new(tokenizer);
        let mut texts: Vec<String> = ids.iter().filter_map(|&id| stream.push(id)).collect();
        texts.extend(stream.finish());
        texts
    }

    proptest! {
        #[test]
        fn the_stream_of_a_text_is_its_decoding(text in "[a-zа-яё 0-9.,!Ж漢🦙\n]{0,60}") {
            for tokenizer in [byte_level(), sentencepiece()] {
                let ids = tokenizer.encode(&text, true).unwrap().ids;
                let texts = stream(tokenizer, &ids);
                prop_assert_eq!(texts.concat(), tokenizer.decode(&ids, true));
                prop_assert!(texts.iter().all(|t| !t.contains(REPLACEMENT) && !t.is_empty()));
            }
        }

        #[test]
        fn the_stream_of_any_ids_is_their_decoding(ids in prop::collection::vec(0u32..400, 0..60)) {
            let tokenizer = byte_level();
            prop_assert_eq!(stream(tokenizer, &ids).concat(), tokenizer.decode(&ids, true));
            let tokenizer = sentencepiece();
            let whole = tokenizer.decode(&ids, true);
            let streamed = stream(tokenizer, &ids).concat();
            if whole.contains(REPLACEMENT) {
                // The stream keeps more: every character of `whole` but the replaced ones is there.
                let mut rest = streamed.chars();
                prop_assert!(whole.chars().filter(|&c| c != REPLACEMENT).all(|c| rest.any(|r| r == c)));
            } else {
                prop_assert_eq!(streamed, whole);
            }
        }
    }

    #[test]
    fn text_generation_webui_1603_no_replacement_character_inside_cyrillic() {
        let tokenizer = sentencepiece();
        let ids: Vec<u32> =
            "Щука".bytes().map(|b| tokenizer.inner_id(&format!("<0x{b:02X}>")).unwrap()).collect();
        assert_eq!(stream(tokenizer, &ids), ["Щ", "у", "к", "а"]);
        let mut cut = DecodeStream::new(tokenizer);
        assert_eq!(cut.push(ids[0]), None, "half a character waits");
        assert_eq!(cut.finish().as_deref(), Some("\u{FFFD}"), "and shows at the end");
    }

    #[test]
    fn the_space_between_words_survives_a_decoder_that_strips_the_first() {
        let tokenizer = sentencepiece();
        let ids = tokenizer.encode("the cat sat", true).unwrap().ids;
        let texts = stream(tokenizer, &ids);
        assert_eq!(texts.concat(), "the cat sat");
        assert!(texts.len() > 1);
    }

    #[test]
    fn nonsense_is_shown_at_last() {
        let tokenizer = byte_level();
        let half = tokenizer.encode("漢", false).unwrap().ids[0];
        let mut nonsense = DecodeStream::new(tokenizer);
        let shown = (0..MAX_HELD).filter_map(|_| nonsense.push(half)).count();
        assert_eq!(shown, 1);
    }
}
