//! Exercises in translation: translated, they ask to turn the target language into itself.

use super::{Pattern, Phrases, Rule, RuleDescriptor, ascii};
use crate::example::{Body, FieldName};
use crate::language::{LANGUAGES, Language};
use crate::text::excerpt;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

pub(super) const DESCRIPTOR: RuleDescriptor = RuleDescriptor {
    rule: Rule::MentionsTranslation,
    drops: "a prompt that asks for a translation or for words of another language (English prompts; \
            phrases of your own for other languages)",
    defaults: "{ phrases = [] }",
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// More phrases that drop an example when a prompt holds them, in any language.
    pub phrases: Vec<String>,
}

/// The options made ready for a whole data set.
pub(crate) struct Matcher {
    english: bool,
    phrases: Phrases,
}

static TRANSLATE: LazyLock<Pattern> =
    LazyLock::new(|| Pattern::new(r"\b(?:mis)?translat(?:e|es|ed|ing|ion|ions|or|ors)\b"));

/// Other things that are translated: genes, shapes, ideas.
static OTHER_SENSE: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(
        r"\b(?:m?RNA|DNA|ribosom|codon|protein|genetic|polypeptide)|translation (?:matrix|vector|of the (?:graph|figure|shape|triangle))|\btranslat\w+ (?:\w+ ){0,3}into (?:action|practice|reality|success|sales|results|profit)",
    )
});

/// Names of languages but English, as one alternation.
static NAMES: LazyLock<String> = LazyLock::new(|| {
    let names = LANGUAGES.iter().map(|language| language.name).filter(|&name| name != "English");
    let more = [
        "Mandarin",
        "Cantonese",
        "Farsi",
        "Gaelic",
        "Irish",
        "Welsh",
        "Klingon",
        "Esperanto",
        "Sanskrit",
        "Hawaiian",
    ];
    names.chain(more).collect::<Vec<_>>().join("|")
});

/// "in French" where it ends the thought: "in French cuisine" is about something else.
static IN_LANGUAGE: LazyLock<Pattern> = LazyLock::new(|| {
    let names = &*NAMES;
    Pattern::new(&format!(
        r#"\b(?:in|into|to|from)\s+(?-i:{names})\s*(?:$|["'.,;:?!)\n]|(?:language|that|to|and|into|introducing|using|with|for|is|means?|meaning|word|phrase)\b)|\b(?-i:{names})\s+(?:translations?|equivalents?|words?|phrases?|sentences?|expressions?|alphabet|vocabulary|grammar|idioms?|version of|verbs?|nouns?|pronunciation|for ["'])"#
    ))
});

/// An answer that says it is a translation.
static ANSWER: LazyLock<Pattern> = LazyLock::new(|| {
    let names = &*NAMES;
    Pattern::new(&format!(
        r#"\btranslat(?:es|ed) (?:to|as|into|from) (?-i:["'A-Z])|\b(?-i:{names}) (?:translation|word|equivalent) (?:of|for) |\b(?:is|means?) ["'][^"'\n]{{1,60}}["'] in (?-i:{names})\b"#
    ))
});

impl Matcher {
    pub(super) fn new(options: &Options, language: Option<&Language>) -> Self {
        let english = language.is_some_and(|language| language.code == "en");
        Self { english, phrases: Phrases::new(&options.phrases) }
    }

    pub(super) fn check(&self, body: &Body) -> Option<String> {
        body.fields().find_map(|(name, text)| {
            let own = (!name.is_answer()).then(|| self.phrases.find(text)).flatten();
            if let Some(phrase) = own {
                return Some(format!("{name}: `{phrase}`"));
            }
            let sign = if self.english { english(name, &ascii(text), body)? } else { return None };
            Some(format!("{name}: `{}`", excerpt(sign.trim(), 40)))
        })
    }
}

fn english(name: FieldName, text: &str, body: &Body) -> Option<String> {
    let found = match name {
        FieldName::Text => None,
        FieldName::Input => ANSWER.find(text),
        _ if name.is_answer() => ANSWER.find(text),
        _ => TRANSLATE.find(text).or_else(|| IN_LANGUAGE.find(text)),
    }?;
    let other_sense = body.fields().any(|(_, text)| OTHER_SENSE.is_match(text));
    (!other_sense).then(|| found.into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{alpaca, talk};
    use super::*;

    fn found(language: &str, phrases: &[&str], body: &Body) -> Option<String> {
        let options = Options { phrases: phrases.iter().map(ToString::to_string).collect() };
        Matcher::new(&options, Language::find(language)).check(body)
    }

    #[test]
    fn prompts_that_ask_for_translation() {
        for prompt in [
            "Translate the phrase into Spanish.",
            "What is the English translation of 'Bonjour'?",
            "Say hello in French",
            "How do you say 'cat' in Japanese?",
            "Find a word in French that means \"beautiful\".",
            "Convert this article from English to Spanish.",
            "Name the days of the week in Spanish.",
            "What is the Chinese equivalent of \"Hello\"?",
        ] {
            assert!(found("en", &[], &alpaca(prompt, "", "Something.")).is_some(), "{prompt}");
            assert!(found("en", &[], &talk(&[prompt, "Something."])).is_some(), "{prompt}");
        }
        let answer = alpaca("What does bonjour mean?", "", "Bonjour translates to \"hello\".");
        assert!(found("en", &[], &answer).unwrap().starts_with("output"));
    }

    #[test]
    fn other_senses_and_other_mentions_stay() {
        for (prompt, answer) in [
            ("Describe how the genetic code is translated.", "Ribosomes read the mRNA."),
            ("List five spices used in Chinese cuisine.", "Ginger, garlic."),
            ("Describe a holiday in Spanish villages.", "Sunny."),
            ("How can ideas be translated into action?", "By planning."),
            ("Name uses of artificial intelligence.", "Image recognition, machine translation."),
        ] {
            assert_eq!(found("en", &[], &alpaca(prompt, "", answer)), None, "{prompt}");
        }
    }

    #[test]
    fn other_source_languages_use_their_own_phrases() {
        let body = alpaca("Переведи на английский.", "", "Hello.");
        assert_eq!(found("ru", &[], &body), None);
        assert!(found("ru", &["переведи на"], &body).is_some());
    }
}
