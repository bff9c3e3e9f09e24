//! From a text to what the vocabulary is matched against, with the way back to the text's bytes.

use super::charsmap::Charsmap;
use super::proto::{NormalizerSpec, Reason};
use super::trie::Trie;
use std::ops::Range;

/// How SentencePiece writes a space.
pub const SPACE_SYMBOL: char = '▁';

/// Applies the rules of `normalizer_spec`.
pub struct Normalizer {
    rules: Option<Charsmap>,
    /// Texts that no rule touches: user-defined pieces (value [`USER_DEFINED`]) and marks (their id).
    symbols: Option<Trie>,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    whitespace_is_suffix: bool,
    space: char,
}

/// The value of user-defined pieces among the symbols: the model finds those itself.
pub const USER_DEFINED: u32 = u32::MAX - 1;

/// A normalised text.
#[derive(Debug, Default)]
pub struct Normalized {
    pub text: String,
    /// For each byte of `text`, the bytes `start..end` of the source it was made from; `start` never
    /// goes back. Empty for the dummy prefix.
    pub sources: Vec<(u32, u32)>,
    /// Where marks stand in `text`, in order, with their ids.
    pub marks: Vec<(Range<usize>, u32)>,
}

/// What the beginning of a text becomes.
struct Prefix<'a> {
    /// Bytes of the text.
    length: usize,
    text: &'a str,
    mark: Option<u32>,
}

impl Normalizer {
    /// `symbols`: see [`Normalizer::symbols`].
    ///
    /// # Errors
    /// The rules are broken.
    pub fn new(
        spec: &NormalizerSpec,
        symbols: &[(&str, u32)],
        whitespace_is_suffix: bool,
    ) -> Result<Self, Reason> {
        let rules = &spec.precompiled_charsmap;
        Ok(Normalizer {
            rules: if rules.is_empty() { None } else { Some(Charsmap::parse(rules)?) },
            symbols: (!symbols.is_empty()).then(|| Trie::new(symbols.iter().copied())),
            add_dummy_prefix: spec.add_dummy_prefix,
            remove_extra_whitespaces: spec.remove_extra_whitespaces,
            whitespace_is_suffix,
            space: if spec.escape_whitespaces { SPACE_SYMBOL } else { ' ' },
        })
    }

    /// Texts are shorter than 4 GiB.
    pub fn normalize(&self, text: &str) -> Normalized {
        let mut out = Normalized::default();
        let mut at = 0;
        if self.remove_extra_whitespaces {
            while let Some(space) = self.prefix(&text[at..]).filter(|p| p.text == " " && p.mark.is_none()) {
                at += space.length;
            }
        }
        if at == text.len() {
            return out;
        }
        out.text.reserve(text.len() + text.len() / 2 + 8);
        out.sources.reserve(text.len() + text.len() / 2 + 8);
        if self.add_dummy_prefix && !self.whitespace_is_suffix {
            out.push(self.space, at..at);
        }
        let mut after_space = self.remove_extra_whitespaces;
        while let Some(prefix) = self.prefix(&text[at..]) {
            let source = at..at + prefix.length;
            at = source.end;
            if let Some(id) = prefix.mark {
                let start = out.text.len();
                prefix.text.chars().for_each(|c| out.push(c, source.clone()));
                out.marks.push((start..out.text.len(), id));
                after_space = false;
                continue;
            }
            let kept = if after_space { prefix.text.trim_start_matches(' ') } else { prefix.text };
            for c in kept.chars() {
                out.push(if c == ' ' { self.space } else { c }, source.clone());
            }
            if !kept.is_empty() {
                after_space = self.remove_extra_whitespaces && kept.ends_with(' ');
            }
        }
        if self.remove_extra_whitespaces {
            at = self.trim_end(&mut out, at);
        }
        if self.add_dummy_prefix && self.whitespace_is_suffix {
            out.push(self.space, at..at);
        }
        out
    }

    /// Take the spaces at the end away; where in the source the rest ends.
    fn trim_end(&self, out: &mut Normalized, mut source_end: usize) -> usize {
        let fixed = out.marks.last().map_or(0, |(range, _)| range.end);
        while out.text.len() > fixed && out.text.ends_with(self.space) {
            out.text.pop();
            source_end = out.sources[out.text.len()].0 as usize;
            out.sources.truncate(out.text.len());
        }
        source_end
    }

    /// `None` for an empty text.
    fn prefix<'a>(&'a self, text: &'a str) -> Option<Prefix<'a>> {
        let first = text.chars().next()?;
        let symbol = self.symbols.as_ref().and_then(|symbols| symbols.longest_prefix(text.as_bytes()));
        if let Some((length, value)) = symbol {
            let mark = (value != USER_DEFINED).then_some(value);
            return Some(Prefix { length, text: &text[..length], mark });
        }
        let rule = self.rules.as_ref().and_then(|rules| rules.longest_rule(text));
        let (length, text) = rule.unwrap_or((first.len_utf8(), &text[..first.len_utf8()]));
        Some(Prefix { length, text, mark: None })
    }
}

impl Normalized {
    fn push(&mut self, c: char, source: Range<usize>) {
        self.text.push(c);
        self.sources.resize(self.text.len(), (source.start as u32, source.end as u32));
    }

    /// The bytes of the source that a non-empty `range` of the text came from. Characters that were
    /// dropped (of a run of spaces) belong to what comes before them.
    pub fn source(&self, range: Range<usize>) -> (usize, usize) {
        let start = self.sources[range.start].0;
        let end = self.sources[range.end - 1].1;
        let next = self.sources.get(range.end).map_or(end, |source| source.0);
        (start as usize, end.max(next) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalizer(remove_extra_whitespaces: bool, whitespace_is_suffix: bool) -> Normalizer {
        let spec = NormalizerSpec { remove_extra_whitespaces, ..NormalizerSpec::default() };
        Normalizer::new(&spec, &[("<b  r>", USER_DEFINED), ("|", 7)], whitespace_is_suffix).unwrap()
    }

    #[test]
    fn open_llama_40_runs_of_spaces_collapse_only_where_the_model_says_so() {
        let text = "  a   b  ";
        assert_eq!(normalizer(true, false).normalize(text).text, "▁a▁b");
        assert_eq!(normalizer(false, false).normalize(text).text, "▁▁▁a▁▁▁b▁▁");
        assert_eq!(normalizer(true, true).normalize(text).text, "a▁b▁");
        assert_eq!(normalizer(true, false).normalize("   ").text, "");
        assert_eq!(normalizer(false, false).normalize("").text, "");
    }

    #[test]
    fn every_byte_knows_its_source() {
        let normal = normalizer(true, false).normalize(" я   b ");
        assert_eq!(normal.text, "▁я▁b");
        assert_eq!(normal.source(0..3), (1, 1), "the dummy prefix has no source");
        assert_eq!(normal.source(0..5), (1, 3));
        assert_eq!(normal.source(5..8), (3, 6), "a run of spaces is one token's");
        assert_eq!(normal.source(8..9), (6, 7));
    }

    #[test]
    fn symbols_are_left_as_they_are_and_marks_noted() {
        let normal = normalizer(true, false).normalize("x<b  r> |  y");
        assert_eq!(normal.text, "▁x<b▁▁r>▁|▁y");
        let (range, id) = normal.marks[0].clone();
        assert_eq!((&normal.text[range.clone()], id, normal.source(range)), ("|", 7, (8, 9)));
        assert_eq!(normalizer(true, false).normalize("x |").text, "▁x▁|", "as in the middle of a line");
    }
}
