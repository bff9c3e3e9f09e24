//! Is this a translation of that? Checks that need no second opinion: what must have survived, and what
//! gives a failed translation away.
//!
//! A *failure* is never emitted. A *doubt* is what a correct translation can look like too (a name that stays
//! as it is): it is asked again, and passes where the engine keeps to its answer.

mod finding;
mod language;
mod leftovers;
mod lexicon;
mod loops;

use crate::LanguagePair;
use crate::structure::numbers::{digit_runs, restore_numbers};
use crate::structure::{hard_parts, is_line_break, is_terminator, lines, sentence_count, stops};
pub use finding::Finding;
use language::{Languages, Letters};
pub use lexicon::{Lexicon, Relation};
use std::borrow::Cow;

/// The names of the checks behind every emitted example, as it carries them.
pub const CHECKS: [&str; 9] = [
    "segments",
    "skeleton",
    "protected",
    "digits",
    "language",
    "length",
    "sentences",
    "loops",
    "untranslated",
];

/// The checks of answers that are looked up rather than translated.
pub const STRUCTURE_CHECKS: [&str; 4] = ["segments", "skeleton", "protected", "digits"];

/// What a check says.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Pass,
    Doubt(Finding),
    Fail(Finding),
}

/// The checks for one pair of languages.
pub struct Checker {
    languages: Languages,
}

impl Checker {
    pub fn new(pair: &LanguagePair) -> Self {
        Self { languages: Languages::new(pair) }
    }

    /// Check the target of one segment, both without white space at the edges.
    pub fn check(&self, source: &str, target: &str) -> Verdict {
        // Cheap and certain checks come first; the reason given is the first found.
        match self.structure(source, target) {
            Verdict::Pass => {}
            other => return other,
        }
        if let Some(finding) = leftovers::mark(source, target).or_else(|| loops::find(source, target)) {
            return Verdict::Fail(finding);
        }
        let (bare_source, bare_target) = (without_hard_parts(source), without_hard_parts(target));
        match self.languages.check(&bare_source, &bare_target) {
            Verdict::Pass => {}
            other => return other,
        }
        let letters = Letters::of(&bare_source);
        match self.length(&bare_source, &bare_target) {
            Some(finding) if letters.count > 0 => Verdict::Fail(finding),
            _ => match sentences(source, target) {
                Verdict::Pass => match edges(source, target) {
                    Verdict::Pass => leftovers::gloss(source, target).map_or(Verdict::Pass, Verdict::Doubt),
                    other => other,
                },
                other => other,
            },
        }
    }

    /// The target with what engines write differently as it is in the source: numbers, and characters
    /// that came back as entities.
    pub fn mend(&self, source: &str, target: String) -> String {
        let unescaped = match unescape(source, &target) {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text),
        };
        restore_numbers(source, unescaped.unwrap_or(target))
    }

    /// What holds for any pair of languages, and for answers that are looked up as well.
    pub fn structure(&self, source: &str, target: &str) -> Verdict {
        if target.is_empty() {
            return Verdict::Fail(Finding::Empty);
        }
        if target.contains(is_line_break) {
            return Verdict::Fail(Finding::LineBreak);
        }
        match protected(source, target) {
            Some(finding) => Verdict::Fail(finding),
            None => self.digits(source, target),
        }
    }

    fn digits(&self, source: &str, target: &str) -> Verdict {
        if !source.contains(char::is_numeric) && !target.contains(char::is_numeric) {
            return Verdict::Pass;
        }
        let (mut missing, mut added) = (digit_runs(source), digit_runs(target));
        if missing == added {
            return Verdict::Pass;
        }
        missing.retain(|run| match added.iter().position(|other| other == run) {
            Some(at) => {
                added.remove(at);
                false
            }
            None => true,
        });
        let finding = Finding::Digits { missing, added };
        // `seven per cent` is `7 %` as well.
        let spelled = matches!(&finding, Finding::Digits { missing, .. } if missing.is_empty())
            && self.languages.spells_numbers(source);
        if spelled { Verdict::Doubt(finding) } else { Verdict::Fail(finding) }
    }

    fn length(&self, source: &str, target: &str) -> Option<Finding> {
        let (source, target) = (source.chars().count(), target.chars().count());
        let (least, most) = self.languages.length_ratio();
        // The slack is for short texts: `OK` is `Хорошо`.
        let short = (target as f64) < least * source as f64 - 6.0;
        let long = target as f64 > most * source as f64 + 24.0;
        (short || long).then_some(Finding::Length { source, target })
    }
}

