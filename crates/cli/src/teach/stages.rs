//! Each stage: what its result depends on, and what it does. The work itself is the crates'.

use super::Stage;
use super::facts::{Facts, fingerprint, forget, hash_file, remove};
use super::folder::RunFolder;
use crate::commands::clean::{clean_file, refuse_empty};
use crate::commands::eval::{EvalOptions, run_eval};
use crate::commands::translate::translate_file;
use crate::loading::TEMPLATE_FILE;
use crate::recipe::{RunPlan, Validation};
use crate::report::{Exit, Failure};
use crate::stages::train::{Replay, TRAINING_STATE, TrainOptions, Tuning, plan_training, run_training};
use crate::ui::Ui;
use std::path::{Path, PathBuf};
use tolmach_corpus::{Body, Example, read_examples, split, write_examples, write_jsonl};
use tolmach_eval::{EvalConfig, ReportCard};
use tolmach_model::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
use tolmach_tokenize::MaskConfig;
use tolmach_train::TrainConfig;
use tolmach_translate::Review;

/// Cleaned examples (01-clean) and translated ones (02-translate).
const EXAMPLES: &str = "examples.jsonl";
const DROPPED: &str = "dropped.jsonl";
/// What was set aside in translation, and what a person has decided about it.
const REVIEW: &str = "examples.jsonl.review.jsonl";
const CLEAN_REPORT: &str = "report.json";
const TRAIN: &str = "train.jsonl";
const VALIDATION: &str = "validation.jsonl";
/// The validation examples before translation.
const VALIDATION_SOURCE: &str = "validation.source.jsonl";
/// Cleaned, untranslated examples of the training side.
const REPLAY: &str = "replay.jsonl";
const CARD: &str = "card.json";

/// What a stage has to say when it is done.
pub struct Done {
    /// Files in its folder that the later stages read, or the user.
    pub outputs: Vec<&'static str>,
    pub summary: String,
}

/// What the result of a stage depends on. The stages before it must be done.
///
/// # Errors
/// Something that it reads cannot be read.
pub fn facts(stage: Stage, plan: &RunPlan, run: &RunFolder) -> Result<Facts, Failure> {
    match stage {
        Stage::Clean => clean_facts(plan),
        Stage::Translate => translate_facts(plan, run),
        Stage::Train => train_facts(plan, run),
        Stage::Eval => eval_facts(plan, run),
    }
}

/// Take away what must not be gone on from.
///
/// # Errors
/// It cannot be removed.
pub fn clear(stage: Stage, run: &RunFolder) -> Result<(), Failure> {
    forget(&run.stage(stage))?;
    match stage {
        // A state of other settings: a run that is cut off before its first own state would meet it.
        Stage::Train => remove(&run.file(Stage::Train, TRAINING_STATE)),
        _ => Ok(()),
    }
}

/// Do a stage; `go_on` from what a run that was cut off has left.
///
/// # Errors
/// As the stage's own command.
pub fn run(
    stage: Stage,
    plan: &RunPlan,
    run: &RunFolder,
    go_on: bool,
    threads: Option<usize>,
    ui: &Ui,
) -> Result<Done, Failure> {
    match stage {
        Stage::Clean => clean(plan, run, ui),
        Stage::Translate => translate(plan, run, ui),
        Stage::Train => train(plan, run, go_on, threads, ui),
        Stage::Eval => eval(plan, run, threads, ui),
    }
}

// ---- clean

fn clean_facts(plan: &RunPlan) -> Result<Facts, Failure> {
    let facts = Facts::default().with_file("the data set", &plan.data)?;
    // Which dropped examples the report shows is no matter.
    facts.with("[data] from", &plan.from).with_section("clean", &plan.clean, &["report_examples"])
}

fn clean(plan: &RunPlan, run: &RunFolder, ui: &Ui) -> Result<Done, Failure> {
    let cleaned = clean_file(&plan.data, &plan.clean, &plan.from, ui)?;
    let at = |name| run.file(Stage::Clean, name);
    // First, so that an empty result can be looked at.
    write_jsonl(&at(DROPPED), &cleaned.dropped)?;
    refuse_empty(&cleaned, &plan.data)?;
    write_examples(&at(EXAMPLES), &cleaned.kept)?;
    tolmach_durable::write(&at(CLEAN_REPORT), serde_json::to_string_pretty(&cleaned.report)? + "\n")?;
    crate::commands::clean::say_table(&cleaned.report, ui);
    let summary = format!("{} of {} examples kept", cleaned.report.kept, cleaned.report.total);
    Ok(Done { outputs: vec![EXAMPLES, DROPPED, CLEAN_REPORT], summary })
}

// ---- translate, and the split

