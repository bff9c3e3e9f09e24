//! `tolmach translate`: a data set in one language in, the same examples in another out.

use crate::hub;
use crate::interrupt;
use crate::report::{Exit, Failure, Outcome};
use crate::ui::Ui;
use serde_json::json;
use std::path::{Path, PathBuf};
use tolmach_corpus::{read_examples, write_examples};
use tolmach_translate::{
    Engine, EngineKind, Error, Journal, Missed, Options, Price, Progress, Review, Scope, Stats, Survey,
    TranslateConfig, Translated, survey, translate_examples,
};

mod args;

pub use args::Args;

/// What the examples that are set aside are called, behind the name of the output.
const REVIEW: &str = "review.jsonl";

pub fn run(args: Args, ui: &Ui) -> Outcome {
    let input = hub::data(&args.input, ui)?;
    let (output, dry_run, force) = (args.output.clone(), args.dry_run, args.force);
    let mut config = args.config()?;
    fetch_engine(&mut config, ui)?;
    if dry_run {
        return dry(&input, &output, &config, ui);
    }
    refuse_to_overwrite(&input, &output, force)?;
    let report = translate_file(&input, &output, &config, ui)?;
    report.say(ui);
    Ok(Some(report.json(&config)))
}

/// The model of the local engine, on this machine if it is named at the Hub.
///
/// # Errors
/// As [`hub::model`].
pub fn fetch_engine(config: &mut TranslateConfig, ui: &Ui) -> Result<(), Failure> {
    if let (EngineKind::Marian, Some(model)) = (config.engine, &config.model) {
        let folder = hub::model(Path::new(model), ui)?;
        config.model = Some(folder.to_string_lossy().into_owned());
    }
    match &mut config.fallback {
        Some(fallback) => fetch_engine(fallback, ui),
        None => Ok(()),
    }
}

/// What a translated file is, and what lies beside it.
pub struct Report {
    pub stats: Stats,
    pub output: PathBuf,
    /// Where the examples without a translation are, if there are any.
    pub review: Option<PathBuf>,
    pub journal: Option<PathBuf>,
    /// The currency of `stats.cost`.
    currency: Option<String>,
    first_reason: Option<String>,
}

/// Translate the file `input` into the file `output`, with everything that belongs to it: journal, review
/// file, progress. The output is written whole at the end, so a run that stopped is simply run again.
///
/// # Errors
/// As [`translate_examples`]; also when not one example has a translation.
pub fn translate_file(
    input: &Path,
    output: &Path,
    config: &TranslateConfig,
    ui: &Ui,
) -> Result<Report, Failure> {
    let options = config.options().map_err(failure)?;
    let engines = open_engines(config, api_key)?;
    let mut examples = read_examples(input)?;
    let review_path = beside(output, REVIEW);
    if review_path.exists() {
        // What a person has mended there belongs to this output.
        Review::attach(&mut examples, read_examples(&review_path)?);
    }
    let journal_path = journal_path(output, config, &engines);
    let mut journal = open_journal(journal_path.as_deref(), config, &engines)?;

    let bar = ui.bar(0, "translate");
    let price = engines[0].price();
    let mut estimate = None;
    let mut progress = |event: Progress<'_>| match event {
        Progress::Surveyed(survey) => {
            estimate = survey.estimated_cost;
            bar.suspend(|| say_survey(survey, price.as_ref(), config, ui));
            bar.set_length(survey.texts_to_send as u64);
        }
        Progress::Repairing { texts } => {
            bar.inc_length(texts as u64);
            bar.set_message("repairing");
        }
        Progress::Answered { segments, cost } => {
            bar.inc(segments as u64);
            let money = |price: &Price| {
                format!("{cost:.2} of about {:.2} {}", estimate.unwrap_or(cost), price.currency)
            };
            bar.set_message(price.as_ref().map(money).unwrap_or_default());
        }
        Progress::Retrying { error, pause } => {
            bar.set_message(format!("retry in {:.1} s", pause.as_secs_f64()));
            if ui.verbose > 0 {
                bar.suspend(|| ui.warn(format!("{error}; again in {:.1} s", pause.as_secs_f64())));
            }
        }
    };
    let translated = translate_examples(
        &examples,
        &in_order(&engines),
        journal.as_mut(),
        &options,
        &mut progress,
        interrupt::flag(),
    );
    bar.finish_and_clear();
    let currency = price.map(|price| price.currency);
    write(translated.map_err(failure)?, output, journal_path, currency)
}

