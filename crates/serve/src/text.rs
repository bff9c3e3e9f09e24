//! From tokens to what a client reads: text that is certain, cut at a stop string, and spelled tokens.

use tolmach_tokenize::{DecodeStream, Tokenizer};

/// Stands for bytes that are no character; a client never sees it.
const REPLACEMENT: char = '\u{FFFD}';

/// The text of one reply as its tokens arrive.
///
/// A stop string may begin in one token and end in another, so text that could be the beginning of one is held
/// back until that is decided. What was held when the reply ends belongs to it.
pub struct ReplyText<'a> {
    stream: DecodeStream<'a>,
    stops: &'a [String],
    held: String,
}

/// What a token brought.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// Certain from now on; may be empty.
    pub text: String,
    /// A stop string was reached: the reply ends before it.
    pub stopped: bool,
}

impl<'a> ReplyText<'a> {
    /// `stops` holds no empty string.
    pub fn new(tokenizer: &'a Tokenizer, stops: &'a [String]) -> Self {
        Self { stream: DecodeStream::new(tokenizer), stops, held: String::new() }
    }

    pub fn push(&mut self, id: u32) -> Piece {
        let new = self.stream.push(id).unwrap_or_default();
        self.add(&new)
    }

    /// The end: what was held back. A character whose bytes did not all come is left out.
    pub fn finish(mut self) -> Piece {
        let new = self.stream.finish().unwrap_or_default();
        let mut piece = self.add(&new);
        if !piece.stopped {
            piece.text += &self.held;
        }
        piece
    }

    fn add(&mut self, new: &str) -> Piece {
        self.held.extend(new.chars().filter(|&c| c != REPLACEMENT));
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.held.truncate(at);
            return Piece { text: std::mem::take(&mut self.held), stopped: true };
        }
        let certain =
            self.held.len() - self.stops.iter().map(|stop| begun(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(certain);
        Piece { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }
}

/// Bytes at the end of `text` that could be the beginning of `stop`.
fn begun(text: &str, stop: &str) -> usize {
    let ends = stop.char_indices().map(|(at, _)| at).filter(|&at| at > 0);
    ends.filter(|&at| text.ends_with(&stop[..at])).max().unwrap_or(0)
}

/// Single tokens as OpenAI's log-probabilities spell them: text and bytes.
pub struct Spelling<'a> {
    tokenizer: &'a Tokenizer,
    byte_level: bool,
}

impl<'a> Spelling<'a> {
    /// `byte_level`: see [`Spelling::is_byte_level`].
    pub fn new(tokenizer: &'a Tokenizer, byte_level: bool) -> Self {
        Self { tokenizer, byte_level }
    }

    /// Whether the vocabulary spells bytes in GPT-2's alphabet.
    pub fn is_byte_level(tokenizer: &Tokenizer) -> bool {
        // GPT-2's alphabet has a letter of its own for the space.
        let spelled = tokenizer.encode(" a", false).unwrap_or_default();
        spelled.ids.iter().filter_map(|&id| tokenizer.token_text(id)).any(|t| t.contains('Ġ'))
    }

    /// The bytes that a token adds to a text.
    pub fn bytes(&self, id: u32) -> Vec<u8> {
        let Some(text) = self.tokenizer.token_text(id) else { return Vec::new() };
        if self.tokenizer.is_special(id) {
            return text.into_bytes();
        }
        if self.byte_level {
            let bytes: Option<Vec<u8>> = text.chars().map(byte_of).collect();
            return bytes.unwrap_or_else(|| text.into_bytes());
        }
        let hex = text.strip_prefix("<0x").and_then(|t| t.strip_suffix('>')).filter(|t| t.len() == 2);
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => vec![byte],
            None => text.replace('▁', " ").into_bytes(),
        }
    }

    /// As text; bytes that are no whole character as OpenAI shows them: `bytes:\xd0`.
    pub fn text(bytes: &[u8]) -> String {
        match std::str::from_utf8(bytes) {
            Ok(text) => text.to_string(),
            Err(_) => bytes.iter().fold("bytes:".to_string(), |out, byte| format!("{out}\\x{byte:02x}")),
        }
    }
}

