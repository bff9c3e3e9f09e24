//! The seven kinds of tasks: what there is to ask, how it is asked, and what the answer is.
//!
//! A kind is a list of wordings and a list of tasks. Of a *fact* (the capital of France) every part
//! must be in the training set to be known at all, so its tasks are never reserved: held out are its
//! combinations with the held-out wordings. A *composed* task (count from 3 to 7; a sentence from
//! "cat" and "sleep") follows from its parts, so some of its tasks are reserved and occur nowhere
//! else, not even in the base model's pretraining.

pub mod calendar;
pub mod capitals;
pub mod colours;
mod counting;
pub mod groups;
pub mod opposites;
mod sentences;

use super::random::Stream;
use super::wording::{Bilingual, Role, Slots, Wording};

/// A kind of task.
pub struct Kind {
    pub name: &'static str,
    pub wordings: &'static [Wording],
    pub tasks: Vec<Task>,
    /// At most so many rows of the instruction set.
    pub training_rows: usize,
}

/// One thing to ask, whatever the wording.
#[derive(Clone, Debug)]
pub struct Task {
    pub en: Slots,
    pub ru: Slots,
    pub answer: Bilingual,
    /// `Training`: not reserved.
    pub reserved_for: Role,
}

impl Task {
    fn new(en: Slots, ru: Slots, answer: Bilingual) -> Self {
        Task { en, ru, answer, reserved_for: Role::Training }
    }
}

impl Kind {
    /// The tasks of this kind are composed: some are reserved for validation and test.
    pub fn is_composed(&self) -> bool {
        self.tasks.iter().any(|task| task.reserved_for != Role::Training)
    }
}

/// All kinds, with the reserved tasks drawn under `seed`.
pub fn all(seed: u64) -> Vec<Kind> {
    vec![
        capitals::kind(),
        colours::kind(),
        groups::kind(),
        opposites::kind(),
        calendar::kind(),
        counting::kind(seed),
        sentences::kind(seed),
    ]
}

/// Reserve so many tasks for validation and test, drawn evenly.
fn reserve(tasks: &mut [Task], validation: usize, test: usize, stream: &mut Stream) {
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    stream.shuffle(&mut order);
    for (place, &task) in order.iter().enumerate().take(validation + test) {
        tasks[task].reserved_for = if place < test { Role::Test } else { Role::Validation };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::random::SEED;
    use std::collections::HashMap;

    #[test]
    fn there_are_seven_kinds_each_with_wordings_of_every_role() {
        let kinds = all(SEED);
        assert_eq!(kinds.len(), 7);
        for kind in &kinds {
            let count = |role| kind.wordings.iter().filter(|w| w.role == role).count();
            assert!((20..=26).contains(&count(Role::Training)), "{}", kind.name);
            assert!(count(Role::Validation) >= 2 && count(Role::Test) >= 3, "{}", kind.name);
        }
    }

    #[test]
    fn every_wording_fits_every_task() {
        for kind in all(SEED) {
            for (wording, task) in kind.wordings.iter().flat_map(|w| kind.tasks.iter().map(move |t| (w, t))) {
                for (slots, pattern) in [(&task.en, wording.en), (&task.ru, wording.ru)] {
                    for field in [pattern.instruction, pattern.input] {
                        let text = slots.fill(field).unwrap();
                        assert_eq!(text.trim(), text, "{} {field}", kind.name);
                        assert!(!text.contains(['{', '}']), "{text}");
                    }
                }
            }
        }
    }

    /// What a reserved task is made of must be known from tasks that are not reserved.
    #[test]
    fn every_part_of_a_reserved_task_is_trained_in_other_tasks() {
        for kind in all(SEED) {
            let mut seen: HashMap<&str, usize> = HashMap::new();
            for task in kind.tasks.iter().filter(|t| t.reserved_for == Role::Training) {
                task.ru.texts().for_each(|text| *seen.entry(text).or_default() += 1);
            }
            for task in kind.tasks.iter().filter(|t| t.reserved_for != Role::Training) {
                for text in task.ru.texts() {
                    assert!(seen.get(text).is_some_and(|&n| n >= 2), "{}: {text} in {task:?}", kind.name);
                }
            }
        }
    }

    #[test]
    fn texts_are_in_their_own_script() {
        let latin = |text: &str| text.chars().any(|c| c.is_ascii_alphabetic());
        let cyrillic =
            |text: &str| text.chars().any(|c| ('а'..='я').contains(&c) || ('А'..='Я').contains(&c));
        for kind in all(SEED) {
            for task in &kind.tasks {
                assert!(!task.ru.texts().any(latin) && !latin(&task.answer.ru), "{task:?}");
                assert!(!task.en.texts().any(cyrillic) && !cyrillic(&task.answer.en), "{task:?}");
            }
        }
    }
}
