//! Counting: "Count from 3 to 6." → "three, four, five, six". The answer is in words: digits would
//! belong to no language.

use super::{Kind, Task, reserve};
use crate::demo::grammar::NUMBERS;
use crate::demo::random::Stream;
use crate::demo::wording::{Slots, Wording, both, test, training, validation};

/// The answer has two to so many numbers.
const LONGEST: usize = 7;
const RESERVED: (usize, usize) = (5, 8);

const WORDINGS: &[Wording] = &[
    training("Count from {a} to {b}.", "Посчитай от {a} до {b}."),
    training("Count from {wa} to {wb}.", "Посчитай от {wa} до {wb}."),
    training("Write the numbers from {a} to {b}.", "Напиши числа от {a} до {b}."),
    training("Name all numbers from {wa} to {wb}.", "Назови все числа от {wa} до {wb}."),
    training("List the numbers.", "Перечисли числа.").with_input("from {a} to {b}", "от {a} до {b}"),
    training("Begin at {a} and count up to {b}.", "Начни с {a} и считай до {b}."),
    training("Start with {wa} and go on to {wb}.", "Начни с {wa} и дойди до {wb}."),
    training("Which numbers go from {a} to {b}?", "Какие числа идут от {a} до {b}?"),
    training("The numbers from {wa} to {wb}, please.", "Числа от {wa} до {wb}, пожалуйста."),
    training(
        "Say all the numbers, one after another: from {a} to {b}.",
        "Скажи подряд все числа: от {a} до {b}.",
    ),
    training("Can you do this: {wa} to {wb}?", "Умеешь ли ты считать от {wa} до {wb}?"),
    training("Can you count from {a} to {b}?", "Можешь посчитать от {a} до {b}?"),
    training("From {wa} to {wb}: count.", "От {wa} до {wb}: посчитай."),
    training("From {a} to {b}, which numbers are there?", "От {a} до {b} какие есть числа?"),
    training("Write in order: from {wa} to {wb}.", "Напиши по порядку: от {wa} до {wb}."),
    training("List everything from {a} to {b}.", "Перечисли всё от {a} до {b}."),
    training("Help me count from {wa} to {wb}.", "Помоги посчитать от {wa} до {wb}."),
    training("Be so kind, go from {wa} to {wb}.", "Подскажи, какие числа идут от {wa} до {wb}."),
    training("Count.", "Сосчитай.").with_input("from {wa} to {wb}", "от {wa} до {wb}"),
    training(
        "Answer the question: what numbers go from {a} to {b}?",
        "Ответь на вопрос: какие числа идут от {a} до {b}?",
    ),
    training(
        "The children count from {a} to {b}. What do they say?",
        "Дети считают от {a} до {b}. Что они говорят?",
    ),
    training(
        "The first number is {a}, the last is {b}. Count.",
        "Первое число — {a}, последнее — {b}. Посчитай.",
    ),
    validation("Tell me the numbers from {a} to {b}.", "Скажи числа от {a} до {b}."),
    validation("Please count up from {wa} to {wb}.", "Пожалуйста, считай от {wa} до {wb}."),
    test("List in order the numbers from {a} to {b}.", "Перечисли по порядку числа от {a} до {b}."),
    test("Please do the counting from {wa} to {wb}.", "Сосчитай, пожалуйста, от {wa} до {wb}."),
    test("From {a} to {b}: name the numbers.", "От {a} до {b}: назови числа."),
];

pub fn kind(seed: u64) -> Kind {
    // Two numbers are too easy to be asked in a test.
    let (short, long): (Vec<_>, Vec<_>) = spans().partition(|(from, to)| to - from == 1);
    let mut tasks: Vec<Task> = long.into_iter().map(task).collect();
    reserve(&mut tasks, RESERVED.0, RESERVED.1, &mut Stream::named(seed, "reserve counting"));
    tasks.extend(short.into_iter().map(task));
    Kind { name: "counting", wordings: WORDINGS, tasks, training_rows: 400 }
}

/// First and last number of every answer.
fn spans() -> impl Iterator<Item = (usize, usize)> {
    let last = |from: usize| NUMBERS.len().min(from + LONGEST - 1);
    (1..NUMBERS.len()).flat_map(move |from| (from + 1..=last(from)).map(move |to| (from, to)))
}

fn task((from, to): (usize, usize)) -> Task {
    let slots = |name: [&str; 2]| {
        let digits = Slots::default().with("a", from.to_string()).with("b", to.to_string());
        digits.with("wa", name[0]).with("wb", name[1])
    };
    let counted = &NUMBERS[from - 1..to];
    let answer = both(
        counted.iter().map(|n| n.en).collect::<Vec<_>>().join(", "),
        counted.iter().map(|n| n.ru).collect::<Vec<_>>().join(", "),
    );
    let [first, last] = [NUMBERS[from - 1], NUMBERS[to - 1]];
    Task::new(slots([first.en, last.en]), slots([first.ru_genitive, last.ru_genitive]), answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_out_and_in_the_genitive_where_asked() {
        let kind = kind(1);
        let task = kind.tasks.iter().find(|t| t.ru.fill("{a}-{b}").unwrap() == "3-6").unwrap();
        assert_eq!(task.answer, both("three, four, five, six", "три, четыре, пять, шесть"));
        assert_eq!(task.ru.fill("от {wa} до {wb}").unwrap(), "от трёх до шести");
    }
}