/// The targets of the segments of `source` in `target`, if that has the same skeleton: the same lines, each with
/// the same indentation, markers and end.
pub(crate) fn skeleton<'a>(source: &str, target: &'a str) -> Option<Vec<&'a str>> {
    let mut targets = Vec::new();
    let mut rest = target.split_inclusive(is_line_break);
    for line in lines(source) {
        let target = rest.next()?;
        let target = target.strip_prefix(line.before)?.strip_suffix(line.after)?;
        match line.segment.is_empty() {
            true if !target.is_empty() => return None,
            true => {}
            false => targets.push(target),
        }
    }
    rest.next().is_none().then_some(targets)
}

/// Every hard part of the source is in the target as often as in the source, and none is new.
fn protected(source: &str, target: &str) -> Option<Finding> {
    let (of_source, of_target) = (hard_parts(source), hard_parts(target));
    let texts = of_source.iter().map(|p| (&source[p.at.clone()], 1isize));
    let texts = texts.chain(of_target.iter().map(|p| (&target[p.at.clone()], -1)));
    let mut counts: Vec<(&str, isize)> = texts.collect();
    counts.sort_unstable();
    for group in counts.chunk_by(|a, b| a.0 == b.0) {
        if group.iter().map(|(_, n)| n).sum::<isize>() != 0 {
            let part = group[0].0;
            let (expected, found) = (source.matches(part).count(), target.matches(part).count());
            // Parts that touch in one text and not in the other are cut differently; their bytes decide.
            if expected != found {
                return Some(Finding::Protected { part: part.to_string(), expected, found });
            }
        }
    }
    None
}

/// Sentences that were dropped or merged, or that came from nowhere.
fn sentences(source: &str, target: &str) -> Verdict {
    let (of_source, of_target) = (sentence_count(source), sentence_count(target));
    let (stops_of_source, stops_of_target) = (stops(source), stops(target));
    let finding = Finding::Sentences { source: of_source, target: of_target };
    if stops_of_source == stops_of_target {
        // As many, however many of them belong to abbreviations.
        Verdict::Pass
    } else if of_source == of_target && (of_source == 1 || stops_of_target > stops_of_source) {
        Verdict::Pass
    } else if of_target >= of_source && of_target - of_source <= 1 + of_source / 4 {
        // An abbreviation is gone or unknown, or it makes up for a sentence that is gone.
        Verdict::Doubt(finding)
    } else {
        Verdict::Fail(finding)
    }
}

/// What was joined with its neighbour, or cut off, shows at the edges.
fn edges(source: &str, target: &str) -> Verdict {
    let ends = |text: &str| {
        text.trim_end_matches(|c: char| !c.is_alphanumeric() && !is_terminator(c)).ends_with(is_terminator)
    };
    let goes_on = |text: &str| text.ends_with([',', ';']);
    if ends(source) && !ends(target) || goes_on(target) && !goes_on(source) {
        return Verdict::Fail(Finding::Torn);
    }
    // `C. Cirrus` without its letter, or without its word.
    let is_bare =
        |text: &str| text.split(|c: char| !c.is_alphanumeric()).all(|word| word.chars().count() < 2);
    if is_bare(target) && !is_bare(source) && target.chars().count() * 2 < source.chars().count() {
        return Verdict::Fail(Finding::Torn);
    }
    if is_lettered(source) && !is_lettered(target) {
        return Verdict::Doubt(Finding::Torn);
    }
    // `iPad` and `IT` tell nothing, nor do letters without case.
    let mut start = source.trim_start_matches(|c: char| !c.is_alphanumeric()).chars();
    let capital = start.next().is_some_and(char::is_uppercase)
        && !start.next().is_some_and(|c| c.is_uppercase() || c.is_numeric());
    let word = target.trim_start_matches(|c: char| !c.is_alphabetic());
    let word = word.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    let small = !word.is_empty() && word.chars().all(char::is_lowercase);
    if capital && small && !source.contains(word) {
        return Verdict::Doubt(Finding::Torn);
    }
    Verdict::Pass
}

/// `A. One of several answers`
fn is_lettered(text: &str) -> bool {
    let mut start = text.chars();
    start.next().is_some_and(char::is_uppercase) && start.next() == Some('.') && start.next() == Some(' ')
}

/// `target` without the entities that a service made of plain characters.
fn unescape<'a>(source: &str, target: &'a str) -> Cow<'a, str> {
    const ENTITIES: [(&str, &str); 6] =
        [("&quot;", "\""), ("&#39;", "'"), ("&apos;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    let mut target = Cow::Borrowed(target);
    for (entity, character) in ENTITIES {
        if target.contains(entity) && !source.contains(entity) {
            target = Cow::Owned(target.replace(entity, character));
        }
    }
    target
}

/// What is left of a text to be in some language.
fn without_hard_parts(text: &str) -> String {
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for part in hard_parts(text) {
        out.push_str(&text[at..part.at.start]);
        out.push(' ');
        at = part.at.end;
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests;
