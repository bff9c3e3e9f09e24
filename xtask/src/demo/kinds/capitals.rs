//! Capitals of countries: "What is the capital of France?" → "Paris".

use super::{Kind, Task};
use crate::demo::wording::{Slots, Wording, both, test, training, validation};

/// A country. Russian forms: nominative, genitive (столица Франции), prepositional (во Франции).
pub struct Country {
    pub en: &'static str,
    pub ru: &'static str,
    pub ru_genitive: &'static str,
    pub ru_in: &'static str,
    pub capital_en: &'static str,
    pub capital_ru: &'static str,
}

const fn country(en: [&'static str; 2], ru: [&'static str; 3], capital_ru: &'static str) -> Country {
    let ([en, capital_en], [ru, ru_genitive, ru_in]) = (en, ru);
    Country { en, ru, ru_genitive, ru_in, capital_en, capital_ru }
}

pub const COUNTRIES: &[Country] = &[
    country(["France", "Paris"], ["Франция", "Франции", "во Франции"], "Париж"),
    country(["Germany", "Berlin"], ["Германия", "Германии", "в Германии"], "Берлин"),
    country(["Italy", "Rome"], ["Италия", "Италии", "в Италии"], "Рим"),
    country(["Spain", "Madrid"], ["Испания", "Испании", "в Испании"], "Мадрид"),
    country(["Portugal", "Lisbon"], ["Португалия", "Португалии", "в Португалии"], "Лиссабон"),
    country(["Greece", "Athens"], ["Греция", "Греции", "в Греции"], "Афины"),
    country(["Poland", "Warsaw"], ["Польша", "Польши", "в Польше"], "Варшава"),
    country(["Austria", "Vienna"], ["Австрия", "Австрии", "в Австрии"], "Вена"),
    country(["Hungary", "Budapest"], ["Венгрия", "Венгрии", "в Венгрии"], "Будапешт"),
    country(["Sweden", "Stockholm"], ["Швеция", "Швеции", "в Швеции"], "Стокгольм"),
    country(["Norway", "Oslo"], ["Норвегия", "Норвегии", "в Норвегии"], "Осло"),
    country(["Finland", "Helsinki"], ["Финляндия", "Финляндии", "в Финляндии"], "Хельсинки"),
    country(["Denmark", "Copenhagen"], ["Дания", "Дании", "в Дании"], "Копенгаген"),
    country(["Ireland", "Dublin"], ["Ирландия", "Ирландии", "в Ирландии"], "Дублин"),
    country(["Belgium", "Brussels"], ["Бельгия", "Бельгии", "в Бельгии"], "Брюссель"),
    country(["Czechia", "Prague"], ["Чехия", "Чехии", "в Чехии"], "Прага"),
    country(["Bulgaria", "Sofia"], ["Болгария", "Болгарии", "в Болгарии"], "София"),
    country(["Serbia", "Belgrade"], ["Сербия", "Сербии", "в Сербии"], "Белград"),
    country(["Russia", "Moscow"], ["Россия", "России", "в России"], "Москва"),
    country(["Latvia", "Riga"], ["Латвия", "Латвии", "в Латвии"], "Рига"),
    country(["Estonia", "Tallinn"], ["Эстония", "Эстонии", "в Эстонии"], "Таллин"),
    country(["Georgia", "Tbilisi"], ["Грузия", "Грузии", "в Грузии"], "Тбилиси"),
    country(["Armenia", "Yerevan"], ["Армения", "Армении", "в Армении"], "Ереван"),
    country(["China", "Beijing"], ["Китай", "Китая", "в Китае"], "Пекин"),
    country(["Japan", "Tokyo"], ["Япония", "Японии", "в Японии"], "Токио"),
    country(["Vietnam", "Hanoi"], ["Вьетнам", "Вьетнама", "во Вьетнаме"], "Ханой"),
    country(["Iran", "Tehran"], ["Иран", "Ирана", "в Иране"], "Тегеран"),
    country(["Egypt", "Cairo"], ["Египет", "Египта", "в Египте"], "Каир"),
    country(["Kenya", "Nairobi"], ["Кения", "Кении", "в Кении"], "Найроби"),
    country(["Cuba", "Havana"], ["Куба", "Кубы", "на Кубе"], "Гавана"),
    country(["Peru", "Lima"], ["Перу", "Перу", "в Перу"], "Лима"),
    country(["Canada", "Ottawa"], ["Канада", "Канады", "в Канаде"], "Оттава"),
];

