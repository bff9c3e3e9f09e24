//! Is a reply in the language asked for?

use std::collections::HashSet;
use tolmach_corpus::{Language, Script};

/// Share of a reply's letters that must be of the language's script: the rest leaves room for
/// names and terms (`Python`, `E = mc²`).
const MIN_SCRIPT_SHARE: f64 = 0.7;
/// Fewer letters than this are too few to guess a language from within one script.
const MIN_LETTERS: usize = 12;
/// Share of common words from which another language is believed.
const MIN_COMMON_SHARE: f64 = 0.15;
/// The same, and how many different words it takes, where the asked language's own common words are not
/// known and the two cannot be compared (`to`, `i`, `a` are Polish too).
const MIN_COMMON_SHARE_ALONE: f64 = 0.25;
const MIN_COMMON_WORDS_ALONE: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    InLanguage,
    Foreign,
    /// Nothing but digits and signs: right in any language. Left out of the share.
    Neutral,
}

/// Judge one reply.
///
/// 1. An empty reply is not in the language.
/// 2. A reply without letters (`42`, `3 + 4 = 7`) is [`Verdict::Neutral`].
/// 3. Fewer than 70 % of its letters in the language's script: foreign.
/// 4. From 12 letters on, and only where another language shares the script: foreign if whichlang names
///    another of its 16 languages and that language's commonest words bear it out: at least 15 % of the
///    words and more than those of the language asked for (at least 25 % and four different ones where
///    the commonest words of the language asked for are not known).
/// 5. Everything else is in the language; so a short reply is judged by its script alone, and
///    languages that whichlang cannot tell apart (Russian, Ukrainian, Bulgarian) count as one.
pub fn judge(reply: &str, language: &Language) -> Verdict {
    if reply.trim().is_empty() {
        return Verdict::Foreign;
    }
    let scripts: Vec<Script> = reply.chars().filter_map(Script::of).collect();
    if scripts.is_empty() {
        return Verdict::Neutral;
    }
    let own = scripts.iter().filter(|s| language.scripts.contains(s)).count();
    if (own as f64) < MIN_SCRIPT_SHARE * scripts.len() as f64 {
        return Verdict::Foreign;
    }
    if scripts.len() >= MIN_LETTERS && is_another(reply, language) {
        return Verdict::Foreign;
    }
    Verdict::InLanguage
}

fn is_another(reply: &str, language: &Language) -> bool {
    let Some(guess) = Language::detect(reply).filter(|guess| guess.code != language.code) else {
        return false;
    };
    let share = guess.common_share(reply);
    if language.common_words.is_empty() {
        return share >= MIN_COMMON_SHARE_ALONE && common_words(reply, guess) >= MIN_COMMON_WORDS_ALONE;
    }
    share >= MIN_COMMON_SHARE && share > language.common_share(reply)
}

/// How many different common words of a language a text has.
fn common_words(text: &str, language: &Language) -> usize {
    let text = text.to_lowercase();
    let words: HashSet<&str> = text.split(|c: char| !c.is_alphabetic()).collect();
    language.common_words.iter().filter(|word| words.contains(**word)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(code: &str, reply: &str) -> Verdict {
        judge(reply, Language::find(code).unwrap())
    }

    #[test]
    fn vigogne_13_replies_still_in_english_are_counted() {
        for (code, reply) in [
            ("ru", "Paris"),
            ("ru", "The capital of France is Paris."),
            ("fr", "The capital of France is Paris."),
            ("de", "I am sorry, but I cannot answer this question."),
            ("ru", "Столица of France is Париж"),
            ("pl", "It is the largest city in the world and it is also the capital."),
        ] {
            assert_eq!(judged(code, reply), Verdict::Foreign, "{code}: {reply}");
        }
    }

    #[test]
    fn replies_in_the_language_are_counted() {
        for (code, reply) in [
            ("ru", "Париж"),
            ("ru", "Язык Python создал Гвидо ван Россум в 1991 году."),
            ("ru", "Да."),
            ("fr", "La capitale de la France est Paris."),
            ("de", "Berlin"),
            ("de", "Die Hauptstadt von Frankreich ist Paris."),
            ("uk", "Столиця Франції — Париж."),
            ("pl", "To jest kot i pies, a to jest dom."),
            ("en", "The capital of France is Paris."),
            ("zh", "法国的首都是巴黎。"),
            ("ja", "フランスの首都はパリです。"),
        ] {
            assert_eq!(judged(code, reply), Verdict::InLanguage, "{code}: {reply}");
        }
    }

    #[test]
    fn digits_belong_to_no_language_and_silence_to_none_either() {
        assert_eq!(judged("ru", "42"), Verdict::Neutral);
        assert_eq!(judged("ru", "3 + 4 = 7!"), Verdict::Neutral);
        assert_eq!(judged("ru", " \n"), Verdict::Foreign);
        assert_eq!(judged("en", "Привет"), Verdict::Foreign);
    }
}
