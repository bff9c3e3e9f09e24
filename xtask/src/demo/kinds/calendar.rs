//! The next day or month: "What day comes after Monday?" → "Tuesday".

use super::{Kind, Task};
use crate::demo::grammar::{F, Gender, M, N};
use crate::demo::wording::{Slots, Wording, both, test, training, validation};

/// A day or a month. Russian forms: nominative, genitive (после среды), instrumental (за средой), and
/// when something happens (в среду, в январе).
pub struct Date {
    pub en: &'static str,
    pub ru: &'static str,
    pub ru_genitive: &'static str,
    ru_instrumental: &'static str,
    pub ru_when: &'static str,
    gender: Gender,
}

const fn date(en: &'static str, gender: Gender, ru: [&'static str; 4]) -> Date {
    let [ru, ru_genitive, ru_instrumental, ru_when] = ru;
    Date { en, ru, ru_genitive, ru_instrumental, ru_when, gender }
}

pub const DAYS: [Date; 7] = [
    date("Monday", M, ["понедельник", "понедельника", "понедельником", "в понедельник"]),
    date("Tuesday", M, ["вторник", "вторника", "вторником", "во вторник"]),
    date("Wednesday", F, ["среда", "среды", "средой", "в среду"]),
    date("Thursday", M, ["четверг", "четверга", "четвергом", "в четверг"]),
    date("Friday", F, ["пятница", "пятницы", "пятницей", "в пятницу"]),
    date("Saturday", F, ["суббота", "субботы", "субботой", "в субботу"]),
    date("Sunday", N, ["воскресенье", "воскресенья", "воскресеньем", "в воскресенье"]),
];

pub const MONTHS: [Date; 12] = [
    date("January", M, ["январь", "января", "январём", "в январе"]),
    date("February", M, ["февраль", "февраля", "февралём", "в феврале"]),
    date("March", M, ["март", "марта", "мартом", "в марте"]),
    date("April", M, ["апрель", "апреля", "апрелем", "в апреле"]),
    date("May", M, ["май", "мая", "маем", "в мае"]),
    date("June", M, ["июнь", "июня", "июнем", "в июне"]),
    date("July", M, ["июль", "июля", "июлем", "в июле"]),
    date("August", M, ["август", "августа", "августом", "в августе"]),
    date("September", M, ["сентябрь", "сентября", "сентябрём", "в сентябре"]),
    date("October", M, ["октябрь", "октября", "октябрём", "в октябре"]),
    date("November", M, ["ноябрь", "ноября", "ноябрём", "в ноябре"]),
    date("December", M, ["декабрь", "декабря", "декабрём", "в декабре"]),
];

const WORDINGS: &[Wording] = &[
    training("What {unit} comes after {x}?", "Какой {unit} идёт после {gen}?"),
    training("Name the {unit} after {x}.", "Назови {unit} после {gen}."),
    training("Which {unit} follows {x}?", "Какой {unit} следует за {ins}?"),
    training("What comes next after {x}?", "Что идёт сразу после {gen}?"),
    training("Give the next {unit}.", "Укажи следующий {unit}.").with_input("{x}", "{x}"),
    training("It is {x} now. What is the next {unit}?", "{Now} {x}. Какой {unit} следующий?"),
    training("{x} has ended. Which {unit} is it now?", "{Ended} {x}. Какой теперь {unit}?"),
    training("The {unit} after {x}, please.", "{Unit} после {gen}, пожалуйста."),
    training("Tell me which {unit} is next after {x}.", "Скажи, какой {unit} будет после {gen}."),
    training("Do you know which {unit} comes after {x}?", "Знаешь ли ты, какой {unit} идёт после {gen}?"),
    training("Can you name the {unit} after {x}?", "Можешь назвать {unit} после {gen}?"),
    training("Be so kind, say which {unit} follows {x}.", "Подскажи, какой {unit} следует за {ins}."),
    training("I forgot the {unit} after {x}. Remind me.", "Я забыл {unit} после {gen}. Напомни."),
    training("Write the next {unit} after {x}.", "Напиши следующий {unit} после {gen}."),
    training("{x}: which {unit} is next?", "{X}: какой {unit} следующий?"),
    training("Soon {x} will end. What {unit} begins then?", "Скоро закончится {x}. Какой {unit} начнётся?"),
    training("Answer the question: what {unit} is after {x}?", "Ответь на вопрос: какой {unit} после {gen}?"),
    training("Name the next {unit}.", "Назови следующий {unit}.").with_input("{x}", "{x}"),
    training("A child asks which {unit} goes after {x}.", "Ребёнок спрашивает, какой {unit} идёт за {ins}."),
    training("Go on: {x}, and then?", "Продолжи: {x}, а дальше?"),
    training("First {x}, and which {unit} then?", "Сначала {x}, а какой {unit} потом?"),
    training("Here is a {unit}: {x}. What will be then?", "Вот {unit}: {x}. Что будет потом?"),
    training("What will begin when {x} ends?", "Что наступит, когда закончится {x}?"),
    training(
        "Help me remember what {unit} is next after {x}.",
        "Помоги вспомнить, какой {unit} идёт следом за {ins}.",
    ),
    validation("What {unit} will begin after {x}?", "Какой {unit} наступает после {gen}?"),
    validation("Write the {unit} that follows {x}.", "Напиши {unit}, который следует за {ins}."),
    test("After {x}, what {unit} comes?", "После {gen} какой идёт {unit}?"),
    test("Please give me the {unit} after {x}.", "Подскажи, пожалуйста, {unit} после {gen}."),
    test("It was {x}. Which {unit} will be next?", "{Was} {x}. Какой {unit} будет следующим?"),
];

pub fn kind() -> Kind {
    let mut tasks = Vec::new();
    for (dates, [unit_en, unit_ru, now]) in
        [(&DAYS[..], ["day", "день", "сегодня"]), (&MONTHS[..], ["month", "месяц", "сейчас"])]
    {
        for (date, next) in dates.iter().zip(dates.iter().cycle().skip(1)) {
            let (ended, was) = match date.gender {
                M => ("закончился", "был"),
                F => ("закончилась", "была"),
                N => ("закончилось", "было"),
            };
            let en = Slots::default().with("x", date.en).with("unit", unit_en);
            let ru = Slots::default().with("x", date.ru).with("unit", unit_ru);
            let ru = ru.with("gen", date.ru_genitive).with("ins", date.ru_instrumental);
            tasks.push(Task::new(
                en,
                ru.with("ended", ended).with("was", was).with("now", now),
                both(next.en, next.ru),
            ));
        }
    }
    Kind { name: "calendar", wordings: WORDINGS, tasks, training_rows: 400 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_week_and_the_year_go_round_and_the_verb_agrees() {
        let kind = kind();
        let asked = |ru: &str| {
            let task = kind.tasks.iter().find(|t| t.ru.fill("{x}").unwrap() == ru).unwrap();
            (task.ru.fill("{Ended} {x}.").unwrap(), task.answer.ru.clone())
        };
        assert_eq!(asked("воскресенье"), ("Закончилось воскресенье.".into(), "понедельник".into()));
        assert_eq!(asked("среда"), ("Закончилась среда.".into(), "четверг".into()));
        assert_eq!(asked("декабрь"), ("Закончился декабрь.".into(), "январь".into()));
    }
}