const WORDINGS: &[Wording] = &[
    training("What is the capital of {x}?", "Какой город — столица {gen}?"),
    training("Name the capital of {x}.", "Назови столицу {gen}."),
    training("Which city is the capital of {x}?", "Какой город является столицей {gen}?"),
    training("Tell me the capital city of {x}.", "Скажи, какая столица у {gen}."),
    training("Give the capital of this country.", "Укажи столицу этой страны.").with_input("{x}", "{x}"),
    training("{x}: what is its capital?", "{x}: какая у этой страны столица?"),
    training("The capital of {x}, please.", "Столицу {gen}, пожалуйста."),
    training("Write what the capital of {x} is called.", "Напиши, как называется столица {gen}."),
    training("I want to know the capital of {x}.", "Хочу узнать столицу {gen}."),
    training("In {x}, which city is the capital?", "Какой город {in} является столицей?"),
    training(
        "Name the city, please, that is the capital of {x}.",
        "Назови, пожалуйста, город — столицу {gen}.",
    ),
    training("Can you name the capital of {x}?", "Можешь назвать столицу {gen}?"),
    training("What is the main city of {x} called?", "Главный город {gen} — как он называется?"),
    training("I forgot the capital of {x}. Remind me.", "Я забыл столицу {gen}. Напомни."),
    training(
        "The country {x} has a capital. What is it called?",
        "У {gen} есть столица. Как она называется?",
    ),
    training(
        "We are going to the capital of {x}. Which city is that?",
        "Мы едем в столицу {gen}. Какой это город?",
    ),
    training("Here is a country: {x}. What is the capital there?", "Вот страна: {x}. Какая там столица?"),
    training("Find the capital.", "Найди столицу.").with_input("{x}", "{x}"),
    training(
        "My friend lives in the capital of {x}. In which city?",
        "Мой друг живёт в столице {gen}. В каком городе?",
    ),
    training(
        "Answer the question: which city is the capital in {x}?",
        "Ответь на вопрос: какой город {in} столица?",
    ),
    training("{x}. Name the capital of this country.", "{x}. Назови столицу этой страны."),
    training("Be so kind, tell me what the capital of {x} is.", "Будь добр, скажи, какая у {gen} столица."),
    training(
        "A child asks which city is the capital of {x}.",
        "Ребёнок спрашивает, какой город — столица {gen}.",
    ),
    training("Help me remember the capital of {x}.", "Помоги вспомнить столицу {gen}."),
    validation("Do you know the capital of {x}?", "Знаешь ли ты столицу {gen}?"),
    validation("The capital of {x} is which city?", "Столица {gen} — это какой город?"),
    test("Could you please give me the capital of {x}?", "Подскажи, пожалуйста, столицу {gen}."),
    test(
        "What is the main city, the capital of {x}, called?",
        "Как называется главный город, столица {gen}?",
    ),
    test("What city is it that is the capital of {x}?", "Что за город — столица {gen}?"),
];

pub fn kind() -> Kind {
    let task = |c: &Country| {
        let en = Slots::default().with("x", c.en);
        let ru = Slots::default().with("x", c.ru).with("gen", c.ru_genitive).with("in", c.ru_in);
        Task::new(en, ru, both(c.capital_en, c.capital_ru))
    };
    Kind {
        name: "capitals",
        wordings: WORDINGS,
        tasks: COUNTRIES.iter().map(task).collect(),
        training_rows: 480,
    }
}