fn write(
    translated: Translated,
    output: &Path,
    journal: Option<PathBuf>,
    currency: Option<String>,
) -> Result<Report, Failure> {
    let Translated { examples, missed, decided, stats } = translated;
    let review_path = beside(output, REVIEW);
    let first_reason = missed.first().map(|m| m.reason.clone());
    if missed.is_empty() && decided.is_empty() {
        // One of an earlier run would tell of examples that are translated now.
        match std::fs::remove_file(&review_path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::input(format!("cannot remove {}: {e}", review_path.display())));
            }
            _ => {}
        }
    } else {
        // Decisions stay, so that a later run does not ask again.
        let rows: Vec<_> = missed.into_iter().map(Missed::into_example).chain(decided).collect();
        write_examples(&review_path, &rows)?;
    }
    if examples.is_empty() {
        let reason = first_reason.as_deref().unwrap_or("there was none");
        return Err(Failure::input(format!(
            "not one of {} examples has a translation; the first: {reason}",
            stats.survey.examples
        ))
        .hint(format!("the examples are in {} with their reasons", review_path.display())));
    }
    write_examples(output, &examples)?;
    let review = (stats.missed > 0).then_some(review_path);
    Ok(Report { stats, output: output.to_path_buf(), review, journal, currency, first_reason })
}

impl Report {
    pub fn say(&self, ui: &Ui) {
        let stats = &self.stats;
        ui.say(format!(
            "translated {} of {} examples in {:.1} s: {}",
            stats.translated,
            stats.survey.examples,
            stats.seconds,
            self.output.display()
        ));
        if let (Some(cost), Some(currency)) = (stats.cost, &self.currency) {
            ui.say(format!("{} characters were sent, for about {cost:.2} {currency}", stats.characters_sent));
        }
        if stats.already_translated > 0 {
            ui.say(format!("{} were translated already and passed through", stats.already_translated));
        }
        if stats.repaired > 0 {
            ui.say(format!("{} were repaired; each says what in `translation.repairs`", stats.repaired));
        }
        if stats.mended > 0 {
            ui.say(format!("{} were mended by a person", stats.mended));
        }
        if stats.dropped > 0 {
            ui.say(format!("{} were dropped by a person", stats.dropped));
        }
        if stats.kept > 0 {
            ui.warn(format!("{} examples were left in their own language", stats.kept));
        }
        if let (Some(path), Some(reason)) = (&self.review, &self.first_reason) {
            ui.warn(format!(
                "{} examples were set aside in {}; the first: {reason}",
                stats.missed,
                path.display()
            ));
        }
    }

    fn json(&self, config: &TranslateConfig) -> serde_json::Value {
        let mut value = json!({
            "output": self.output,
            "review_output": self.review,
            "journal": self.journal,
            "currency": self.currency,
            "engine": config.engine,
            "from": config.from,
            "to": config.to,
        });
        if let (Some(all), Ok(serde_json::Value::Object(stats))) =
            (value.as_object_mut(), serde_json::to_value(self.stats))
        {
            all.extend(stats);
        }
        value
    }
}

fn dry(input: &Path, output: &Path, config: &TranslateConfig, ui: &Ui) -> Outcome {
    let options: Options = config.options().map_err(failure)?;
    // Nothing is sent, so the key may come later.
    let engines =
        open_engines(config, |config| Ok(api_key(config).ok().flatten().or(Some("none yet".to_string()))))?;
    let examples = read_examples(input)?;
    let journal = journal_path(output, config, &engines).filter(|path| path.exists());
    let journal = open_journal(journal.as_deref(), config, &engines)?;
    let survey = survey(&examples, &in_order(&engines), journal.as_ref(), &options).map_err(failure)?;
    let price = engines[0].price();
    say_survey(&survey, price.as_ref(), config, ui);
    let mut report = serde_json::to_value(survey)?;
    report["currency"] = json!(price.map(|price| price.currency));
    Ok(Some(report))
}

fn say_survey(survey: &Survey, price: Option<&Price>, config: &TranslateConfig, ui: &Ui) {
    ui.say(format!(
        "{} examples, {} segments, {} different, {} in the journal; to send: {} texts, {} characters, {} requests",
        survey.examples,
        survey.segments,
        survey.unique_segments,
        survey.journal_hits,
        survey.texts_to_send,
        survey.characters_to_send,
        survey.requests_to_send
    ));
    let time = survey.seconds_at_rate_limit.map(|s| format!("at least {} at the rate limit", duration(s)));
    let cost = survey.estimated_cost.zip(price).map(|(cost, price)| {
        // A price that the user has not set is a list price of some day.
        let kind = if config.price_per_million.is_none() { " (list price)" } else { "" };
        format!("about {cost:.2} {} at {} per million characters{kind}", price.currency, price.per_million)
    });
    let cost = cost.or_else(|| {
        let charges =
            matches!(config.engine, EngineKind::OpenAi | EngineKind::Http) && survey.texts_to_send > 0;
        charges.then(|| "cost unknown: say --price-per-million if the service charges".to_string())
    });
    let parts: Vec<String> = [time, cost].into_iter().flatten().collect();
    if !parts.is_empty() {
        ui.say(format!("estimate: {}", parts.join(", ")));
    }
}

