//! Which combination of wording and task goes where.
//!
//! - *training*: wordings for training × tasks that are not reserved;
//! - *validation*, *test*: their own wordings × tasks reserved for them (composed kinds) or any task
//!   (facts), as many rows of each wording as possible;
//! - *pretraining* (English only): every wording × every task that is not reserved, except the
//!   combinations that validation and test ask.

use super::kinds::Kind;
use super::random::Stream;
use super::wording::{Pattern, Role, Slots};
use anyhow::Result;
use serde_json::{Map, Value};
use std::collections::HashSet;
use tolmach_corpus::{Body, Example};

/// At most so many rows of each kind.
const VALIDATION_ROWS: usize = 15;
const TEST_ROWS: usize = 25;
/// Exactly so many rows of each kind; those of a small kind come several times.
const PRETRAINING_ROWS: usize = 1_200;

/// An example in one language.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fields {
    pub instruction: String,
    pub input: String,
    pub output: String,
}

impl Fields {
    /// Name and text of each field.
    pub fn each(&self) -> [(&'static str, &str); 3] {
        [("instruction", &self.instruction), ("input", &self.input), ("output", &self.output)]
    }

    pub fn body(&self) -> Body {
        let Fields { instruction, input, output } = self.clone();
        Body::Alpaca { instruction, input, output }
    }
}

/// An example in both languages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `kind-TASK-WORDING`.
    pub id: String,
    pub kind: &'static str,
    pub en: Fields,
    pub ru: Fields,
}

impl Row {
    pub fn english(&self) -> Example {
        example(&self.id, self.kind, self.en.body())
    }

    pub fn russian(&self) -> Example {
        example(&self.id, self.kind, self.ru.body())
    }
}

/// An example with its kind as a field of its own.
pub fn example(id: &str, kind: &str, body: Body) -> Example {
    let extra = Map::from_iter([("kind".to_string(), Value::from(kind))]);
    Example { id: id.to_string(), body, source: None, language: None, translation: None, extra }
}

/// All rows, by what they are for.
#[derive(Default)]
pub struct Split {
    pub training: Vec<Row>,
    pub validation: Vec<Row>,
    pub test: Vec<Row>,
    pub pretraining: Vec<Row>,
}

/// Split the combinations of all kinds, as the module says.
///
/// # Errors
/// A wording wants a slot that a task does not have.
pub fn split(kinds: &[Kind], seed: u64) -> Result<Split> {
    let mut split = Split::default();
    for kind in kinds {
        let mut stream = Stream::named(seed, &format!("rows of {}", kind.name));
        let training = kind.draw(Role::Training, kind.training_rows, &mut stream);
        let validation = kind.draw(Role::Validation, VALIDATION_ROWS, &mut stream);
        let test = kind.draw(Role::Test, TEST_ROWS, &mut stream);

        let held_out: HashSet<Combination> = validation.iter().chain(&test).copied().collect();
        let mut allowed: Vec<Combination> = (0..kind.wordings.len())
            .flat_map(|wording| kind.tasks_for(Role::Training).map(move |task| (wording, task)))
            .filter(|combination| !held_out.contains(combination))
            .collect();
        stream.shuffle(&mut allowed);
        let pretraining: Vec<Combination> = allowed.into_iter().cycle().take(PRETRAINING_ROWS).collect();

        for (rows, combinations) in [
            (&mut split.training, training),
            (&mut split.validation, validation),
            (&mut split.test, test),
            (&mut split.pretraining, pretraining),
        ] {
            for combination in combinations {
                rows.push(kind.row(combination)?);
            }
        }
    }
    Ok(split)
}

/// Indices of a wording and of a task.
type Combination = (usize, usize);

impl Kind {
    /// Up to `rows` different combinations for `role`, in which tasks and wordings come equally often:
    /// each pass goes once over the shuffled tasks, the wordings taking turns from another start.
    fn draw(&self, role: Role, rows: usize, stream: &mut Stream) -> Vec<Combination> {
        let wordings: Vec<usize> =
            (0..self.wordings.len()).filter(|&w| self.wordings[w].role == role).collect();
        let mut tasks: Vec<usize> = self.tasks_for(role).collect();
        stream.shuffle(&mut tasks);
        let passes = (0..wordings.len()).flat_map(|pass| {
            let wordings = &wordings;
            tasks.iter().enumerate().map(move |(n, &task)| (wordings[(n + pass) % wordings.len()], task))
        });
        passes.take(rows).collect()
    }

    /// The tasks that may be asked in this role.
    fn tasks_for(&self, role: Role) -> impl Iterator<Item = usize> {
        let role = if self.is_composed() { role } else { Role::Training };
        (0..self.tasks.len()).filter(move |&task| self.tasks[task].reserved_for == role)
    }

    fn row(&self, (wording, task): Combination) -> Result<Row> {
        let id = format!("{}-{task:03}-{wording:02}", self.name);
        let (wording, task) = (&self.wordings[wording], &self.tasks[task]);
        Ok(Row {
            id,
            kind: self.name,
            en: fields(wording.en, &task.en, &task.answer.en)?,
            ru: fields(wording.ru, &task.ru, &task.answer.ru)?,
        })
    }
}

fn fields(pattern: Pattern, slots: &Slots, answer: &str) -> Result<Fields> {
    Ok(Fields {
        instruction: slots.fill(pattern.instruction)?,
        input: slots.fill(pattern.input)?,
        output: answer.to_string(),
    })
}
