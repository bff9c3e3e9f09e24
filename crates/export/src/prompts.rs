//! The fixed texts that an export is proven on.

use crate::error::Result;
use tolmach_tokenize::Tokenizer;

/// Tokens of a prompt that are run through the models.
const TOKENS: usize = 16;

/// Sentences, words, numbers and code, in several scripts. No text has two spaces in a row: see
/// [`SPACED`].
pub const TEXTS: [&str; 64] = [
    "Once upon a time there was a little girl who lived in a village near the forest.",
    "The capital of France is",
    "Below is an instruction that describes a task.",
    "Give three tips for staying healthy.",
    "How can we reduce air pollution?",
    "Describe a time when you had to make a difficult decision.",
    "Explain why 4/16 is equivalent to 1/4.",
    "Write a short story about a robot that learns to paint.",
    "What are the three primary colors?",
    "The quick brown fox jumps over the lazy dog.",
    "To be, or not to be, that is the question:",
    "Dear Sir or Madam, I am writing to",
    "It was a bright cold day in April, and the clocks were striking thirteen.",
    "Translate the following sentence into Russian:",
    "She didn't know what he'd said, but they'll find out.",
    "List the planets of the solar system in order.",
    "Water boils at 100 degrees",
    "He opened the door and saw",
    "Yes",
    "No, because",
    "Жили-были старик со старухой у самого синего моря.",
    "Столица России —",
    "Ниже дано задание. Напишите ответ, который полностью его выполняет.",
    "Дай три совета, как сохранить здоровье.",
    "Как можно уменьшить загрязнение воздуха?",
    "Напиши короткий рассказ о коте, который умел говорить.",
    "Какие три цвета считаются основными?",
    "Мой дядя самых честных правил, когда не в шутку занемог,",
    "Переведи на английский: «Доброе утро!»",
    "В лесу родилась ёлочка, в лесу она росла.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.",
    "Сегодня хорошая погода, поэтому мы",
    "Почему небо голубое? Объясни просто.",
    "Однажды вечером",
    "Да",
    "Нет, потому что",
    "Реве та стогне Дніпр широкий, сердитий вітер завива.",
    "Добры дзень! Як маешся?",
    "Der schnelle braune Fuchs springt über den faulen Hund.",
    "Was ist die Hauptstadt von Österreich?",
    "Le petit prince habitait une planète à peine plus grande que lui.",
    "¿Cuál es la capital de España?",
    "Nel mezzo del cammin di nostra vita",
    "Zażółć gęślą jaźń.",
    "Bugün hava çok güzel, öyleyse",
    "今天天气很好，我们去公园吧。",
    "吾輩は猫である。名前はまだ無い。",
    "대한민국의 수도는",
    "مرحبا بالعالم",
    "שלום עולם",
    "नमस्ते दुनिया",
    "Η γρήγορη καφέ αλεπού",
    "def fibonacci(n):\n\treturn n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)",
    "fn main() {\n\tprintln!(\"Hello, world!\");\n}",
    "SELECT name, age FROM users WHERE age >= 18 ORDER BY name;",
    "<html><body><h1>Title</h1></body></html>",
    "{\"key\": \"value\", \"list\": [1, 2, 3]}",
    "https://example.org/path?query=1&lang=ru#top",
    "3.14159265358979",
    "2 + 2 = 4, 7 * 8 = 56, 12345678 - 1 =",
    "1. First\n2. Second\n3. Third",
    "E = mc²; a² + b² = c²; ∑ ∞ ≠ ≤",
    "😀 👍🏽 🇷🇺 — emoji, «quotes» and … dots",
    "\n",
];

/// Texts with runs of spaces, which some tokenizers squeeze and llama.cpp does not.
pub const SPACED: [&str; 2] = ["if x:\n    return  x", "  two  spaces  "];

/// [`TEXTS`] as tokens, the first 16 of each and no more than the model's context.
///
/// # Errors
/// The tokenizer has no token for a character and no `unk`.
pub fn prompts(tokenizer: &Tokenizer, context: usize) -> Result<Vec<Vec<u32>>> {
    let mut all = tokenizer.encode_batch(&TEXTS, true)?;
    for tokens in &mut all {
        tokens.ids.truncate(TOKENS.min(context));
    }
    Ok(all.into_iter().map(|tokens| tokens.ids).filter(|ids| !ids.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_texts_differ_and_have_no_runs_of_spaces() {
        assert_eq!(TEXTS.iter().collect::<HashSet<_>>().len(), 64);
        assert!(TEXTS.iter().all(|text| !text.contains("  ")));
    }
}
