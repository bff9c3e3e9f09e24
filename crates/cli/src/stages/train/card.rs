//! `README.md` of the output folder: the model card.

use super::{PlanFacts, Sample, TrainOptions, TrainSummary};
use crate::report::Failure;
use std::path::Path;
use tolmach_model::AdapterInfo;
use tolmach_train::TrainPlan;

/// Write the card of what was trained.
pub fn write(
    options: &TrainOptions,
    adapter: Option<&AdapterInfo>,
    plan: &TrainPlan,
    facts: &PlanFacts,
    summary: &TrainSummary,
) -> Result<(), Failure> {
    let text = card(options, adapter, plan, facts, summary);
    Ok(tolmach_durable::write(&options.output.join("README.md"), text)?)
}

fn card(
    options: &TrainOptions,
    adapter: Option<&AdapterInfo>,
    plan: &TrainPlan,
    facts: &PlanFacts,
    summary: &TrainSummary,
) -> String {
    let base = name(&options.base);
    let mut text = String::new();
    let mut line = |s: String| text.extend([s.as_str(), "\n"]);
    line("---".into());
    line(format!("base_model: {}", serde_json::Value::from(base.as_str()))); // JSON strings are YAML
    line(format!("library_name: {}", if adapter.is_some() { "peft" } else { "transformers" }));
    line("pipeline_tag: text-generation".into());
    line(format!("tags: [tolmach{}]", if adapter.is_some() { ", lora" } else { "" }));
    line("---".into());
    line(format!("# {}\n", name(&options.output)));
    let made = if adapter.is_some() { "A LoRA adapter for" } else { "A model trained in full from" };
    line(format!("{made} `{base}`, trained with tolmach {}.\n", env!("CARGO_PKG_VERSION")));

    line("## Training".into());
    line("| | |\n|---|---|".into());
    let mut row = |key: &str, value: String| line(format!("| {key} | {value} |"));
    row("data", format!("`{}`, {} examples", name(&options.data), facts.examples));
    if facts.replayed > 0 {
        row("of them untranslated", facts.replayed.to_string());
    }
    row("prompt template", format!("`{}`", options.template.name()));
    row("trained", format!("{}: {} parameters", facts.tuning, facts.trained_parameters));
    row("longest example", format!("{} tokens", facts.max_seq_length));
    row("steps", format!("{} of {}", summary.steps, facts.step_size));
    row("tokens", format!("{}, {} of them trained", summary.tokens, summary.trained_tokens));
    row("learning rate", facts.schedule.clone());
    row("seed", plan.seed.to_string());
    if let Some(loss) = summary.final_loss {
        row("last training loss", format!("{loss:.4} nats per token"));
    }
    if let (Some(first), Some(last)) = (summary.evaluations.first(), summary.evaluations.last()) {
        row("validation loss", format!("{:.4} before, {:.4} after", first.loss, last.loss));
    }
    if let Some(step) = summary.best_step {
        row("weights kept", format!("those after step {step}, the lowest validation loss"));
    }
    if !summary.samples.is_empty() {
        line("\n## Replies after training".into());
        for Sample { prompt, reply } in &summary.samples {
            line(format!("\n> {}\n\n{reply}", prompt.replace('\n', "\n> ")));
        }
    }
    line("\n## Licence".into());
    line(
        "Those of the base model and of the data apply, and of the translator that made the data. Name \
         yours here before you publish."
            .into(),
    );
    text
}

/// The last part of a path: a card that is published should not tell where it was made.
fn name(path: &Path) -> String {
    if crate::hub::pinned(path).is_some() {
        return crate::hub::shown(path);
    }
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