/// Settings that say how fast, not what.
const PACE: [&str; 14] = [
    "memory",
    "journal",
    "share_journal",
    "api_key_env",
    "concurrency",
    "max_characters",
    "max_segments",
    "requests_per_second",
    "characters_per_second",
    "timeout_seconds",
    "attempts",
    "max_cost",
    "price_per_million",
    "currency",
];

fn translate_facts(plan: &RunPlan, run: &RunFolder) -> Result<Facts, Failure> {
    let mut facts = Facts::default()
        .with_file("the cleaned examples", &run.file(Stage::Clean, EXAMPLES))?
        .with("[data] to", &plan.to)
        .with("[data] replay_share above 0", &(plan.replay_share > 0.0));
    if let Some(decisions) = decisions(&run.file(Stage::Translate, REVIEW))? {
        facts = facts.with("what a person has decided", &decisions);
    }
    if let Validation::Share { share, seed } = plan.validation {
        facts = facts.with("[data] validation_share", &share).with("[data] split_seed", &seed);
    }
    if let Some(config) = &plan.translate {
        facts = facts.with_section("translate", config, &PACE)?;
        if let Some(memory) = &config.memory {
            facts = facts.with_file("the translation memory", memory)?;
        }
    }
    Ok(facts)
}

/// A hash of what a person has accepted or dropped; `None` where there is nothing. The stage leaves it as
/// it is.
fn decisions(review: &Path) -> Result<Option<String>, Failure> {
    if !review.exists() {
        return Ok(None);
    }
    let is_decided = |example: &Example| Review::of(example).is_some_and(|review| review.is_decided());
    let mut decided: Vec<Example> = read_examples(review)?.into_iter().filter(is_decided).collect();
    decided.sort_by(|a, b| a.id.cmp(&b.id));
    let mut hasher = blake3::Hasher::new();
    for example in &decided {
        hasher.update(serde_json::to_string(example)?.as_bytes());
    }
    Ok((!decided.is_empty()).then(|| hasher.finalize().to_hex()[..16].to_string()))
}

fn translate(plan: &RunPlan, run: &RunFolder, ui: &Ui) -> Result<Done, Failure> {
    let at = |name| run.file(Stage::Translate, name);
    let input = run.file(Stage::Clean, EXAMPLES);
    let cleaned = read_examples(&input)?;
    let mut outputs = vec![TRAIN, VALIDATION];
    let translated = match &plan.translate {
        Some(config) => {
            translate_file(&input, &at(EXAMPLES), config, ui)?.say(ui);
            outputs.push(EXAMPLES);
            read_examples(&at(EXAMPLES))?
        }
        None => cleaned.clone(),
    };
    let (share, seed) = match plan.validation {
        Validation::Share { share, seed } => (share, seed),
        Validation::File(_) => (0.0, 0),
    };
    let count = translated.len();
    let (train, validation) = split(translated, share, seed);
    check_split(plan, &train, &validation, share)?;
    write_examples(&at(TRAIN), &train)?;
    write_examples(&at(VALIDATION), &validation)?;
    if plan.translate.is_some() {
        write_examples(&at(VALIDATION_SOURCE), &untranslated(&validation))?;
        outputs.push(VALIDATION_SOURCE);
    }
    if plan.replay_share > 0.0 {
        // By the same hash of the source: what is held out in one language is held out in the other.
        write_examples(&at(REPLAY), &split(cleaned, share, seed).0)?;
        outputs.push(REPLAY);
    }
    let what = if plan.translate.is_some() { "translated" } else { "examples, in the language already" };
    let held_out = match validation.len() {
        0 => String::new(),
        held_out => format!("; {held_out} held out"),
    };
    Ok(Done { outputs, summary: format!("{count} {what}{held_out}") })
}

fn check_split(plan: &RunPlan, train: &[Example], validation: &[Example], share: f64) -> Result<(), Failure> {
    if validation.is_empty() && share > 0.0 && plan.evaluates_validation() {
        let count = train.len();
        return Err(Failure::input(format!(
            "[data] validation_share = {share}: not one of {count} examples falls to the held-out side"
        ))
        .hint("raise validation_share, or name a file of held-out examples: [eval] data"));
    }
    if train.is_empty() {
        return Err(Failure::input(format!(
            "[data] validation_share = {share}: all {} examples fall to the held-out side",
            validation.len()
        ))
        .hint("lower validation_share; so few examples teach nothing"));
    }
    Ok(())
}

/// The examples as they were before translation.
fn untranslated(examples: &[Example]) -> Vec<Example> {
    let source = |example: &Example| {
        let mut source = Example::new(example.source_body().clone());
        source.id = example.id.clone();
        source
    };
    examples.iter().map(source).collect()
}

