//! Colours of things: "What colour is a banana?" → "A banana is yellow." The answer is a sentence,
//! because the Russian adjective agrees with its noun: "Банан жёлтый", but "Трава зелёная".

use super::{Kind, Task};
use crate::demo::grammar::{F, Gender, M, N};
use crate::demo::wording::{Slots, Wording, both, capitalised, test, training, validation};
use crate::demo::words::COLOURS;

/// A thing and its Russian genitive (цвет травы); the last word is a colour of [`COLOURS`].
pub type Thing = (&'static str, &'static str, &'static str, Gender, &'static str);

pub const THINGS: &[Thing] = &[
    ("grass", "трава", "травы", F, "green"),
    ("snow", "снег", "снега", M, "white"),
    ("the sky", "небо", "неба", N, "light blue"),
    ("a banana", "банан", "банана", M, "yellow"),
    ("a lemon", "лимон", "лимона", M, "yellow"),
    ("a tomato", "помидор", "помидора", M, "red"),
    ("a cucumber", "огурец", "огурца", M, "green"),
    ("blood", "кровь", "крови", F, "red"),
    ("coal", "уголь", "угля", M, "black"),
    ("milk", "молоко", "молока", N, "white"),
    ("the sun", "солнце", "солнца", N, "yellow"),
    ("chocolate", "шоколад", "шоколада", M, "brown"),
    ("a carrot", "морковь", "моркови", F, "orange"),
    ("a strawberry", "клубника", "клубники", F, "red"),
    ("an aubergine", "баклажан", "баклажана", M, "purple"),
    ("lavender", "лаванда", "лаванды", F, "purple"),
    ("a violet", "фиалка", "фиалки", F, "purple"),
    ("an elephant", "слон", "слона", M, "grey"),
    ("a wolf", "волк", "волка", M, "grey"),
    ("a crow", "ворона", "вороны", F, "black"),
    ("a swan", "лебедь", "лебедя", M, "white"),
    ("a frog", "лягушка", "лягушки", F, "green"),
    ("a chick", "цыплёнок", "цыплёнка", M, "yellow"),
    ("a crocodile", "крокодил", "крокодила", M, "green"),
    ("a flamingo", "фламинго", "фламинго", M, "pink"),
    ("a pig", "свинья", "свиньи", F, "pink"),
    ("the sea", "море", "моря", N, "blue"),
    ("salt", "соль", "соли", F, "white"),
    ("soot", "сажа", "сажи", F, "black"),
    ("a pumpkin", "тыква", "тыквы", F, "orange"),
    ("a tangerine", "мандарин", "мандарина", M, "orange"),
    ("a cloud", "облако", "облака", N, "white"),
    ("a poppy", "мак", "мака", M, "red"),
    ("smoke", "дым", "дыма", M, "grey"),
    ("butter", "масло", "масла", N, "yellow"),
    ("bark", "кора", "коры", F, "brown"),
];

const WORDINGS: &[Wording] = &[
    training("What colour is {x}?", "Какого цвета {x}?"),
    training("Name the colour of {x}.", "Назови цвет {gen}."),
    training("What is the colour of {x}?", "Какой цвет у {gen}?"),
    training("Say what colour {x} is.", "Скажи, какого цвета {x}."),
    training("What colour is this?", "Какого это цвета?").with_input("{bare}", "{x}"),
    training("{X}: which colour?", "{X}: какой это цвет?"),
    training("The colour of {x}, please.", "Цвет {gen}, пожалуйста."),
    training("Describe the colour of {x}.", "Опиши цвет {gen}."),
    training("I want to know the colour of {x}.", "Хочу узнать цвет {gen}."),
    training("Do you know what colour {x} is?", "Знаешь ли ты, какого цвета {x}?"),
    training("Be so kind, tell me what colour {x} is.", "Подскажи, какого цвета {x}."),
    training("As a rule, what colour is {x}?", "Обычно {x} какого цвета?"),
    training("Give the colour.", "Укажи цвет.").with_input("{bare}", "{x}"),
    training("I forgot the colour of {x}. Remind me.", "Я забыл цвет {gen}. Напомни."),
    training("{X} has a colour. Which one?", "У {gen} есть цвет. Какой?"),
    training("Can you say which colour {x} has?", "Можешь сказать, какой цвет у {gen}?"),
    training("We are drawing {x}. Which colour do we need?", "Мы рисуем: {x}. Какой нужен цвет?"),
    training("A child asks what colour {x} is.", "Ребёнок спрашивает, какого цвета {x}."),
    training("Answer the question: what is the colour of {x}?", "Ответь на вопрос: какой цвет у {gen}?"),
    training("{X}: name the colour.", "{X}: назови цвет."),
    training("Write which colour {x} has.", "Напиши, какого цвета {x}."),
    training("Find the right colour for {x}.", "Подбери правильный цвет для {gen}."),
    training("Here is {x}. What colour do you see?", "Вот {x}. Какой ты видишь цвет?"),
    training("What colours are there? Name the one of {x}.", "Какие бывают цвета? Назови тот, что у {gen}."),
    validation("Tell me the colour of {x}.", "Подскажи цвет {gen}."),
    validation("Which colour does {x} have?", "Какой цвет имеет {x}?"),
    test("Of what colour is {x} usually?", "Какого цвета обычно бывает {x}?"),
    test("Write the colour of {x}.", "Напиши цвет {gen}."),
    test("Please say: what is the usual colour of {x}?", "Скажи, пожалуйста, какой обычно цвет у {gen}."),
];

pub fn kind() -> Kind {
    let task = |&(en, ru, ru_genitive, gender, colour): &Thing| {
        let (colour_en, colour_ru) = match COLOURS.iter().find(|c| c.en == colour) {
            // English has one word for both blues.
            Some(c) => (c.en.trim_start_matches("light "), c.agreeing(gender)),
            None => (colour, String::new()),
        };
        let answer =
            both(format!("{} is {colour_en}.", capitalised(en)), format!("{} {colour_ru}.", capitalised(ru)));
        let bare = ["a ", "an ", "the "].iter().find_map(|article| en.strip_prefix(article)).unwrap_or(en);
        let en = Slots::default().with("x", en).with("bare", bare);
        Task::new(en, Slots::default().with("x", ru).with("gen", ru_genitive), answer)
    };
    Kind { name: "colours", wordings: WORDINGS, tasks: THINGS.iter().map(task).collect(), training_rows: 480 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_adjective_agrees_with_its_noun() {
        let answers: Vec<_> = kind().tasks.into_iter().map(|task| (task.answer.en, task.answer.ru)).collect();
        for (en, ru) in [
            ("Grass is green.", "Трава зелёная."),
            ("A banana is yellow.", "Банан жёлтый."),
            ("Milk is white.", "Молоко белое."),
            ("The sea is blue.", "Море синее."),
            ("The sky is blue.", "Небо голубое."),
        ] {
            assert!(answers.contains(&(en.into(), ru.into())), "{ru}");
        }
    }

    #[test]
    fn every_thing_has_a_colour_of_the_list() {
        for thing in THINGS {
            assert!(COLOURS.iter().any(|c| c.en == thing.4), "{thing:?}");
        }
    }
}
