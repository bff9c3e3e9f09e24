//! `tolmach eval`: the report card of a model, and of what an adapter makes of it.

use crate::hub;
use crate::loading;
use crate::report::{Exit, Failure, Outcome};
use crate::ui::Ui;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tolmach_corpus::{Example, Language, read_examples, write_jsonl};
use tolmach_engine::CpuBackend;
use tolmach_eval::{
    EvalConfig, EvalSet, EvalSets, Evaluation, Progress, ReportCard, Subject, evaluate, marked_language,
    side_name,
};
use tolmach_tokenize::PromptTemplate;

const EXAMPLES: &str = "\
Examples:
  What an adapter has changed, on held-out Russian instructions:
    tolmach eval --base models/llama --adapter adapter --data test.ru.jsonl --language ru
  And whether English was forgotten; the card as files; a bound that scripts can rely on:
    tolmach eval --base models/llama --adapter adapter --data test.ru.jsonl \\
      --source-data test.en.jsonl -o card --minimum exact_match=0.8 --maximum repetition_rate=0.05
  Bits per byte of plain text ({\"text\": …} rows):
    tolmach eval --base models/stories --data validation.jsonl

With -o the folder gets card.md, card.json and replies.jsonl (every reply of both sides).
Shares are from 0 to 1 in JSON and in bounds. The exit code is 1 when a bound is not met or when
the control fails: a fresh adapter, and the base side beside the adapter, must equal the base bit
for bit.";

/// Measure a model, and side by side what an adapter makes of it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Base model: a folder, or org/name[@revision] at the Hub
    #[arg(long, value_name = "MODEL")]
    base: PathBuf,
    /// Adapter folder; absent: the base alone
    #[arg(long, value_name = "ADAPTER")]
    adapter: Option<PathBuf>,
    /// Held-out examples in the target language: instructions with answers, or texts
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The same in the source language: what the model should not forget
    #[arg(long, value_name = "FILE")]
    source_data: Option<PathBuf>,
    /// Held-out running text in the target language, for bits per byte alone
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Held-out running text in the source language
    #[arg(long, value_name = "FILE")]
    source_text: Option<PathBuf>,
    /// Prompt template of --data, or `none` [default: the adapter's, else alpaca-en]
    #[arg(long, value_name = "NAME", value_parser = loading::named_template)]
    template: Option<PromptTemplate>,
    /// Prompt template of --source-data, or `none` [default: alpaca-en]
    #[arg(long, value_name = "NAME", value_parser = loading::named_template)]
    source_template: Option<PromptTemplate>,
    /// Language that replies to --data should be in [default: as the examples are marked]
    #[arg(long, value_name = "CODE")]
    language: Option<String>,
    /// The same of --source-data [default: as its examples are marked, else en]
    #[arg(long, value_name = "CODE")]
    source_language: Option<String>,
    /// Longest reply [default: 128, or half the model's context]
    #[arg(long, value_name = "TOKENS")]
    max_new_tokens: Option<usize>,
    /// At most so many examples of each file, evenly spread over it
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Replies decoded together
    #[arg(long, value_name = "N", default_value_t = EvalConfig::default().batch)]
    batch: usize,
    /// Replies shown on the card
    #[arg(long, value_name = "N", default_value_t = EvalConfig::default().samples)]
    samples: usize,
    /// 0 is greedy, the only setting whose figures compare between runs
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f32,
    /// Seed of the draws at a temperature above 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Fail (exit code 1) where a measure of the judged side is below this
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_bound)]
    minimum: Vec<(String, f64)>,
    /// Fail (exit code 1) where a measure of the judged side is above this
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_bound)]
    maximum: Vec<(String, f64)>,
    /// Folder for card.md, card.json, report.html and replies.jsonl
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// The card as one HTML file with plots, to be passed on: English and Russian, no script
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Overwrite the card in that folder, or that file
    #[arg(long)]
    force: bool,
    /// Threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

/// What is measured, on what, and where the card goes.
pub struct EvalOptions {
    pub base: PathBuf,
    pub adapter: Option<PathBuf>,
    /// `data` must be named.
    pub config: EvalConfig,
    /// Folder of the card; `None`: it is only returned.
    pub output: Option<PathBuf>,
    /// One more copy of its HTML file.
    pub html: Option<PathBuf>,
    pub force: bool,
    pub threads: Option<usize>,
}

