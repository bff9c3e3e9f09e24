//! The forms in which a segment is put to an engine, and how its answers become a target again.

use crate::engine::Manner;
use crate::structure::{
    Hide, Marked, Style, cut_to_fit, has_translatable, is_edge, is_line_break, sentences,
};
use crate::verify::{Checker, Verdict};
use std::borrow::Cow;

/// One way to ask for a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub hide: Hide,
    pub style: Style,
    pub by_sentence: bool,
    /// Each text in a request of its own, as far as that stays affordable.
    pub alone: bool,
    /// What an emitted example says of it; empty for the plain way.
    pub note: &'static str,
}

const fn way(hide: Hide, style: Style, by_sentence: bool, note: &'static str) -> Way {
    Way { hide, style, by_sentence, alone: false, note }
}

/// Looking up changes nothing and needs no second try.
const LOOKUP: [Way; 1] = [way(Hide::Nothing, Style::Digits, false, "")];

/// A service: it may answer the same question differently, so each way is worth its request.
const LINES: [Way; 4] = [
    way(Hide::Hard, Style::Digits, false, ""),
    way(Hide::All, Style::Letters, false, "asked again"),
    way(Hide::Nothing, Style::Digits, true, "asked sentence by sentence"),
    Way { alone: true, ..way(Hide::All, Style::Digits, true, "asked alone") },
];

/// A local model: the same question gets the same answer, so only other questions help.
const SENTENCES: [Way; 3] = [
    way(Hide::Hard, Style::Digits, true, ""),
    way(Hide::All, Style::Letters, true, "asked with numbers behind marks"),
    way(Hide::Nothing, Style::Digits, true, "asked without marks"),
];

/// The ways to ask an engine, from the plainest to the last.
pub(crate) fn ways(manner: Manner) -> &'static [Way] {
    match manner {
        Manner::Lookup => &LOOKUP,
        Manner::Lines => &LINES,
        Manner::Sentences => &SENTENCES,
    }
}

/// A segment as it is put to an engine: one piece, or a piece for each sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Form<'a> {
    pieces: Vec<Piece<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece<'a> {
    source: &'a str,
    /// White space behind it.
    gap: &'a str,
    /// What is sent; `None` where there is nothing to translate.
    marked: Option<Marked<'a>>,
}

impl<'a> Form<'a> {
    /// The form of `segment` for a service that takes texts of up to `longest` characters.
    pub fn new(segment: &'a str, way: &Way, longest: usize) -> Self {
        let too_long = segment.len() > longest && segment.chars().count() > longest;
        let by_sentence = way.by_sentence || (too_long && way.hide != Hide::Nothing);
        let cut = if by_sentence { sentences(segment) } else { vec![segment] };
        let fitted = cut.into_iter().flat_map(|text| match way.hide {
            Hide::Nothing if !way.by_sentence => vec![text],
            _ => cut_to_fit(text, longest),
        });
        let pieces = fitted.map(|text| {
            let source = text.trim_end_matches(is_edge);
            let marked = has_translatable(source).then(|| Marked::new(source, way.hide, way.style));
            Piece { source, gap: &text[source.len()..], marked }
        });
        Form { pieces: pieces.collect() }
    }

    /// The texts that are sent.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| Some(piece.marked.as_ref()?.text.as_ref()))
    }

    /// The target from the `answers` to [`Self::texts`], what was mended on the way, and what the checks
    /// say of it. The error says why there is no target.
    pub fn target<'b>(
        &self,
        mut answers: impl Iterator<Item = &'b str>,
        checker: &Checker,
        is_lookup: bool,
    ) -> Result<Target, String> {
        let mut target = Target { text: String::new(), repairs: Vec::new(), verdict: Verdict::Pass };
        for piece in &self.pieces {
            let Some(marked) = &piece.marked else {
                target.text.push_str(piece.source);
                target.text.push_str(piece.gap);
                continue;
            };
            let answer = tidy(answers.next().unwrap_or_default());
            if let Cow::Owned(_) = answer {
                target.repair("joined the lines of a segment");
            }
            let restored = marked
                .restore(&answer)
                .map_err(|lost| format!("`{}` came back {} times", lost.part, lost.times))?;
            let mended = if is_lookup { restored } else { checker.mend(piece.source, restored) };
            let verdict = if is_lookup {
                checker.structure(piece.source, &mended)
            } else {
                checker.check(piece.source, &mended)
            };
            target.take(verdict);
            target.text.push_str(&mended);
            target.text.push_str(piece.gap);
        }
        Ok(target)
    }
}