// ---- train

/// Settings that change no weight.
const TRAIN_SHOWN: [&str; 3] = ["sample_every", "save_every", "memory"];

fn train_facts(plan: &RunPlan, run: &RunFolder) -> Result<Facts, Failure> {
    let mut facts = Facts::default()
        .with_file("the training examples", &run.file(Stage::Translate, TRAIN))?
        .with("the base model", &fingerprint(&plan.base)?)
        .with_section("lora", &plan.lora, &[])?
        .with_section("train", &plan.train, &TRAIN_SHOWN)?
        .with("[data] train_on_prompt", &plan.train_on_prompt)
        .with("[base] template", &serde_json::to_string(&plan.template)?);
    if let Some(quantize) = plan.quantize {
        facts = facts.with("[base] quantize", &quantize.block());
    }
    if let Some(validation) = validation_file(plan, run) {
        facts = facts.with_file("the validation examples", &validation)?;
    }
    if plan.replay_share > 0.0 {
        facts = facts
            .with_file("the replay examples", &run.file(Stage::Translate, REPLAY))?
            .with("[data] replay_share", &plan.replay_share)
            .with("[base] source_template", &serde_json::to_string(&plan.source_template)?);
    }
    Ok(facts)
}

/// What the loss is watched on; none where nothing is held out.
fn validation_file(plan: &RunPlan, run: &RunFolder) -> Option<PathBuf> {
    match &plan.validation {
        Validation::File(path) => Some(path.clone()),
        Validation::Share { .. } => {
            let path = run.file(Stage::Translate, VALIDATION);
            std::fs::metadata(&path).is_ok_and(|file| file.len() > 0).then_some(path)
        }
    }
}

/// Prompts of the validation set that are replied to while training.
const SHOWN_PROMPTS: usize = 3;

fn train(
    plan: &RunPlan,
    run: &RunFolder,
    go_on: bool,
    threads: Option<usize>,
    ui: &Ui,
) -> Result<Done, Failure> {
    let options = train_options(plan, run, go_on, threads)?;
    let summary = run_training(&options, ui).map_err(in_a_run)?;
    let loss = summary.final_loss.map_or(String::new(), |loss| format!(", loss {loss:.3}"));
    let minutes = summary.seconds / 60.0;
    let summary = format!("{} steps, {} tokens in {minutes:.1} min{loss}", summary.steps, summary.tokens);
    let outputs = vec![ADAPTER_CONFIG, ADAPTER_WEIGHTS, TEMPLATE_FILE];
    Ok(Done { outputs, summary })
}

/// What training would do, if its examples are there.
///
/// # Errors
/// As [`run`].
pub fn plan_train(
    plan: &RunPlan,
    run: &RunFolder,
    threads: Option<usize>,
    ui: &Ui,
) -> Result<serde_json::Value, Failure> {
    let options = train_options(plan, run, false, threads)?;
    let facts = plan_training(&options, ui).map_err(in_a_run)?;
    Ok(serde_json::to_value(facts)?)
}

/// What training would do on the translated examples of a run's folder; where they are not there yet, on the
/// untranslated ones. Also whether they are.
///
/// # Errors
/// The examples cannot be read.
pub fn training_options(
    plan: &RunPlan,
    run: &Path,
    threads: Option<usize>,
) -> Result<(TrainOptions, bool), Failure> {
    let run = RunFolder::look(run);
    if run.file(Stage::Translate, TRAIN).exists() {
        return Ok((train_options(plan, &run, false, threads)?, true));
    }
    let validation = match &plan.validation {
        Validation::File(path) => Some(path.clone()),
        Validation::Share { .. } => None,
    };
    let options = TrainOptions {
        base: plan.base.clone(),
        data: plan.data.clone(),
        sample_prompts: Vec::new(),
        validation,
        output: run.stage(Stage::Train),
        tuning: Tuning::Lora(plan.lora.clone()),
        quantize: plan.quantize,
        // Without a file there is nothing to go by yet.
        train: match plan.validation {
            Validation::File(_) => plan.train.clone(),
            Validation::Share { .. } => {
                TrainConfig { early_stop: None, keep_best: false, ..plan.train.clone() }
            }
        },
        template: plan.source_template.clone(),
        mask: MaskConfig { train_on_prompt: plan.train_on_prompt },
        replay: None,
        threads,
        resume: false,
        force: true,
        profile: false,
    };
    Ok((options, false))
}