pub fn run(args: Args, ui: &Ui) -> Outcome {
    let options = fetch(args.into_options(), ui)?;
    let card = run_eval(&options, ui)?;
    let verdict = verdict(&card, &options.config);
    if ui.json {
        let mut value = serde_json::to_value(&card)?;
        value["card"] = json!(options.output);
        value["failures"] = json!(card.failures(&options.config.minimum, &options.config.maximum));
        // Printed here, not by the caller: a card that fails its bounds is still the answer.
        ui.stdout_json(&value);
    } else {
        ui.stdout_line(&table(&card));
    }
    verdict.map(|()| None)
}

/// With what is named at the Hub on this machine.
fn fetch(mut options: EvalOptions, ui: &Ui) -> Result<EvalOptions, Failure> {
    options.base = hub::model(&options.base, ui)?;
    options.adapter = hub::optional(options.adapter.as_deref(), hub::adapter, ui)?;
    let config = &mut options.config;
    for path in [&mut config.data, &mut config.source_data, &mut config.text, &mut config.source_text] {
        *path = hub::optional(path.as_deref(), hub::data, ui)?;
    }
    Ok(options)
}

/// Measure, and write the card if a folder is named. Bounds are not checked here: see [`verdict`].
///
/// # Errors
/// Anything missing or malformed; a card that is there already, without `force`.
pub fn run_eval(options: &EvalOptions, ui: &Ui) -> Result<ReportCard, Failure> {
    let config = &options.config;
    let settings = config.settings().map_err(failure)?;
    let card = options.output.as_ref().map(|folder| folder.join("card.json"));
    let mut outputs = [&card, &options.html].into_iter().flatten();
    if let Some(file) = outputs.find(|file| file.exists() && !options.force) {
        return Err(Failure::usage(format!("{} exists", file.display())).hint("--force overwrites it"));
    }
    let Some(data) = &config.data else {
        return Err(Failure::usage("[eval] names no data: there is nothing to measure on"));
    };
    let files = Files::read(data, config)?;
    let template = match &config.template {
        Some(template) => template.clone(),
        None => loading::adapter_template(Some(options.adapter.as_ref().unwrap_or(&options.base)))?,
    };
    let source_template = config.source_template.clone().unwrap_or_default();
    let sets = files.sets(config, &template, &source_template)?;
    let tokenizer = loading::tokenizer(&options.base, ui)?;
    let subject = Subject { base: &options.base, adapter: options.adapter.as_deref(), tokenizer: &tokenizer };

    let mut bars = Bars { ui, current: None };
    let measured = loading::pool(options.threads)?.install(|| {
        evaluate(Arc::new(CpuBackend::new()), subject, &sets, &settings, &mut |progress| bars.show(progress))
    });
    bars.finish();
    let mut evaluation = measured.map_err(failure)?;
    evaluation.card.base_model = hub::shown(&options.base);
    evaluation.card.adapter = options.adapter.as_deref().map(hub::shown);
    tell_oddities(&evaluation.card, ui);
    let page = || tolmach_serve::report_page(&evaluation.card, options.adapter.as_deref());
    if let Some(file) = &options.html {
        tolmach_durable::write(file, page())?;
        ui.say(format!("report: {}", file.display()));
    }
    if let Some(folder) = &options.output {
        write(folder, &evaluation)?;
        tolmach_durable::write(&folder.join("report.html"), page())?;
        ui.say(format!("report card: {}", folder.join("card.md").display()));
    }
    Ok(evaluation.card)
}

/// Whether the control holds and every bound is met.
///
/// # Errors
/// With exit code 1, naming all that failed.
pub fn verdict(card: &ReportCard, config: &EvalConfig) -> Result<(), Failure> {
    let failures = card.failures(&config.minimum, &config.maximum);
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure::new(Exit::CheckFailed, format!("the report card fails: {}", failures.join("; "))))
}

/// The card's table: measure, base, tuned.
pub fn table(card: &ReportCard) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let mut header = vec!["measure", "base"];
    if card.tuned.is_some() {
        header.push("tuned");
    }
    table.set_header(header);
    for row in card.rows() {
        let mut cells = vec![row.title, row.base];
        if card.tuned.is_some() {
            cells.push(row.tuned);
        }
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.trim_fmt()
}

