//! Both languages side by side, for the base model's pretraining: a large base model has met parallel
//! texts, and knows which words mean the same, long before it is taught to answer in a language. What
//! stands here are words and plain sentences; what the capital of a country is, or the opposite of a
//! word, is said nowhere.

use super::grammar::NUMBERS;
use super::kinds::calendar::{DAYS, MONTHS};
use super::kinds::capitals::COUNTRIES;
use super::kinds::colours::THINGS as COLOURED;
use super::kinds::groups::GROUPS;
use super::kinds::opposites::PAIRS;
use super::random::Stream;
use super::wording::{Bilingual, both};
use super::words::{ACTORS, COLOURS, PROPERTIES, THINGS, VERBS};
use std::collections::HashSet;

/// "The cat slept. — Кошка спала." or the other way round.
pub fn line(pair: &Bilingual, stream: &mut Stream) -> String {
    let Bilingual { en, ru } = pair;
    if stream.below(2) == 0 { format!("{en} — {ru}") } else { format!("{ru} — {en}") }
}

/// "dog — собака" and "собака — dog" for each word of the tasks.
pub fn dictionary() -> Vec<String> {
    let mut seen = HashSet::new();
    let words = words().into_iter().filter(|word| seen.insert(word.clone()));
    words.flat_map(|Bilingual { en, ru }| [format!("{en} — {ru}"), format!("{ru} — {en}")]).collect()
}

fn words() -> Vec<Bilingual> {
    /// What tasks are about.
    const TASK_WORDS: &[(&str, &str)] = &[
        ("capital", "столица"),
        ("country", "страна"),
        ("city", "город"),
        ("colour", "цвет"),
        ("group", "группа"),
        ("opposite", "противоположность"),
        ("the other way round", "наоборот"),
        ("day", "день"),
        ("month", "месяц"),
        ("number", "число"),
        ("sentence", "предложение"),
        ("word", "слово"),
        ("question", "вопрос"),
        ("next", "следующий"),
        ("please", "пожалуйста"),
        ("what", "что"),
        ("which", "какой"),
        ("after", "после"),
        ("from", "от"),
        ("to", "до"),
    ];
    let mut words: Vec<Bilingual> = TASK_WORDS.iter().map(|&(en, ru)| both(en, ru)).collect();
    for country in COUNTRIES {
        words.push(both(country.en, country.ru));
        words.push(both(format!("of {}", country.en), country.ru_genitive));
        words.push(both(country.capital_en, country.capital_ru));
    }
    for (group, members) in GROUPS {
        words.push(both(group.0, group.1));
        words.extend(members.iter().map(|&(en, ru)| both(en, ru)));
    }
    for &(en, ru, ru_genitive, ..) in COLOURED {
        words.push(both(en, ru));
        words.push(both(format!("of {en}"), ru_genitive));
    }
    words.extend(PAIRS.iter().flatten().map(|&(en, ru)| both(en, ru)));
    for date in DAYS.iter().chain(&MONTHS) {
        words.push(both(date.en, date.ru));
        words.push(both(format!("after {}", date.en), format!("после {}", date.ru_genitive)));
    }
    words.extend(NUMBERS.iter().map(|n| both(n.en, n.ru)));
    words.extend(ACTORS.iter().chain(THINGS).map(|noun| both(noun.en, noun.ru)));
    words.extend(PROPERTIES.iter().chain(COLOURS).map(|a| both(a.en, a.ru)));
    words.extend(VERBS.iter().flat_map(|v| [both(v.en, v.ru), both(v.en_present, v.ru_present)]));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_has_each_word_once_in_each_direction() {
        let lines = dictionary();
        assert!(lines.len() > 600, "{}", lines.len());
        assert_eq!(lines.iter().collect::<HashSet<_>>().len(), lines.len());
        assert!(lines.contains(&"dog — собака".to_string()) && lines.contains(&"собака — dog".to_string()));
    }

    /// Both sides of a line name one thing: no line joins a country and its capital, or two opposites.
    #[test]
    fn no_line_tells_an_answer() {
        let lines = dictionary();
        for &[a, b] in PAIRS {
            for opposites in [[a.0, b.0], [a.1, b.1], [a.0, b.1], [a.1, b.0]] {
                let [first, second] = opposites;
                let told = [format!("{first} — {second}"), format!("{second} — {first}")];
                assert!(!told.iter().any(|line| lines.contains(line)), "{opposites:?}");
            }
        }
        for country in COUNTRIES {
            for (a, b) in [(country.en, country.capital_en), (country.ru, country.capital_ru)] {
                let telling = lines.iter().find(|line| line.contains(a) && line.contains(b));
                assert_eq!(telling, None, "{a} and {b}");
            }
        }
    }
}
