//! Opposites: "What is the opposite of 'big'?" → "small". Only words whose opposite, and whose
//! Russian word, is the same in every context (so no "light", no "short").

use super::{Kind, Task};
use crate::demo::wording::{Slots, Wording, both, test, training, validation};

/// Both directions of each are asked.
pub const PAIRS: &[[(&str, &str); 2]] = &[
    [("big", "большой"), ("small", "маленький")],
    [("hot", "горячий"), ("cold", "холодный")],
    [("good", "хороший"), ("bad", "плохой")],
    [("fast", "быстрый"), ("slow", "медленный")],
    [("high", "высокий"), ("low", "низкий")],
    [("wide", "широкий"), ("narrow", "узкий")],
    [("thick", "толстый"), ("thin", "тонкий")],
    [("strong", "сильный"), ("weak", "слабый")],
    [("rich", "богатый"), ("poor", "бедный")],
    [("clean", "чистый"), ("dirty", "грязный")],
    [("dry", "сухой"), ("wet", "мокрый")],
    [("soft", "мягкий"), ("hard", "твёрдый")],
    [("full", "полный"), ("empty", "пустой")],
    [("young", "молодой"), ("old", "старый")],
    [("cheerful", "весёлый"), ("sad", "грустный")],
    [("loud", "громкий"), ("quiet", "тихий")],
    [("sweet", "сладкий"), ("bitter", "горький")],
    [("simple", "простой"), ("complex", "сложный")],
    [("sharp", "острый"), ("blunt", "тупой")],
    [("deep", "глубокий"), ("shallow", "мелкий")],
    [("expensive", "дорогой"), ("cheap", "дешёвый")],
    [("kind", "добрый"), ("evil", "злой")],
    [("day", "день"), ("night", "ночь")],
    [("friend", "друг"), ("enemy", "враг")],
    [("beginning", "начало"), ("end", "конец")],
    [("truth", "правда"), ("lie", "ложь")],
    [("life", "жизнь"), ("death", "смерть")],
    [("question", "вопрос"), ("answer", "ответ")],
    [("up", "вверх"), ("down", "вниз")],
    [("always", "всегда"), ("never", "никогда")],
];

const WORDINGS: &[Wording] = &[
    training("What is the opposite of \"{x}\"?", "Что противоположно слову «{x}»?"),
    training("Name the opposite of {x}.", "Назови противоположность: {x}."),
    training("Give the opposite.", "Дай противоположное слово.").with_input("{x}", "{x}"),
    training("Which is the opposite to \"{x}\"?", "Какое слово противоположно слову «{x}»?"),
    training("{X}: what is the other way round?", "{X}: что будет наоборот?"),
    training("Tell me the opposite of \"{x}\".", "Скажи противоположность слова «{x}»."),
    training("If not \"{x}\", then what is the opposite?", "Если не «{x}», то что наоборот?"),
    training("The opposite of \"{x}\", please.", "Противоположность слову «{x}», пожалуйста."),
    training("Find an opposite for \"{x}\".", "Подбери противоположность к слову «{x}»."),
    training("Think of something opposite to \"{x}\".", "Придумай слово, противоположное слову «{x}»."),
    training("Here is \"{x}\". Give its opposite.", "Вот слово «{x}». Дай противоположное."),
    training("Can you name the opposite of \"{x}\"?", "Можешь назвать противоположность слова «{x}»?"),
    training(
        "I forgot the opposite of \"{x}\". Remind me.",
        "Я забыл противоположность слова «{x}». Напомни.",
    ),
    training("What is opposite in meaning: {x}?", "Что противоположно по смыслу: {x}?"),
    training("{X}: name the opposite.", "{X}: назови противоположность."),
    training("There is an opposite to \"{x}\". Which?", "У слова «{x}» есть противоположность. Какая?"),
    training("Put the opposite in place of \"{x}\".", "Замени слово «{x}» на противоположное."),
    training("Choose the opposite.", "Выбери противоположное слово.").with_input("{x}", "{x}"),
    training("Write what is opposite to \"{x}\".", "Напиши, что противоположно слову «{x}»."),
    training("Not {x} but the other way round: how is that?", "Не {x}, а наоборот: как это?"),
    training(
        "Answer the question: what is the opposite of {x}?",
        "Ответь на вопрос: что противоположно слову «{x}»?",
    ),
    training("A friend says \"{x}\". Say the opposite.", "Друг говорит «{x}». Скажи наоборот."),
    training("Be so kind, say what is opposite to \"{x}\".", "Подскажи, что противоположно слову «{x}»."),
    training("Help me find the opposite: {x}.", "Помоги найти противоположность: {x}."),
    validation("Write the opposite of {x}.", "Напиши противоположность: {x}."),
    validation("Do you know the opposite of \"{x}\"?", "Знаешь ли ты противоположность слова «{x}»?"),
    test("Please give me the opposite of {x}.", "Подскажи, пожалуйста, противоположность: {x}."),
    test("What opposite does \"{x}\" have?", "Какая у слова «{x}» противоположность?"),
    test("{X}, and the other way round?", "{X}, а наоборот?"),
];

pub fn kind() -> Kind {
    let task = |(en, ru): (&str, &str), answer: (&str, &str)| {
        Task::new(Slots::default().with("x", en), Slots::default().with("x", ru), both(answer.0, answer.1))
    };
    let tasks = PAIRS.iter().flat_map(|&[a, b]| [task(a, b), task(b, a)]).collect();
    Kind { name: "opposites", wordings: WORDINGS, tasks, training_rows: 500 }
}