/// What a form's answers came to.
#[derive(Debug)]
pub(crate) struct Target {
    pub text: String,
    pub repairs: Vec<&'static str>,
    /// The worst of all pieces.
    pub verdict: Verdict,
}

impl Target {
    fn repair(&mut self, note: &'static str) {
        if !self.repairs.contains(&note) {
            self.repairs.push(note);
        }
    }

    fn take(&mut self, verdict: Verdict) {
        let worse = match &self.verdict {
            Verdict::Pass => true,
            Verdict::Doubt(_) => matches!(verdict, Verdict::Fail(_)),
            Verdict::Fail(_) => false,
        };
        if worse {
            self.verdict = verdict;
        }
    }
}

/// One line without white space at the edges: those belong to the skeleton.
fn tidy(target: &str) -> Cow<'_, str> {
    let target = target.trim_matches(is_edge);
    if !target.contains(is_line_break) {
        return Cow::Borrowed(target);
    }
    let parts: Vec<&str> = target.split(is_line_break).map(str::trim).filter(|p| !p.is_empty()).collect();
    Cow::Owned(parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LanguagePair;

    fn checker() -> Checker {
        Checker::new(&LanguagePair::new("en", "ru").unwrap())
    }

    fn target(form: &Form<'_>, answers: &[&str]) -> Result<Target, String> {
        form.target(answers.iter().copied(), &checker(), false)
    }

    #[test]
    fn a_segment_goes_whole_and_comes_back_checked() {
        let form = Form::new("Write to [name] by 10:30.", &LINES[0], 1000);
        assert_eq!(form.texts().collect::<Vec<_>>(), ["Write to ⟦1⟧ by 10:30."]);
        let good = target(&form, &["Напишите ⟦1⟧ до 10.30."]).unwrap();
        assert_eq!((good.text.as_str(), good.verdict), ("Напишите [name] до 10:30.", Verdict::Pass));
        assert!(matches!(target(&form, &["Напишите ⟦1⟧ до 11:30."]).unwrap().verdict, Verdict::Fail(_)));
        assert!(target(&form, &["Напишите имя до 10:30."]).unwrap_err().contains("[name]"));
        let lines = target(&form, &["Напишите ⟦1⟧\r\nдо 10:30.\n"]).unwrap();
        assert_eq!(lines.repairs, ["joined the lines of a segment"]);
    }

    #[test]
    fn sentences_are_asked_for_one_by_one_and_put_together_as_they_were() {
        let form = Form::new("It is late.  42! Go home.", &LINES[3], 1000);
        assert_eq!(form.texts().collect::<Vec<_>>(), ["It is late.", "Go home."]);
        let good = target(&form, &["Уже поздно.", "Идите домой."]).unwrap();
        assert_eq!((good.text.as_str(), good.verdict), ("Уже поздно.  42! Идите домой.", Verdict::Pass));
        let bad = target(&form, &["Уже поздно.", "Go home."]).unwrap();
        assert!(matches!(bad.verdict, Verdict::Fail(_)));
    }

    #[test]
    fn a_segment_over_the_limit_is_cut_at_its_sentences() {
        let text = "One sentence here. Another one there.";
        assert_eq!(Form::new(text, &LINES[0], 20).texts().count(), 2);
        assert_eq!(Form::new(text, &LINES[0], 100).texts().count(), 1);
        assert_eq!(Form::new("no end of it, and on and on", &LINES[0], 20).texts().count(), 2);
        assert_eq!(Form::new(text, &LOOKUP[0], 20).texts().count(), 1);
    }
}
