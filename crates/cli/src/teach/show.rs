//! What the user sees of a run: the plan before it, the table and the places after it.

use super::facts::Status;
use super::folder::RunFolder;
use super::{RESOLVED_RECIPE, RUN_FILE, Stage, Taught, stages};
use crate::commands::eval;
use crate::recipe::{RunPlan, Validation};
use crate::report::Failure;
use crate::ui::Ui;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde_json::{Value, json};
use tolmach_corpus::read_examples;
use tolmach_eval::ReplyPair;

/// `2 translate`
pub fn title(stage: Stage) -> String {
    format!("{} {}", 1 + stage as usize, stage.name())
}

/// Why a stage is done again that needs no doing.
pub fn forced(force: bool) -> String {
    if force { "starting over" } else { "asked for with --from" }.to_string()
}

/// The plan on stderr, and the same as JSON.
///
/// # Errors
/// An input cannot be read.
pub fn say_plan(plan: &RunPlan, run: &RunFolder, from: Option<Stage>, ui: &Ui) -> Result<Value, Failure> {
    let languages = match plan.translate {
        Some(_) => format!("{} → {}", plan.from, plan.to),
        None => plan.to.clone(),
    };
    ui.say(format!("{} ({languages}) into {}", crate::hub::shown(&plan.base), run.path().display()));
    let mut entries = Vec::new();
    let mut settled = true;
    for stage in Stage::ALL {
        let (state, reason) = if from.is_some_and(|from| stage >= from) {
            ("to do", forced(from == Some(Stage::Clean)))
        } else if settled {
            match Status::of(&run.stage(stage), &stages::facts(stage, plan, run)?) {
                Status::Done(marker) => ("done", marker.summary),
                Status::Begun => ("to go on", "it was cut off".to_string()),
                Status::ToDo(reason) => ("to do", reason),
            }
        } else {
            ("to do", "after those before it".to_string())
        };
        settled &= state == "done";
        let what = what(stage, plan, state != "done")?;
        ui.say(format!("  {:<12} {state:<9} {what} ({reason})", title(stage)));
        entries.push(json!({"stage": stage.name(), "state": state, "reason": reason, "what": what}));
    }
    Ok(json!({"run": run.path(), "stages": entries}))
}

/// What a stage works on, and how, as far as it is known before.
fn what(stage: Stage, plan: &RunPlan, to_do: bool) -> Result<String, Failure> {
    let held_out = match &plan.validation {
        Validation::File(path) => format!("watched on {}", path.display()),
        Validation::Share { share, .. } => format!("{} % held out", percent(*share)),
    };
    Ok(match stage {
        Stage::Clean if to_do => {
            format!("{} examples of {}", read_examples(&plan.data)?.len(), plan.data.display())
        }
        Stage::Clean => plan.data.display().to_string(),
        Stage::Translate => match &plan.translate {
            Some(config) => format!("engine {}, {held_out}", config.engine.name()),
            None => format!("nothing to translate, {held_out}"),
        },
        Stage::Train => {
            let (lora, train) = (&plan.lora, &plan.train);
            let saved = match lora.modules_to_save.is_empty() {
                true => String::new(),
                false => format!(" with {}", lora.modules_to_save.join(", ")),
            };
            let length = match train.max_steps {
                Some(steps) => format!("{steps} steps"),
                None => format!("{} epochs", train.epochs),
            };
            let replay = match plan.replay_share > 0.0 {
                true => format!(", {} % replay", percent(plan.replay_share)),
                false => String::new(),
            };
            let modules = lora.target_modules.join(", ");
            format!("LoRA of rank {} on {modules}{saved}, {length}{replay}", lora.rank)
        }
        Stage::Eval => {
            let data = match (&plan.eval.data, &plan.validation) {
                (Some(data), _) | (None, Validation::File(data)) => data.display().to_string(),
                (None, Validation::Share { .. }) => "what is held out".to_string(),
            };
            format!("base and tuned side by side on {data}")
        }
    })
}

/// `0.025` → `2.5`
fn percent(share: f64) -> f64 {
    (share * 1000.0).round() / 10.0
}

impl Taught {
    /// The figures and some replies of both sides, for stdout.
    pub fn table(&self) -> String {
        let mut text = eval::table(&self.card);
        if !self.card.samples.is_empty() {
            text += "\n\n";
            text += &replies(&self.card.samples);
        }
        text
    }
}

fn replies(samples: &[ReplyPair]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(110);
    }
    table.set_header(["asked", "the base replies", "the tuned model replies"]);
    for sample in samples {
        let tuned = sample.tuned.as_deref().unwrap_or_default();
        table.add_row([one_line(&sample.prompt), one_line(&sample.base), one_line(tuned)]);
    }
    table.trim_fmt()
}

/// The beginning of a text on one line, without anything that could steer a terminal.
fn one_line(text: &str) -> String {
    const MOST: usize = 120;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.replace(char::is_control, "\u{fffd}");
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Where everything lies.
pub fn say_places(taught: &Taught, ui: &Ui) {
    let at = |name: &str| taught.run.join(name).display().to_string();
    ui.say(format!(
        "\nadapter      {}\nreport card  {}\nexamples     {}, {}\nrecord       {}, {}",
        taught.adapter().display(),
        taught.card_folder().join("card.md").display(),
        at(Stage::Clean.folder()),
        at(Stage::Translate.folder()),
        at(RUN_FILE),
        at(RESOLVED_RECIPE)
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_replies_stay_on_a_line() {
        assert_eq!(one_line("а\n\n  б"), "а б");
        assert_eq!(one_line(&"я".repeat(500)).chars().count(), 121);
        assert_eq!(one_line("\u{1b}[2Jа"), "\u{fffd}[2Jа");
    }

    #[test]
    fn shares_are_shown_without_noise() {
        assert_eq!(percent(0.1), 10.0);
        assert_eq!(percent(0.025), 2.5);
    }
}
