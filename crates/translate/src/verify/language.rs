//! Is a target in the language it should be in? By the letters first, by statistics where letters cannot tell.

use super::{Finding, Verdict};
use crate::LanguagePair;
use tolmach_corpus::{Language, Script};

/// Both languages of a translation, as far as they are known.
pub(super) struct Languages {
    from: Option<&'static Language>,
    to: Option<&'static Language>,
    /// The languages share no script: a letter tells which one a word is of.
    apart: bool,
    /// Letters of the target's script that the target language does not have.
    not_in_alphabet: &'static str,
}

/// How many letters a text has, and how many of them are of a language's scripts.
pub(super) struct Letters {
    pub count: usize,
}

impl Letters {
    pub fn of(text: &str) -> Self {
        Self { count: text.chars().filter(|c| c.is_alphabetic()).count() }
    }
}

/// Cyrillic letters that a language does without: statistics confuse its neighbours.
fn not_in_alphabet(code: &str) -> &'static str {
    match code {
        "ru" => "іїєґўђјљњћџѓѕќәғқңөұүһӊӯ",
        "uk" => "ыэъёўђјљњћџѓѕќәғқңөұүһ",
        "be" => "иъщїєґђјљњћџѓѕќәғқңөұүһ",
        "bg" => "ыэёіїєґўђјљњћџѓѕќәғқңөұүһ",
        "sr" | "mk" => "ыэъёщюяйьіїєґўәғқңөұүһ",
        _ => "",
    }
}

/// Letters that statistics need to be believed, and to be believed against the expectation.
const ENOUGH: usize = 30;
const PLENTY: usize = 50;

impl Languages {
    pub fn new(pair: &LanguagePair) -> Self {
        let (from, to) = (Language::find(&pair.from), Language::find(&pair.to));
        let apart = match (from, to) {
            (Some(from), Some(to)) => !from.scripts.iter().any(|script| to.scripts.contains(script)),
            _ => false,
        };
        Self { from, to, apart, not_in_alphabet: to.map_or("", |to| not_in_alphabet(to.code)) }
    }

    /// The least and the most characters of a target per character of its source.
    pub fn length_ratio(&self) -> (f64, f64) {
        let dense = |language: Option<&Language>| {
            let scripts = [Script::Han, Script::Kana, Script::Hangul];
            language.is_some_and(|l| l.scripts.iter().any(|script| scripts.contains(script)))
        };
        match (dense(self.from), dense(self.to)) {
            (false, true) => (0.1, 1.2),
            (true, false) => (0.8, 8.0),
            _ => (0.4, 2.2),
        }
    }

    /// Whether `source` holds a number in words that a translation may write in digits.
    pub fn spells_numbers(&self, source: &str) -> bool {
        const ENGLISH: [&str; 38] = [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
            "thirty",
            "forty",
            "fifty",
            "sixty",
            "seventy",
            "eighty",
            "ninety",
            "hundred",
            "thousand",
            "million",
            "billion",
            "half",
            "first",
            "second",
            "third",
            "dozen",
            "noon",
        ];
        self.from.is_some_and(|from| from.code == "en")
            && words(source).any(|word| ENGLISH.contains(&word.to_lowercase().as_str()))
    }

    /// Both texts without their protected parts.
    pub fn check(&self, source: &str, target: &str) -> Verdict {
        if !source.contains(char::is_alphabetic) {
            return Verdict::Pass;
        }
        if self.apart { self.by_script(source, target) } else { self.by_statistics(source, target) }
    }

