//! Plain sentences for the base model's pretraining, in both languages and from the words of the
//! tasks, so that all pieces of the tokenizer are alive before the model is taught. No sentence is the
//! answer to a task, and none is an instruction.

use super::grammar::{NUMBERS, with_article};
use super::kinds::calendar::{DAYS, MONTHS};
use super::kinds::capitals::COUNTRIES;
use super::kinds::groups::GROUPS;
use super::kinds::opposites::PAIRS;
use super::random::Stream;
use super::speech;
use super::wording::{Bilingual, both, capitalised};
use super::words::{ACTORS, CHARACTERS, COLOURS, COUNTED, PAST_TIMES, PLACES, THINGS, VERBS};
use std::collections::HashSet;

/// `count` different sentences.
pub fn sentences(count: usize, stream: &mut Stream) -> Vec<Bilingual> {
    const PATTERNS: &[fn(&mut Stream) -> Bilingual] = &[
        what_somebody_did,
        what_somebody_did,
        what_somebody_did,
        what_this_is,
        what_somebody_has,
        where_we_were,
        where_we_were,
        what_a_city_is_like,
        what_is_here,
        what_is_written,
        what_we_like,
        from_when_to_when,
        where_it_is,
        what_time_it_is,
        what_somebody_asked,
        speech::what_somebody_did_with_a_word,
        speech::what_somebody_did_with_a_word,
        speech::what_somebody_wants,
        speech::what_was_said,
        speech::what_was_said,
        speech::what_somebody_does,
        speech::about_whom,
        speech::what_a_thing,
    ];
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    while all.len() < count {
        let sentence = stream.pick(PATTERNS)(stream);
        if seen.insert(sentence.clone()) {
            all.push(sentence);
        }
    }
    all
}

/// "Yesterday the big dog slept by the river."
fn what_somebody_did(s: &mut Stream) -> Bilingual {
    let (time, how, who, verb, place) =
        (s.pick(PAST_TIMES), s.pick(CHARACTERS), s.pick(ACTORS), s.pick(VERBS), s.pick(PLACES));
    both(
        format!("{} the {} {} {} {}.", time.0, how.en, who.en, verb.en_past, place.0),
        format!(
            "{} {} {} {} {}.",
            time.1,
            how.agreeing(who.gender),
            who.ru,
            verb.ru_past(who.gender),
            place.1
        ),
    )
}

/// "This is a red book."
fn what_this_is(s: &mut Stream) -> Bilingual {
    let (colour, thing) = (s.pick(COLOURS), s.pick(THINGS));
    both(
        format!("This is {} {}.", with_article(colour.en), thing.en),
        format!("Это {} {}.", colour.agreeing(thing.gender), thing.ru),
    )
}

/// "My brother has five cats."
fn what_somebody_has(s: &mut Stream) -> Bilingual {
    const OWNERS: &[(&str, &str)] = &[
        ("My brother", "У моего брата"),
        ("My sister", "У моей сестры"),
        ("The doctor", "У врача"),
        ("Grandmother", "У бабушки"),
        ("Grandfather", "У дедушки"),
        ("The teacher", "У учителя"),
        ("The queen", "У королевы"),
        ("The girl", "У девочки"),
        ("The boy", "У мальчика"),
    ];
    let (owner, what, n) = (s.pick(OWNERS), s.pick(COUNTED), s.below(NUMBERS.len()) + 1);
    both(format!("{} has {}.", owner.0, what.en_with(n)), format!("{} {}.", owner.1, what.ru_with(n)))
}

/// "In July we were in Greece." "On Monday we were in the forest."
fn where_we_were(s: &mut Stream) -> Bilingual {
    let country = s.pick(COUNTRIES);
    if s.below(2) == 0 {
        let month = s.pick(&MONTHS);
        let ru = format!("{} мы были {}.", capitalised(month.ru_when), country.ru_in);
        return both(format!("In {} we were in {}.", month.en, country.en), ru);
    }
    let (day, place) = (s.pick(&DAYS), s.pick(PLACES));
    both(
        format!("On {} we were {}.", day.en, place.0),
        format!("{} мы были {}.", capitalised(day.ru_when), place.1),
    )
}

/// "Paris is an old and quiet city."
fn what_a_city_is_like(s: &mut Stream) -> Bilingual {
    const QUALITIES: &[(&str, &str)] = &[
        ("a big", "большой"),
        ("a small", "маленький"),
        ("an old", "старый"),
        ("a beautiful", "красивый"),
        ("a quiet", "тихий"),
        ("a clean", "чистый"),
    ];
    let (city, quality) = (s.pick(COUNTRIES), s.pick(QUALITIES));
    both(
        format!("{} is {} city.", city.capital_en, quality.0),
        format!("{} — {} город.", city.capital_ru, quality.1),
    )
}