/// The byte that a letter of GPT-2's alphabet (`bytes_to_unicode` of its `encoder.py`) stands for: printable
/// bytes are themselves, the others are numbered from U+0100 on in their order.
fn byte_of(letter: char) -> Option<u8> {
    let is_itself = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let code = u32::from(letter);
    if let Ok(byte) = u8::try_from(code) {
        return Some(byte).filter(|&b| is_itself(b));
    }
    let nth = code.checked_sub(0x100)? as usize;
    (0..=255u8).filter(|&b| !is_itself(b)).nth(nth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn tokenizer() -> Tokenizer {
        Tokenizer::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/model")).unwrap()
    }

    fn read(tokenizer: &Tokenizer, text: &str, stops: &[&str]) -> (Vec<String>, bool) {
        let stops: Vec<String> = stops.iter().map(|s| s.to_string()).collect();
        let mut reply = ReplyText::new(tokenizer, &stops);
        let mut pieces = Vec::new();
        for id in tokenizer.encode(text, false).unwrap().ids {
            let piece = reply.push(id);
            pieces.push(piece.text);
            if piece.stopped {
                return (pieces, true);
            }
        }
        let last = reply.finish();
        pieces.push(last.text);
        (pieces, last.stopped)
    }

    #[test]
    fn a_stop_string_is_found_across_token_borders_and_never_shown() {
        let tokenizer = tokenizer();
        let text = "Жили-были дед да баба. ### Instruction: и была у них курочка.";
        for stop in ["### Inst", "баба", " да", ".", "Ж", "курочка."] {
            let (pieces, stopped) = read(&tokenizer, text, &[stop, "nowhere"]);
            assert!(stopped, "{stop}");
            assert_eq!(pieces.concat(), text.split(stop).next().unwrap(), "{stop}");
        }
        let (pieces, stopped) = read(&tokenizer, text, &["баба", "дед"]);
        assert!(stopped);
        assert_eq!(pieces.concat(), "Жили-были ", "the earliest counts");
    }

    #[test]
    fn what_only_began_like_a_stop_string_is_shown() {
        let tokenizer = tokenizer();
        for text in ["кот и ко", "a ## b", "###"] {
            let (pieces, stopped) = read(&tokenizer, text, &["котлета", "####", "ком"]);
            assert!(!stopped);
            assert_eq!(pieces.concat(), text);
        }
        assert_eq!(begun("abab", "abac"), 2);
        assert_eq!(begun("ЖЖ", "ЖЖЖ"), "ЖЖ".len());
    }

    #[test]
    fn half_a_character_is_never_shown() {
        let tokenizer = tokenizer();
        let ids = tokenizer.encode("漢🦙", false).unwrap().ids;
        for cut in 0..=ids.len() {
            let mut reply = ReplyText::new(&tokenizer, &[]);
            let mut text: String = ids[..cut].iter().map(|&id| reply.push(id).text).collect();
            text += &reply.finish().text;
            assert!("漢🦙".starts_with(&text), "{cut}: {text:?}");
        }
    }

    #[test]
    fn tokens_are_spelled_as_bytes() {
        let tokenizer = tokenizer();
        let spelling = Spelling::new(&tokenizer, Spelling::is_byte_level(&tokenizer));
        let text = " Привет, 漢🦙 x";
        let bytes: Vec<Vec<u8>> =
            tokenizer.encode(text, false).unwrap().ids.iter().map(|&id| spelling.bytes(id)).collect();
        let all = bytes.concat();
        let all = String::from_utf8(all).unwrap();
        assert_eq!(all.trim_start(), text.trim_start());
        assert!(bytes.iter().all(|b| !Spelling::text(b).contains(REPLACEMENT)));
        assert_eq!(Spelling::text(&[0xd0]), "bytes:\\xd0");
    }

    #[test]
    fn gpt2s_alphabet() {
        // Of its encoder.py: the space is U+0120, the line feed U+010A, the soft hyphen the last number.
        assert_eq!(['A', 'Ġ', 'Ċ', 'Ń', 'ÿ'].map(byte_of), [65, 32, 10, 0xAD, 0xFF].map(Some));
        assert_eq!(byte_of(' '), None);
        let all: std::collections::BTreeSet<u8> =
            (0..0x144).filter_map(|c| byte_of(char::from_u32(c)?)).collect();
        assert_eq!(all.len(), 256);
    }
}
