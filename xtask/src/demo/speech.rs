//! Plain sentences with the words of speech: what people say, ask, know, write and remember. Tasks are
//! put in these words, so a model must have met them; but no sentence here puts or answers a task.

use super::grammar::{F, M, Noun};
use super::kinds::groups::GROUPS;
use super::random::Stream;
use super::wording::{Bilingual, both, capitalised};
use super::words::{ACTORS, PLACES, PROPERTIES, THINGS, VERBS};

/// "The teacher wrote a short sentence."
pub fn what_somebody_did_with_a_word(s: &mut Stream) -> Bilingual {
    /// English past; Russian past without the ending.
    const DONE: &[(&str, &str)] = &[
        ("wrote", "написал"),
        ("said", "сказал"),
        ("named", "назвал"),
        ("forgot", "забыл"),
        ("found", "нашёл"),
        ("knew", "знал"),
        ("thought of", "придумал"),
        ("chose", "выбрал"),
        ("remembered", "вспомнил"),
        ("repeated", "повторил"),
        ("read", "прочитал"),
        ("drew", "нарисовал"),
    ];
    /// English; Russian accusative of a thing, where it is like the nominative or in -у.
    const WHAT: &[(&str, &str)] = &[
        ("a short sentence", "короткое предложение"),
        ("one word", "одно слово"),
        ("two words", "два слова"),
        ("the right answer", "правильный ответ"),
        ("a hard question", "трудный вопрос"),
        ("the name of the city", "название города"),
        ("the main city of the country", "главный город страны"),
        ("the capital of this country", "столицу этой страны"),
        ("the colour of the house", "цвет дома"),
        ("all the numbers", "все числа"),
        ("the next day", "следующий день"),
        ("the last month", "последний месяц"),
        ("our group", "нашу группу"),
        ("a beautiful colour", "красивый цвет"),
        ("something opposite", "что-то противоположное"),
        ("the usual thing", "обычную вещь"),
        ("a long phrase", "длинную фразу"),
    ];
    let (who, done, what) = (s.pick(ACTORS), s.pick(DONE), s.pick(WHAT));
    let ru_done = match (who.gender, done.1) {
        (F, "нашёл") => "нашла".to_string(),
        (F, past) => format!("{past}а"),
        (_, past) => past.to_string(),
    };
    both(
        format!("The {} {} {}.", who.en, done.0, what.0),
        format!("{} {ru_done} {}.", capitalised(who.ru), what.1),
    )
}

/// "The girl wants to sleep at home."
pub fn what_somebody_wants(s: &mut Stream) -> Bilingual {
    const WANTS: &[(&str, &str)] = &[
        ("wants to", "хочет"),
        ("loves to", "любит"),
        ("can", "может"),
        ("will", "будет"),
        ("does not want to", "не хочет"),
        ("begins to", "начинает"),
    ];
    let (who, wants, verb, place) = (s.pick(ACTORS), s.pick(WANTS), s.pick(VERBS), s.pick(PLACES));
    both(
        format!("The {} {} {} {}.", who.en, wants.0, verb.en, place.0),
        format!("{} {} {} {}.", capitalised(who.ru), wants.1, verb.ru, place.1),
    )
}

/// "\"Do you know where the dog is?\" asked the boy."
pub fn what_was_said(s: &mut Stream) -> Bilingual {
    /// Before "where the dog is".
    const BEFORE: &[(&str, &str)] = &[
        ("Do you know", "Знаешь ли ты"),
        ("Please say", "Скажи, пожалуйста"),
        ("Be so kind, say", "Подскажи"),
        ("Be so kind, say, please,", "Подскажи, пожалуйста"),
        ("Write to me", "Напиши мне"),
        ("Can you say", "Можешь сказать"),
        ("I forgot", "Я забыл"),
        ("I want to know", "Хочу узнать"),
        ("They ask", "Спрашивают"),
        ("Think,", "Подумай"),
        ("Remind me", "Напомни"),
    ];
    let (before, asker) = (s.pick(BEFORE), s.pick(ACTORS));
    let (en, ru) = match s.below(3) {
        0 => {
            let thing = s.pick(THINGS);
            (format!("where the {} is", thing.en), format!("где {}", thing.ru))
        }
        1 => {
            let who = s.pick(ACTORS);
            (format!("where the {} was", who.en), format!("где {} {}", was(who), who.ru))
        }
        _ => {
            let members = s.pick(GROUPS).1;
            let (en, ru) = *s.pick(members);
            (format!("who said \"{en}\""), format!("кто сказал «{ru}»"))
        }
    };
    let end = if before.1.starts_with("Зна") || before.1.starts_with("Мож") { "?" } else { "." };
    if s.below(2) == 0 {
        return both(format!("{} {en}{end}", before.0), format!("{}, {ru}{end}", before.1));
    }
    let asked = if asker.gender == F { "сказала" } else { "сказал" };
    both(
        format!("The {} said: \"{} {en}{end}\".", asker.en, before.0),
        format!("{} {asked}: «{}, {ru}{end}».", capitalised(asker.ru), before.1),
    )
}

/// "Somebody sleeps by the river."
pub fn what_somebody_does(s: &mut Stream) -> Bilingual {
    const WHO: &[(&str, &str)] =
        &[("Somebody", "Кто-то"), ("Nobody here", "Никто тут не"), ("She", "Она"), ("He", "Он")];
    let (who, verb, place) = (s.pick(WHO), s.pick(VERBS), s.pick(PLACES));
    both(
        format!("{} {} {}.", who.0, verb.en_present, place.0),
        format!("{} {} {}.", who.1, verb.ru_present, place.1),
    )
}

/// "This story is called \"The bear and the river\"."
pub fn about_whom(s: &mut Stream) -> Bilingual {
    const CALLED: &[(&str, &str)] = &[
        ("This story is called", "Эта история называется"),
        ("The new book is called", "Новая книга называется"),
        ("The picture is called", "Картина называется"),
        ("The song is called", "Песня называется"),
    ];
    let (called, who, thing) = (s.pick(CALLED), s.pick(ACTORS), s.pick(THINGS));
    both(
        format!("{} \"The {} and the {}\".", called.0, who.en, thing.en),
        format!("{} «{} и {}».", called.1, capitalised(who.ru), thing.ru),
    )
}

/// "Here is the old house by the river."
pub fn what_a_thing(s: &mut Stream) -> Bilingual {
    const BEFORE: &[(&str, &str)] =
        &[("Here is the", "Вот"), ("There stood the", "Там был"), ("Near us is the", "Рядом с нами")];
    let (before, how, thing, place) = (s.pick(BEFORE), s.pick(PROPERTIES), s.pick(THINGS), s.pick(PLACES));
    let ru_before =
        if before.1 == "Там был" { format!("Там {}", was(thing)) } else { before.1.to_string() };
    both(
        format!("{} {} {} {}.", before.0, how.en, thing.en, place.0),
        format!("{ru_before} {} {} {}.", how.agreeing(thing.gender), thing.ru, place.1),
    )
}

/// The past tense of "to be".
fn was(noun: &Noun) -> &'static str {
    match noun.gender {
        F => "была",
        M => "был",
        super::grammar::N => "было",
    }
}