fn train_options(
    plan: &RunPlan,
    run: &RunFolder,
    go_on: bool,
    threads: Option<usize>,
) -> Result<TrainOptions, Failure> {
    let validation = validation_file(plan, run);
    let replay = (plan.replay_share > 0.0).then(|| Replay {
        data: run.file(Stage::Translate, REPLAY),
        share: plan.replay_share,
        template: plan.source_template.clone(),
    });
    Ok(TrainOptions {
        base: plan.base.clone(),
        data: run.file(Stage::Translate, TRAIN),
        sample_prompts: validation.as_deref().map(shown_prompts).transpose()?.unwrap_or_default(),
        validation,
        output: run.stage(Stage::Train),
        tuning: Tuning::Lora(plan.lora.clone()),
        quantize: plan.quantize,
        train: plan.train.clone(),
        template: plan.template.clone(),
        mask: MaskConfig { train_on_prompt: plan.train_on_prompt },
        replay,
        threads,
        resume: go_on,
        force: !go_on,
        profile: false,
    })
}

/// Some instructions without an input, spread over a file.
fn shown_prompts(validation: &Path) -> Result<Vec<String>, Failure> {
    let prompts: Vec<String> = read_examples(validation)?
        .into_iter()
        .filter_map(|example| match example.body {
            Body::Alpaca { instruction, input, .. } if input.is_empty() => Some(instruction),
            _ => None,
        })
        .collect();
    let count = SHOWN_PROMPTS.min(prompts.len());
    Ok((0..count).map(|i| prompts[i * prompts.len() / count].clone()).collect())
}

/// The hints of `train` name its flags; a run has its own.
fn in_a_run(mut failure: Failure) -> Failure {
    let hint = match (failure.exit, &failure.hint) {
        (_, None) => return failure,
        (Exit::Interrupted, _) => "run the same command again to go on".to_string(),
        (_, Some(hint)) => hint
            .replace("--force starts over", "--from train starts over")
            .replace("start over with --force", "start over with --from train")
            .replace("--max-seq-length", "max_seq_length in [train]")
            .replace("--over-long truncate", "over_long = \"truncate\" in [train]"),
    };
    failure.hint = Some(hint);
    failure
}

// ---- eval

/// Bounds are checked on every card anew; what is read is known by its content.
const EVAL_NAMES: [&str; 6] = ["minimum", "maximum", "data", "source_data", "text", "source_text"];

fn eval_facts(plan: &RunPlan, run: &RunFolder) -> Result<Facts, Failure> {
    let config = eval_config(plan, run);
    let mut facts = Facts::default()
        .with_file("the adapter", &run.file(Stage::Train, ADAPTER_WEIGHTS))?
        .with("the base model", &fingerprint(&plan.base)?)
        .with_section("eval", &config, &EVAL_NAMES)?;
    let files = [
        ("[eval] data", &config.data),
        ("[eval] source_data", &config.source_data),
        ("[eval] text", &config.text),
        ("[eval] source_text", &config.source_text),
    ];
    for (name, path) in files {
        if let Some(path) = path {
            facts = facts.with(name, &format!("content {}", hash_file(path)?));
        }
    }
    Ok(facts)
}

/// The section `[eval]` with the held-out examples of the data set where it names no other.
fn eval_config(plan: &RunPlan, run: &RunFolder) -> EvalConfig {
    let mut config = plan.eval.clone();
    if config.data.is_none() {
        config.data = validation_file(plan, run);
        let is_split = matches!(plan.validation, Validation::Share { .. });
        if config.source_data.is_none() && is_split && plan.translate.is_some() {
            config.source_data = Some(run.file(Stage::Translate, VALIDATION_SOURCE));
        }
    }
    config
}

fn eval(plan: &RunPlan, run: &RunFolder, threads: Option<usize>, ui: &Ui) -> Result<Done, Failure> {
    // Nothing here can be gone on from: an interrupt may end the program at once.
    crate::interrupt::end_at_once();
    let options = EvalOptions {
        base: plan.base.clone(),
        adapter: Some(run.stage(Stage::Train)),
        config: eval_config(plan, run),
        output: Some(run.stage(Stage::Eval)),
        html: None,
        force: true,
        threads,
    };
    let card = run_eval(&options, ui)?;
    let summary = format!("{} replies of each side", card.base.examples + card.base.source_examples);
    Ok(Done { outputs: vec![CARD, "card.md", "report.html", "replies.jsonl"], summary })
}

/// The report card of a run that is done.
///
/// # Errors
/// It is missing or damaged.
pub fn read_card(run: &RunFolder) -> Result<ReportCard, Failure> {
    let path = run.file(Stage::Eval, CARD);
    let cannot = |e: &dyn std::fmt::Display| Failure::input(format!("cannot read {}: {e}", path.display()));
    let text = std::fs::read(&path).map_err(|e| cannot(&e))?;
    serde_json::from_slice(&text).map_err(|e| cannot(&e).hint("--from eval makes it again"))
}
