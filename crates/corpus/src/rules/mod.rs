//! The cleaning rules, one file each, in the order in which they are tried.
//!
//! A rule looks at one example and says why it should go, or nothing. The first rule that speaks
//! drops the example, so the counts of the report add up. The two rules about duplicates compare
//! examples with each other and therefore run last, over what the others kept.

pub mod about_language;
pub mod code;
pub mod control_characters;
pub mod duplicates;
pub mod empty;
pub mod links_only;
pub mod markers;
pub mod markup;
pub mod mentions_translation;
pub mod near_duplicates;
pub mod too_long;
pub mod wrong_language;

use crate::config::{CleanConfig, Switch};
use crate::example::Example;
use crate::language::Language;
use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use unicode_normalization::UnicodeNormalization;

/// A cleaning rule by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    Empty,
    Markers,
    ControlCharacters,
    TooLong,
    MentionsTranslation,
    Code,
    Markup,
    LinksOnly,
    WrongLanguage,
    AboutLanguage,
    Duplicates,
    NearDuplicates,
}

/// What a user reads about a rule.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RuleDescriptor {
    pub rule: Rule,
    /// What the rule drops.
    pub drops: &'static str,
    /// Its settings with their defaults, as a recipe's `[clean]` writes them.
    pub defaults: &'static str,
}

/// Every rule, in the order in which they are tried.
pub const RULES: [RuleDescriptor; 12] = [
    empty::DESCRIPTOR,
    markers::DESCRIPTOR,
    control_characters::DESCRIPTOR,
    too_long::DESCRIPTOR,
    mentions_translation::DESCRIPTOR,
    code::DESCRIPTOR,
    markup::DESCRIPTOR,
    links_only::DESCRIPTOR,
    wrong_language::DESCRIPTOR,
    about_language::DESCRIPTOR,
    duplicates::DESCRIPTOR,
    near_duplicates::DESCRIPTOR,
];

impl Rule {
    /// As in recipes and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Markers => "markers",
            Self::ControlCharacters => "control_characters",
            Self::TooLong => "too_long",
            Self::MentionsTranslation => "mentions_translation",
            Self::Code => "code",
            Self::Markup => "markup",
            Self::LinksOnly => "links_only",
            Self::WrongLanguage => "wrong_language",
            Self::AboutLanguage => "about_language",
            Self::Duplicates => "duplicates",
            Self::NearDuplicates => "near_duplicates",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Accepts `too_long` and `too-long`.
impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.trim().to_ascii_lowercase().replace('-', "_");
        let found = RULES.iter().find(|descriptor| descriptor.rule.name() == name);
        found.map(|descriptor| descriptor.rule).ok_or_else(|| {
            let names: Vec<_> = RULES.iter().map(|descriptor| descriptor.rule.name()).collect();
            format!("no rule `{text}`; the rules are {}", names.join(", "))
        })
    }
}

/// Why an example goes.
pub(crate) type Finding = (Rule, String);

/// The rules that look at one example, made ready for a whole data set.
pub(crate) struct RuleSet<'a> {
    config: &'a CleanConfig,
    /// `None` for a language that this crate knows nothing about.
    language: Option<&'static Language>,
    about_language: Option<about_language::Matcher>,
    translation: Option<mentions_translation::Matcher>,
}

impl<'a> RuleSet<'a> {
    pub(crate) fn new(config: &'a CleanConfig, source_language: &str) -> Self {
        let language = Language::find(source_language);
        Self {
            config,
            language,
            about_language: config
                .about_language
                .options()
                .map(|options| about_language::Matcher::new(options, language)),
            translation: config
                .mentions_translation
                .options()
                .map(|options| mentions_translation::Matcher::new(options, language)),
        }
    }

    /// The first rule that drops `example`, with its reason.
    pub(crate) fn check(&self, example: &Example) -> Option<Finding> {
        fn with<T>(switch: &Switch<T>, check: impl FnOnce(&T) -> Option<String>) -> Option<String> {
            switch.options().and_then(check)
        }
        let (config, body) = (self.config, &example.body);
        let say = |rule: Rule| move |reason: String| (rule, reason);
        None.or_else(|| config.empty.then(|| empty::check(body))?.map(say(Rule::Empty)))
            .or_else(|| config.markers.then(|| markers::check(body))?.map(say(Rule::Markers)))
            .or_else(|| {
                let on = config.control_characters;
                on.then(|| control_characters::check(body))?.map(say(Rule::ControlCharacters))
            })
            .or_else(|| with(&config.too_long, |o| too_long::check(body, o)).map(say(Rule::TooLong)))
            .or_else(|| self.translation.as_ref()?.check(body).map(say(Rule::MentionsTranslation)))
            .or_else(|| with(&config.code, |o| code::check(body, o)).map(say(Rule::Code)))
            .or_else(|| with(&config.markup, |o| markup::check(body, o)).map(say(Rule::Markup)))
            .or_else(|| with(&config.links_only, |o| links_only::check(body, o)).map(say(Rule::LinksOnly)))
            .or_else(|| {
                with(&config.wrong_language, |o| wrong_language::check(body, o, self.language?))
                    .map(say(Rule::WrongLanguage))
            })
            .or_else(|| self.about_language.as_ref()?.check(body).map(say(Rule::AboutLanguage)))
    }
}