/// A time that a person can imagine: `42 s`, `13 min`, `5 h 20 min`.
fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round();
    match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        ..7200.0 => format!("{minutes} min"),
        _ => format!("{} h {} min", (minutes / 60.0).floor(), minutes % 60.0),
    }
}

/// The engine of `config` and those behind it, in order, each with its key.
fn open_engines(
    config: &TranslateConfig,
    key: impl Fn(&TranslateConfig) -> Result<Option<String>, Failure>,
) -> Result<Vec<Box<dyn Engine>>, Failure> {
    config.engines().iter().map(|config| config.open_engine(key(config)?).map_err(failure)).collect()
}

fn in_order(engines: &[Box<dyn Engine>]) -> Vec<&dyn Engine> {
    engines.iter().map(AsRef::as_ref).collect()
}

fn api_key(config: &TranslateConfig) -> Result<Option<String>, Failure> {
    let key = config.key_variable().and_then(|name| std::env::var(name).ok()).filter(|key| !key.is_empty());
    match (key, &config.api_key_env) {
        (None, Some(name)) => {
            Err(Failure::usage(format!("the environment variable {name} holds no API key"))
                .hint(format!("export {name}=…, or leave out --api-key-env")))
        }
        (key, _) => Ok(key),
    }
}

/// `None` where nothing needs to be remembered.
fn journal_path(output: &Path, config: &TranslateConfig, engines: &[Box<dyn Engine>]) -> Option<PathBuf> {
    match &config.journal {
        Some(path) => Some(path.clone()),
        None if engines.iter().all(|engine| engine.is_free()) => None,
        None => Some(beside(output, "journal.sqlite")),
    }
}

/// The journal, unless it is plainly that of another recipe: of other engines, or of other languages.
fn open_journal(
    path: Option<&Path>,
    config: &TranslateConfig,
    engines: &[Box<dyn Engine>],
) -> Result<Option<Journal>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let journal = Journal::open(path).map_err(|e| failure(e.into()))?;
    let scopes = journal.scopes().map_err(|e| failure(e.into()))?;
    let ours = |scope: &Scope| {
        // What was asked for again is filed under `identity#2`, `identity#3`…
        let name = scope.engine.split('#').next().unwrap_or_default();
        let known = engines.iter().any(|engine| engine.identity() == name);
        known && scope.pair.from == config.from && scope.pair.to == config.to
    };
    let theirs = scopes.first().filter(|_| !config.share_journal && !scopes.iter().any(ours));
    // The content of a memory is part of its identity: a memory that has grown is no other recipe.
    let Some(theirs) = theirs.filter(|_| !engines.iter().all(|engine| engine.is_free())) else {
        return Ok(Some(journal));
    };
    Err(Failure::input(format!(
        "the journal {} is of another recipe: it holds answers of `{}` from {} to {}; this run asks `{}` from {} to {}",
        path.display(),
        theirs.engine,
        theirs.pair.from,
        theirs.pair.to,
        engines[0].identity(),
        config.from,
        config.to
    ))
    .hint("name another file with --journal, or let both recipes use it with --share-journal"))
}

fn beside(output: &Path, suffix: &str) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn refuse_to_overwrite(input: &Path, output: &Path, force: bool) -> Result<(), Failure> {
    if output.as_os_str() == "-" {
        return Err(Failure::usage("the output has companions (journal, review file): name a file"));
    }
    let same = |a: &Path| matches!((a.canonicalize(), input.canonicalize()), (Ok(a), Ok(b)) if a == b);
    for path in [output, &beside(output, REVIEW)] {
        if same(path) {
            return Err(Failure::usage(format!("{} is the input and would be overwritten", path.display()))
                .hint("name another file with -o"));
        }
        if path.exists() && !force {
            return Err(
                Failure::usage(format!("{} exists", path.display())).hint("overwrite it with --force")
            );
        }
    }
    Ok(())
}

/// The exit code and the hint of an error.
fn failure(error: Error) -> Failure {
    let (exit, hint) = match &error {
        Error::Config(_) => (Exit::Usage, None),
        Error::Memory(_) => (Exit::Input, None),
        Error::Marian(e) => (Exit::Input, e.hint()),
        Error::Journal(e) => (Exit::Input, e.hint()),
        Error::Engine { source, .. } => (Exit::Network, source.hint()),
        Error::TooDear { .. } => (Exit::Usage, Some("raise --max-cost, or translate fewer examples")),
        Error::Budget { .. } => {
            (Exit::CheckFailed, Some("run the same command again with a higher --max-cost to go on"))
        }
        Error::Interrupted { .. } => (Exit::Interrupted, Some("run the same command again to go on")),
        Error::Missed { .. } => (Exit::CheckFailed, Some("--on-miss drop sets such examples aside")),
        Error::RowsLost { .. } => (Exit::CheckFailed, Some("this is a fault of tolmach")),
    };
    let hint = hint.map(str::to_string);
    Failure { exit, hint, error: error.into() }
}
