//! A sentence from two words, by a fixed rule, so that there is one right answer:
//! a doer and an action ("cat, sleep" → "The cat sleeps.", «кошка, спать» → «Кошка спит.»), or
//! a thing and a property ("river, old" → "The river is old.", «река, старый» → «Река старая.»).

use super::{Kind, Task, reserve};
use crate::demo::random::Stream;
use crate::demo::wording::{Slots, Wording, both, capitalised, test, training, validation};
use crate::demo::words::{ACTORS, PROPERTIES, THINGS, VERBS};

const RESERVED: (usize, usize) = (25, 50);

const WORDINGS: &[Wording] = &[
    training("Make a sentence.", "Составь предложение.").with_input("{a}, {b}", "{a}, {b}"),
    training("Write a sentence with these two: {a}, {b}.", "Напиши предложение с этими словами: {a}, {b}."),
    training("Use both in one sentence: {a}, {b}.", "Используй оба слова в одном предложении: {a}, {b}."),
    training("Build a sentence from \"{a}\" and \"{b}\".", "Построй предложение из слов «{a}» и «{b}»."),
    training("Join these into a sentence.", "Соедини эти слова в предложение.")
        .with_input("{a}, {b}", "{a}, {b}"),
    training("{a}, {b}: what sentence does this make?", "{a}, {b}: какое предложение получится?"),
    training(
        "Say a short sentence with \"{a}\" and \"{b}\".",
        "Скажи короткое предложение со словами «{a}» и «{b}».",
    ),
    training("Put \"{a}\" and \"{b}\" together.", "Соедини вместе слова «{a}» и «{b}»."),
    training("A sentence with {a} and {b}, please.", "Предложение со словами «{a}» и «{b}», пожалуйста."),
    training("Can you make a sentence: {a}, {b}?", "Можешь составить предложение: {a}, {b}?"),
    training("Say something about these: {a}, {b}.", "Скажи что-нибудь: {a}, {b}."),
    training("Here are two: {a}, {b}. Make a sentence.", "Вот два слова: {a}, {b}. Составь предложение."),
    training(
        "Help me make a sentence with \"{a}\" and \"{b}\".",
        "Помоги составить предложение со словами «{a}» и «{b}».",
    ),
    training(
        "Take \"{a}\", add \"{b}\" and write a sentence.",
        "Возьми слово «{a}», добавь «{b}» и напиши предложение.",
    ),
    training("{a} and {b}: make it a sentence.", "{a} и {b}: сделай предложение."),
    training("Answer with one sentence: {a}, {b}.", "Ответь одним предложением: {a}, {b}."),
    training("Write one sentence.", "Напиши одно предложение.").with_input("{a}, {b}", "{a}, {b}"),
    training(
        "Which sentence has \"{a}\" and \"{b}\" in it?",
        "В каком предложении есть слова «{a}» и «{b}»?",
    ),
    training("Invent something with \"{a}\" and \"{b}\".", "Придумай фразу со словами «{a}» и «{b}»."),
    training("Tell me a sentence: first {a}, then {b}.", "Скажи предложение: сначала {a}, потом {b}."),
    training("Make one sentence of the two: {a}, {b}.", "Сделай из двух слов одно предложение: {a}, {b}."),
    training("Do you know a sentence with {a} and {b}?", "Знаешь ли ты предложение со словами {a} и {b}?"),
    training("Join {a} and {b}, please.", "Соедини, пожалуйста, {a} и {b}."),
    training(
        "Be so kind, say what sentence can come of these: {a}, {b}.",
        "Подскажи, какое предложение выйдет: {a}, {b}.",
    ),
    validation("Think of a sentence: {a}, {b}.", "Придумай предложение: {a}, {b}."),
    validation(
        "What sentence can be made from \"{a}\" and \"{b}\"?",
        "Какое предложение можно составить из слов «{a}» и «{b}»?",
    ),
    test("Please make one sentence: {a}, {b}.", "Составь, пожалуйста, одно предложение: {a}, {b}."),
    test(
        "Here are \"{a}\" and \"{b}\": make a sentence of them.",
        "Вот слова «{a}» и «{b}»: построй из них предложение.",
    ),
    test("Write a short sentence.", "Напиши короткое предложение.").with_input("{a}, {b}", "{a}, {b}"),
];

pub fn kind(seed: u64) -> Kind {
    let pair = |a, b| Slots::default().with("a", a).with("b", b);
    let mut tasks = Vec::new();
    for (who, what) in ACTORS.iter().flat_map(|who| VERBS.iter().map(move |what| (who, what))) {
        let en = format!("The {} {}.", who.en, what.en_present);
        let ru = format!("{} {}.", capitalised(who.ru), what.ru_present);
        tasks.push(Task::new(pair(who.en, what.en), pair(who.ru, what.ru), both(en, ru)));
    }
    for (what, how) in THINGS.iter().flat_map(|what| PROPERTIES.iter().map(move |how| (what, how))) {
        let en = format!("The {} is {}.", what.en, how.en);
        let ru = format!("{} {}.", capitalised(what.ru), how.agreeing(what.gender));
        tasks.push(Task::new(pair(what.en, how.en), pair(what.ru, how.ru), both(en, ru)));
    }
    reserve(&mut tasks, RESERVED.0, RESERVED.1, &mut Stream::named(seed, "reserve sentences"));
    Kind { name: "sentences", wordings: WORDINGS, tasks, training_rows: 960 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_adjectives_take_the_form_of_their_noun() {
        let answers: Vec<_> = kind(1).tasks.into_iter().map(|task| task.answer).collect();
        for (en, ru) in [
            ("The cat sleeps.", "Кошка спит."),
            ("The child drinks.", "Ребёнок пьёт."),
            ("The river is old.", "Река старая."),
            ("The window is small.", "Окно маленькое."),
            ("The house is good.", "Дом хороший."),
            ("The dress is good.", "Платье хорошее."),
            ("The book is big.", "Книга большая."),
            ("The coat is beautiful.", "Пальто красивое."),
        ] {
            assert!(answers.contains(&both(en, ru)), "{ru}");
        }
    }
}