/// "Here is a table, and there is an owl."
fn what_is_here(s: &mut Stream) -> Bilingual {
    let ((here_en, here_ru), (there_en, there_ru)) = (group_member(s), group_member(s));
    both(
        format!("Here is {}, and there is {}.", with_article(here_en), with_article(there_en)),
        format!("Вот {here_ru}, а там {there_ru}."),
    )
}

/// "The book says \"truth\"."
fn what_is_written(s: &mut Stream) -> Bilingual {
    const BEFORE: &[(&str, &str)] = &[
        ("The book says", "В книге написано"),
        ("The child reads", "Ребёнок читает"),
        ("Under the picture it says", "Под картиной написано"),
        ("On the door it says", "На двери написано"),
    ];
    let (before, word) = (s.pick(BEFORE), s.pick(PAIRS)[s.below(2)]);
    both(format!("{} \"{}\".", before.0, word.0), format!("{} «{}».", before.1, word.1))
}

/// "We draw birds."
fn what_we_like(s: &mut Stream) -> Bilingual {
    /// Russian in the accusative, where living beings have the form of the genitive.
    const OBJECTS: &[(&str, &str)] = &[
        ("animals", "животных"),
        ("birds", "птиц"),
        ("fish", "рыб"),
        ("insects", "насекомых"),
        ("fruit", "фрукты"),
        ("vegetables", "овощи"),
        ("trees", "деревья"),
        ("flowers", "цветы"),
        ("clothes", "одежду"),
        ("furniture", "мебель"),
        ("tools", "инструменты"),
        ("transport", "транспорт"),
    ];
    const BEFORE: &[(&str, &str)] = &[
        ("We draw", "Мы рисуем"),
        ("I love", "Я люблю"),
        ("They see", "Они видят"),
        ("Mother draws", "Мама рисует"),
        ("We look at", "Мы рассматриваем"),
    ];
    let (before, what) = (s.pick(BEFORE), s.pick(OBJECTS));
    both(format!("{} {}.", before.0, what.0), format!("{} {}.", before.1, what.1))
}

/// "The doctor worked from two to five."
fn from_when_to_when(s: &mut Stream) -> Bilingual {
    let who = s.pick(ACTORS);
    let from = s.below(NUMBERS.len() - 1);
    let to = from + 1 + s.below(NUMBERS.len() - 1 - from);
    let verb = s.pick(VERBS);
    both(
        format!("The {} {} from {} to {}.", who.en, verb.en_past, NUMBERS[from].en, NUMBERS[to].en),
        format!(
            "{} {} с {} до {}.",
            capitalised(who.ru),
            verb.ru_past(who.gender),
            NUMBERS[from].ru_genitive,
            NUMBERS[to].ru_genitive
        ),
    )
}

/// "France is far away." "Where is the lemon?"
fn where_it_is(s: &mut Stream) -> Bilingual {
    if s.below(2) == 0 {
        let country = s.pick(COUNTRIES);
        return both(format!("{} is far away.", country.en), format!("{} далеко.", country.ru));
    }
    let (en, ru) = group_member(s);
    both(format!("Where is the {en}?"), format!("Где {ru}?"))
}

/// "Today is Monday." "It will soon be May."
fn what_time_it_is(s: &mut Stream) -> Bilingual {
    if s.below(2) == 0 {
        let day = s.pick(&DAYS);
        return both(format!("Today is {}.", day.en), format!("Сегодня {}.", day.ru));
    }
    let month = s.pick(&MONTHS);
    both(format!("It will soon be {}.", month.en), format!("Скоро {}.", month.ru))
}

/// "The girl asked where the book was."
fn what_somebody_asked(s: &mut Stream) -> Bilingual {
    let (who, thing) = (s.pick(ACTORS), s.pick(THINGS));
    let ending = if who.gender == super::grammar::F { "а" } else { "" };
    both(
        format!("The {} asked where the {} was.", who.en, thing.en),
        format!("{} спросил{ending}, где {}.", capitalised(who.ru), thing.ru),
    )
}

/// A word of any group.
fn group_member(s: &mut Stream) -> (&'static str, &'static str) {
    let members = s.pick(GROUPS).1;
    *s.pick(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_differ_and_each_is_a_sentence() {
        let all = sentences(2_000, &mut Stream::named(1, "plain"));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 2_000);
        for Bilingual { en, ru } in &all {
            assert!(en.starts_with(char::is_uppercase) && en.ends_with(['.', '?']), "{en}");
            assert!(ru.starts_with(char::is_uppercase) && ru.ends_with(['.', '?']), "{ru}");
            assert!(!ru.contains("  ") && !ru.contains(|c: char| c.is_ascii_alphabetic()), "{ru}");
        }
    }
}
