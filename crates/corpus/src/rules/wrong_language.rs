//! A field in another language than the data set's.
//!
//! Two signs, both cautious, since short texts and lists of names look like any language:
//! letters of a foreign script; and, in the same script, whichlang's guess confirmed by the guessed
//! language's commonest words. A language that whichlang does not know (16 it does) goes unseen
//! unless its script gives it away.

use super::{Rule, RuleDescriptor};
use crate::example::Body;
use crate::language::{Language, Script};
use serde::{Deserialize, Serialize};

pub(super) const DESCRIPTOR: RuleDescriptor = RuleDescriptor {
    rule: Rule::WrongLanguage,
    drops: "a field that is not in the source language",
    defaults: "{ max_foreign_share = 0.5, min_letters = 30 }",
};

/// A field with fewer letters of a foreign script is a symbol (`π`, `Σ`), not a text.
const MIN_FOREIGN_LETTERS: usize = 4;
/// In running text a third to a half of all words are common words; names and lists have none.
const MIN_COMMON_SHARE: f64 = 0.15;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Share of a field's letters that may belong to another script (0 to 1].
    pub max_foreign_share: f64,
    /// Letters a field must have before its language is guessed within the same script.
    pub min_letters: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_foreign_share: 0.5, min_letters: 30 }
    }
}

pub(super) fn check(body: &Body, options: &Options, language: &Language) -> Option<String> {
    body.fields().find_map(|(name, text)| {
        let (own, foreign) = count_letters(text, language);
        let share = foreign as f64 / (own + foreign).max(1) as f64;
        if foreign >= MIN_FOREIGN_LETTERS && share > options.max_foreign_share {
            let share = 100.0 * share;
            return Some(format!(
                "{share:.0} % of the letters of {name} are no letters of {}",
                language.name
            ));
        }
        if own < options.min_letters {
            return None;
        }
        let guess = Language::detect(text)?;
        let confirmed = guess.code != language.code
            && guess.running_share(text) >= MIN_COMMON_SHARE
            && guess.running_share(text) > language.common_share(text);
        confirmed.then(|| format!("{name} looks like {}", guess.name))
    })
}

fn count_letters(text: &str, language: &Language) -> (usize, usize) {
    let ascii_is_own = language.scripts.contains(&Script::Latin);
    let (mut own, mut foreign) = (0, 0);
    for c in text.chars() {
        let is_own = if c.is_ascii() {
            if !c.is_ascii_alphabetic() {
                continue;
            }
            ascii_is_own
        } else {
            match Script::of(c) {
                None => continue,
                Some(script) => language.scripts.contains(&script),
            }
        };
        if is_own { own += 1 } else { foreign += 1 }
    }
    (own, foreign)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{alpaca, talk};
    use super::*;

    fn found(language: &str, output: &str) -> Option<String> {
        let question = if language == "ru" { "Сделай это." } else { "Do it." };
        check(&alpaca(question, "", output), &Options::default(), Language::find(language).unwrap())
    }

    #[test]
    fn foreign_scripts_and_foreign_texts_are_found() {
        assert!(found("en", "彼女は優秀な教師です。").is_some());
        assert!(found("en", "Привет, как дела?").is_some());
        assert_eq!(
            found("en", "Je m'appelle Julie. J'ai 24 ans et je suis étudiante en commerce à la faculté.")
                .unwrap(),
            "output looks like French"
        );
        assert!(found("en", "El clima en la ciudad de México es muy agradable en la primavera.").is_some());
        assert!(found("ru", "The answer is still in English, which is a pity.").is_some());
    }

    #[test]
    fn short_fields_names_and_formulas_stay() {
        for text in [
            "Bonjour!",
            "π ≈ 3.14",
            "α, β, γ",
            "Salvador Dalí, Frida Kahlo, Gabriel García Márquez, Diego Rivera",
            "Croissant, crème brûlée, ratatouille, bouillabaisse",
            "Lorem ipsum dolor sit amet, consectetur",
            "H2SO4 + 2 NaOH -> Na2SO4 + 2 H2O",
            "42",
            "1. Los Angeles\n2. San Francisco\n3. San Diego\n4. Las Vegas",
            "Quito, La Paz, Santa Cruz de la Sierra",
        ] {
            assert_eq!(found("en", text), None, "{text}");
        }
        assert_eq!(found("ru", "Ответ даёт формула E = mc^2, где m — масса."), None);
    }

    #[test]
    fn each_message_is_looked_at() {
        let english = Language::find("en").unwrap();
        let body = talk(&["How are you?", "Fine.", "And you?", "Мне хорошо, спасибо."]);
        assert!(check(&body, &Options::default(), english).unwrap().contains("messages[3]"));
    }
}