    /// Words of the target language are told by their letters. Others must have been in the source.
    fn by_script(&self, source: &str, target: &str) -> Verdict {
        let Some(to) = self.to else { return Verdict::Pass };
        let known: Vec<String> = words(source).map(str::to_lowercase).collect();
        let (mut native, mut kept, mut strange, mut all) = (0usize, 0usize, 0usize, 0usize);
        let mut foreign = None;
        for word in words(target) {
            let count = word.chars().count();
            all += count;
            let own = word.chars().filter(|&c| is_of(to, c)).count();
            if own == count {
                if word.chars().flat_map(char::to_lowercase).any(|c| self.not_in_alphabet.contains(c)) {
                    return Verdict::Fail(Finding::Foreign { word: word.to_string() });
                }
                native += count;
            } else if known.contains(&word.to_lowercase()) {
                // Names stay, and are no sign of anything.
                kept += if word.contains(char::is_uppercase) { 0 } else { count };
            } else if own > 0 {
                // `Wi-Fi-роутер`, `email'ы`: a word of both scripts counts as what most of it is.
                native += own;
            } else {
                strange += count;
                // A word that is no name is the worse sign.
                if foreign.is_none_or(|f: &str| f.starts_with(char::is_uppercase)) {
                    foreign = Some(word);
                }
            }
        }
        if let Some(word) = foreign
            && (native == 0 || word.chars().count() > 1)
        {
            let finding = Finding::Foreign { word: word.to_string() };
            // `Twitter` for `a tweet`: one name in a text of the right language.
            let name = word.starts_with(char::is_uppercase) && native > 4 * strange;
            return if name { Verdict::Doubt(finding) } else { Verdict::Fail(finding) };
        }
        if native == 0 {
            // What was in neither language is for no translator to change.
            if self.from.is_some_and(|from| !source.chars().any(|c| is_of(from, c))) {
                return Verdict::Pass;
            }
            // A name may stay as it is; a sentence may not.
            let finding = Finding::Untranslated;
            return if is_name_like(source) { Verdict::Doubt(finding) } else { Verdict::Fail(finding) };
        }
        if kept > native && all > 12 && !is_name_like(source) {
            let (kept, words) =
                (words(target).filter(|w| !w.chars().any(|c| is_of(to, c))).count(), words(target).count());
            return Verdict::Doubt(Finding::PartlyUntranslated { kept, words });
        }
        match self.detected(target, PLENTY) {
            Some(found) => Verdict::Fail(found),
            None => Verdict::Pass,
        }
    }

    fn by_statistics(&self, source: &str, target: &str) -> Verdict {
        if let Some(to) = self.to {
            let foreign = words(target).find(|word| !word.chars().any(|c| is_of(to, c)));
            if let Some(word) = foreign.filter(|word| !source.contains(*word)) {
                return Verdict::Fail(Finding::Foreign { word: word.to_string() });
            }
        }
        if source.to_lowercase() == target.to_lowercase() {
            let finding = Finding::Untranslated;
            return if is_name_like(source) { Verdict::Doubt(finding) } else { Verdict::Fail(finding) };
        }
        match self.detected(target, PLENTY) {
            Some(found) => Verdict::Fail(found),
            None => Verdict::Pass,
        }
    }

    /// The language that `target` is in, where statistics say it is another than it should be.
    fn detected(&self, target: &str, plenty: usize) -> Option<Finding> {
        let to = self.to?;
        let letters = Letters::of(target).count;
        let dense = to.scripts.iter().any(|s| matches!(s, Script::Han | Script::Kana | Script::Hangul));
        let weight = if dense { 3 } else { 1 };
        if letters * weight < ENOUGH || !is_detectable(to.code) {
            return None;
        }
        let found = Language::detect(target)?;
        // Its own source language is what an engine that gives up returns; for others it takes more.
        let enough = if self.from.is_some_and(|from| from.code == found.code) { ENOUGH } else { plenty };
        (found.code != to.code && letters * weight >= enough)
            .then(|| Finding::WrongLanguage { found: found.name.to_string(), code: found.code.to_string() })
    }
}

/// Whether statistics know the language: else they would name another one for everything in it.
fn is_detectable(code: &str) -> bool {
    const DETECTABLE: [&str; 16] =
        ["ar", "zh", "de", "en", "fr", "hi", "it", "ja", "ko", "nl", "pt", "ru", "es", "sv", "tr", "vi"];
    DETECTABLE.contains(&code)
}

fn is_of(language: &Language, c: char) -> bool {
    Script::of(c).is_some_and(|script| language.scripts.contains(&script))
}

/// Runs of letters.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty())
}

/// Whether every word of `text` looks like a name, a symbol or an abbreviation: that stays as it is.
fn is_name_like(text: &str) -> bool {
    text.split_whitespace().all(|word| {
        let letters = word.chars().filter(|c| c.is_alphabetic()).count();
        letters <= 1
            || word.contains(char::is_uppercase)
            || word.contains(|c: char| c.is_ascii_digit() || matches!(c, '_' | '=' | '/'))
    })
}