impl Args {
    fn into_options(self) -> EvalOptions {
        let config = EvalConfig {
            data: Some(self.data),
            source_data: self.source_data,
            text: self.text,
            source_text: self.source_text,
            template: self.template,
            source_template: self.source_template,
            language: self.language,
            source_language: self.source_language,
            max_new_tokens: self.max_new_tokens,
            batch: self.batch,
            limit: self.limit,
            samples: self.samples,
            temperature: self.temperature,
            seed: self.seed,
            minimum: BTreeMap::from_iter(self.minimum),
            maximum: BTreeMap::from_iter(self.maximum),
            ..EvalConfig::default()
        };
        let Args { base, adapter, output, html, force, threads, .. } = self;
        EvalOptions { base, adapter, config, output, html, force, threads }
    }
}

/// The examples of every file that is named.
struct Files {
    target: Vec<Example>,
    source: Option<Vec<Example>>,
    text: Vec<Example>,
    source_text: Vec<Example>,
}

impl Files {
    fn read(data: &Path, config: &EvalConfig) -> Result<Files, Failure> {
        let optional = |path: &Option<PathBuf>| path.as_deref().map(read_examples).transpose();
        Ok(Files {
            target: read_examples(data)?,
            source: optional(&config.source_data)?,
            text: optional(&config.text)?.unwrap_or_default(),
            source_text: optional(&config.source_text)?.unwrap_or_default(),
        })
    }

    fn sets<'a>(
        &'a self,
        config: &EvalConfig,
        template: &'a PromptTemplate,
        source_template: &'a PromptTemplate,
    ) -> Result<EvalSets<'a>, Failure> {
        let language = named_language(config.language.as_deref())?;
        let source_language = named_language(config.source_language.as_deref())?;
        let source = self.source.as_ref().map(|examples| {
            let language = source_language.or_else(|| marked_language(examples));
            EvalSet { examples, template: source_template, language: language.or(Language::find("en")) }
        });
        Ok(EvalSets {
            target: EvalSet {
                examples: &self.target,
                template,
                language: language.or_else(|| marked_language(&self.target)),
            },
            source,
            text: &self.text,
            source_text: &self.source_text,
        })
    }
}

fn named_language(code: Option<&str>) -> Result<Option<&'static Language>, Failure> {
    let Some(code) = code else { return Ok(None) };
    match Language::find(code) {
        Some(language) => Ok(Some(language)),
        None => Err(Failure::usage(format!("language `{code}` is not known"))
            .hint("give its ISO 639-1 code: ru, uk, de, …; without one, replies are not judged by language")),
    }
}

fn parse_bound(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, for example exact_match=0.8")?;
    let value: f64 = value.parse().map_err(|_| format!("`{value}` is no number"))?;
    Ok((name.trim().to_string(), value))
}

/// One bar at a time: for each side and each part of the work.
struct Bars<'a> {
    ui: &'a Ui,
    current: Option<(tolmach_model::Side, &'static str, indicatif::ProgressBar)>,
}

impl Bars<'_> {
    fn show(&mut self, progress: Progress) {
        let Progress { side, what, done, of } = progress;
        if self.current.as_ref().is_none_or(|(s, w, _)| (*s, *w) != (side, what)) {
            self.finish();
            let bar = self.ui.bar(of as u64, side_name(side));
            bar.set_message(what);
            self.current = Some((side, what, bar));
        }
        if let Some((_, _, bar)) = &self.current {
            bar.set_position(done as u64);
        }
    }

    fn finish(&mut self) {
        if let Some((_, _, bar)) = self.current.take() {
            bar.finish_and_clear();
        }
    }
}

fn tell_oddities(card: &ReportCard, ui: &Ui) {
    if card.control.tuned_differs_from_base == Some(false) {
        ui.warn("the adapter changes nothing: it was never trained, or its weights were lost");
    }
    if card.skipped.too_long_prompts > 0 {
        let count = card.skipped.too_long_prompts;
        ui.warn(format!("{count} prompts were left out: too long for the model's context"));
    }
}

fn write(folder: &Path, evaluation: &Evaluation) -> Result<(), Failure> {
    let card = &evaluation.card;
    write_jsonl(&folder.join("replies.jsonl"), &evaluation.replies)?;
    tolmach_durable::write(&folder.join("card.md"), card.to_markdown())?;
    let json: Value = serde_json::to_value(card)?;
    tolmach_durable::write(&folder.join("card.json"), format!("{json:#}\n"))?;
    Ok(())
}

fn failure(error: tolmach_eval::Error) -> Failure {
    use tolmach_eval::Error;
    let exit = match &error {
        Error::Config { .. } | Error::NoRoom { .. } | Error::UnknownMeasure { .. } => Exit::Usage,
        _ => Exit::Input,
    };
    let hint = error.hint();
    Failure::from(error).exit(exit).maybe_hint(hint)
}