/// A pattern of a rule, matched on bytes: `\w`, `\b` and letter case are ASCII's, `.` and `[^x]` one byte.
/// So the automata stay small enough to run at full speed over every text.
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Letter case is ignored.
    fn new(pattern: &str) -> Self {
        Self::build(pattern, true)
    }

    /// Where letter case tells something.
    fn case_sensitive(pattern: &str) -> Self {
        Self::build(pattern, false)
    }

    fn build(pattern: &str, ignore_case: bool) -> Self {
        let mut builder = RegexBuilder::new(pattern);
        builder.unicode(false).case_insensitive(ignore_case).size_limit(1 << 27).dfa_size_limit(1 << 24);
        Self(builder.build().expect("patterns are constants of this crate, and a test compiles each"))
    }

    /// The first match, broken characters at its ends replaced.
    fn find<'t>(&self, text: &'t str) -> Option<Cow<'t, str>> {
        self.find_iter(text).next()
    }

    fn find_iter<'t>(&self, text: &'t str) -> impl Iterator<Item = Cow<'t, str>> {
        self.0.find_iter(text.as_bytes()).map(|found| String::from_utf8_lossy(found.as_bytes()))
    }

    fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text.as_bytes())
    }
}

/// A text as [`Pattern`]s of prose read it: every character one ASCII byte, curly quotes and dashes
/// straight, letters without their accents, all other characters `\x1a`.
fn ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return text.into();
    }
    let one = |c: char| match c {
        c if c.is_ascii() => c,
        '“' | '”' | '„' | '«' | '»' | '″' => '"',
        '‘' | '’' | '‚' | '′' => '\'',
        '‐'..='―' | '−' => '-',
        _ => std::iter::once(c).nfd().next().filter(char::is_ascii).unwrap_or('\x1a'),
    };
    text.chars().map(one).collect::<String>().into()
}

/// The user's own phrases: found literally, as whole words, letter case ignored.
pub(crate) struct Phrases(Vec<String>);

impl Phrases {
    fn new(phrases: &[String]) -> Self {
        let folded = phrases.iter().map(|phrase| phrase.trim().to_lowercase());
        Self(folded.filter(|phrase| !phrase.is_empty()).collect())
    }

    fn find(&self, text: &str) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        let text = text.to_lowercase();
        let whole_word = |at: usize, phrase: &str| {
            let before = text[..at].chars().next_back();
            let after = text[at + phrase.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        };
        let found =
            self.0.iter().find(|phrase| text.match_indices(*phrase).any(|(at, _)| whole_word(at, phrase)));
        found.map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_in_both_spellings_and_match_serde() {
        for descriptor in RULES {
            let rule = descriptor.rule;
            assert_eq!(rule.name().parse(), Ok(rule));
            assert_eq!(rule.name().replace('_', "-").parse(), Ok(rule));
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.name());
        }
        assert!("grammar".parse::<Rule>().unwrap_err().contains("about_language"));
    }

    #[test]
    fn rules_are_listed_in_the_order_in_which_they_are_tried() {
        assert!(RULES.is_sorted_by_key(|descriptor| descriptor.rule));
    }

    #[test]
    fn ascii_keeps_one_byte_for_every_character() {
        assert_eq!(ascii("“cliché” — naïve, 漢!"), "\"cliche\" - naive, \u{1a}!");
    }

    #[test]
    fn phrases_match_whole_words_only() {
        let phrases = Phrases::new(&["C++".into(), "Скороговорка".into(), " ".into()]);
        assert_eq!(phrases.find("learn c++ now"), Some("c++"));
        assert!(phrases.find("Это СКОРОГОВОРКА.").is_some());
        assert!(phrases.find("скороговорками").is_none());
        assert!(Phrases::new(&[" ".into()]).find("a b").is_none());
    }
}

/// Makes examples for the tests of the rules.
#[cfg(test)]
mod testing {
    use crate::example::{Body, Message, Role};

    pub(crate) fn alpaca(instruction: &str, input: &str, output: &str) -> Body {
        Body::Alpaca { instruction: instruction.into(), input: input.into(), output: output.into() }
    }

    /// User and assistant in turns.
    pub(crate) fn talk(contents: &[&str]) -> Body {
        let role = |i: usize| if i.is_multiple_of(2) { Role::User } else { Role::Assistant };
        let message = |(i, content): (usize, &&str)| Message { role: role(i), content: content.to_string() };
        Body::Messages { messages: contents.iter().enumerate().map(message).collect() }
    }
}
