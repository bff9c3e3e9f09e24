//! `tolmach translate`: a data set in one language in, the same examples in another out.

use crate::interrupt;
use crate::report::{Exit, Failure, Outcome};
use crate::ui::Ui;
use clap::ValueEnum;
use serde_json::json;
use std::path::{Path, PathBuf};
use tolmach_corpus::{read_examples, write_examples};
use tolmach_translate::{
    Engine, EngineKind, Error, Journal, Missed, ModelWeights, OnMiss, Options, Progress, Review, Stats,
    Survey, TranslateConfig, Translated, survey, translate_examples,
};

const EXAMPLES: &str = "\
Examples:
  From a translation memory (TMX, or JSONL of {\"source\", \"target\"}):
    tolmach translate clean.jsonl -o russian.jsonl --from en --to ru --engine memory --memory en-ru.tmx
  With an OPUS-MT model, on this machine:
    tolmach translate clean.jsonl -o russian.jsonl --from en --to ru --engine marian --model opus-mt-en-ru
  With a LibreTranslate server:
    tolmach translate clean.jsonl -o russian.jsonl --from en --to ru \\
      --engine libretranslate --endpoint http://localhost:5000
  What would be sent, without sending it:
    tolmach translate clean.jsonl -o russian.jsonl --to ru --engine libretranslate \\
      --endpoint https://libretranslate.com --api-key-env LT_KEY --dry-run

Stopped by Ctrl-C, a crash or a dead service, the same command goes on: every answer is in the journal.
Every answer is checked: protected parts, digits, language, length, sentences, loops. What fails is asked for
again in other ways. Examples that still fail go to OUT.review.jsonl, with the reason and a draft: mend the
draft there, run the same command with --force, and they are taken up.";

/// What the examples that are set aside are called, behind the name of the output.
const REVIEW: &str = "review.jsonl";

/// Translate a data set; every example stays whole, nothing is asked or paid for twice
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The data set to translate: JSON or JSONL, also .gz or .zst; `-` reads standard input
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Where the translated examples go (JSONL)
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Language of the examples
    #[arg(long, default_value = "en", value_name = "CODE")]
    from: String,
    /// Language to translate into
    #[arg(long, value_name = "CODE")]
    to: String,
    /// Who translates
    #[arg(long, value_enum)]
    engine: EngineName,
    /// The translation memory of the engine `memory`: TMX, or JSONL of {"source", "target"}
    #[arg(long, value_name = "FILE", required_if_eq("engine", "memory"))]
    memory: Option<PathBuf>,
    /// The OPUS-MT model of the engine `marian`: a folder in the Hugging Face layout
    #[arg(long, value_name = "FOLDER", required_if_eq("engine", "marian"))]
    model: Option<PathBuf>,
    /// How the model's weights are kept
    #[arg(long, value_enum, default_value = "f32")]
    model_weights: WeightsName,
    /// Beams of the model's search, 1 for greedy [default: what the model's own files say]
    #[arg(long, value_name = "N")]
    beams: Option<usize>,
    /// The address of the LibreTranslate server
    #[arg(long, value_name = "URL", required_if_eq("engine", "libretranslate"))]
    endpoint: Option<String>,
    /// The environment variable that holds the key of the service
    #[arg(long, value_name = "NAME")]
    api_key_env: Option<String>,
    /// Where answers are kept [default: OUT.journal.sqlite; none for the engine `memory`]
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// What happens to an example with a segment that has no translation
    #[arg(long, value_enum, default_value = "drop")]
    on_miss: OnMissName,
    /// Leave system messages as they are
    #[arg(long)]
    keep_system: bool,
    /// Requests under way at a time
    #[arg(long, default_value_t = TranslateConfig::default().concurrency, value_name = "N")]
    concurrency: usize,
    /// Characters per request; a longer segment is sent alone
    #[arg(long, default_value_t = TranslateConfig::default().max_characters, value_name = "N")]
    max_characters: usize,
    /// Segments per request
    #[arg(long, default_value_t = TranslateConfig::default().max_segments, value_name = "N")]
    max_segments: usize,
    /// Seconds after which a request counts as failed
    #[arg(long, default_value_t = TranslateConfig::default().timeout_seconds, value_name = "N")]
    timeout_seconds: u64,
    /// Attempts at one request before the run stops
    #[arg(long, default_value_t = TranslateConfig::default().attempts, value_name = "N")]
    attempts: u32,
    /// Show what would be sent, and stop
    #[arg(long)]
    dry_run: bool,
    /// Overwrite OUT
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum EngineName {
    /// A translation memory, looked up exactly
    Memory,
    /// An OPUS-MT model, run here: no service, no key
    Marian,
    /// A LibreTranslate server
    Libretranslate,
}

#[derive(Clone, Copy, ValueEnum)]
enum WeightsName {
    /// As they are
    F32,
    /// A quarter of the memory and several times as fast; a word here and there may differ
    Int8,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnMissName {
    /// Set it aside in OUT.review.jsonl
    Drop,
    /// Emit it untranslated
    Keep,
    /// Stop with an error
    Error,
}

pub fn run(args: Args, ui: &Ui) -> Outcome {
    let (input, output, dry_run, force) = (args.input.clone(), args.output.clone(), args.dry_run, args.force);
    let config = config_of(args);
    if dry_run {
        return dry(&input, &output, &config, ui);
    }
    refuse_to_overwrite(&input, &output, force)?;
    let report = translate_file(&input, &output, &config, ui)?;
    report.say(ui);
    Ok(Some(report.json(&config)))
}

fn config_of(args: Args) -> TranslateConfig {
    TranslateConfig {
        from: args.from,
        to: args.to,
        engine: match args.engine {
            EngineName::Memory => EngineKind::Memory,
            EngineName::Marian => EngineKind::Marian,
            EngineName::Libretranslate => EngineKind::LibreTranslate,
        },
        memory: args.memory,
        model: args.model,
        model_weights: match args.model_weights {
            WeightsName::F32 => ModelWeights::F32,
            WeightsName::Int8 => ModelWeights::Int8,
        },
        beams: args.beams,
        endpoint: args.endpoint,
        api_key_env: args.api_key_env,
        journal: args.journal,
        on_miss: match args.on_miss {
            OnMissName::Drop => OnMiss::Drop,
            OnMissName::Keep => OnMiss::Keep,
            OnMissName::Error => OnMiss::Error,
        },
        translate_system: !args.keep_system,
        concurrency: args.concurrency,
        max_characters: args.max_characters,
        max_segments: args.max_segments,
        timeout_seconds: args.timeout_seconds,
        attempts: args.attempts,
        ..TranslateConfig::default()
    }
}

/// What a translated file is, and what lies beside it.
pub struct Report {
    pub stats: Stats,
    pub output: PathBuf,
    /// Where the examples without a translation are, if there are any.
    pub review: Option<PathBuf>,
    pub journal: Option<PathBuf>,
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
    let engine = open_engine(config)?;
    let mut examples = read_examples(input)?;
    let review_path = beside(output, REVIEW);
    if review_path.exists() {
        // What a person has mended there belongs to this output.
        Review::attach(&mut examples, read_examples(&review_path)?);
    }
    let journal_path = journal_path(output, config, engine.as_ref());
    let journal = journal_path.as_deref().map(Journal::open).transpose();
    let mut journal = journal.map_err(|e| failure(e.into()))?;

    let bar = ui.bar(0, "translate");
    let mut progress = |event: Progress<'_>| match event {
        Progress::Surveyed(survey) => {
            bar.suspend(|| say_survey(survey, ui));
            bar.set_length(survey.texts_to_send as u64);
        }
        Progress::Repairing { texts } => {
            bar.inc_length(texts as u64);
            bar.set_message("repairing");
        }
        Progress::Answered { segments, .. } => bar.inc(segments as u64),
        Progress::Retrying { error, pause } => {
            bar.set_message(format!("retry in {:.1} s", pause.as_secs_f64()));
            if ui.verbose > 0 {
                bar.suspend(|| ui.warn(format!("{error}; again in {:.1} s", pause.as_secs_f64())));
            }
        }
    };
    let translated = translate_examples(
        &examples,
        &[engine.as_ref()],
        journal.as_mut(),
        &options,
        &mut progress,
        interrupt::flag(),
    );
    bar.finish_and_clear();
    write(translated.map_err(failure)?, output, journal_path)
}

fn write(translated: Translated, output: &Path, journal: Option<PathBuf>) -> Result<Report, Failure> {
    let Translated { examples, missed, stats } = translated;
    let review_path = beside(output, REVIEW);
    let first_reason = missed.first().map(|m| m.reason.clone());
    if missed.is_empty() {
        // One of an earlier run would tell of examples that are translated now.
        match std::fs::remove_file(&review_path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::input(format!("cannot remove {}: {e}", review_path.display())));
            }
            _ => {}
        }
    } else {
        let missed: Vec<_> = missed.into_iter().map(Missed::into_example).collect();
        write_examples(&review_path, &missed)?;
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
    Ok(Report { stats, output: output.to_path_buf(), review, journal, first_reason })
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
        if stats.already_translated > 0 {
            ui.say(format!("{} were translated already and passed through", stats.already_translated));
        }
        if stats.repaired > 0 {
            ui.say(format!("{} were repaired; each says what in `translation.repairs`", stats.repaired));
        }
        if stats.mended > 0 {
            ui.say(format!("{} were mended by a person", stats.mended));
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
    let engine = open_engine(config)?;
    let examples = read_examples(input)?;
    let journal = journal_path(output, config, engine.as_ref()).filter(|path| path.exists());
    let journal = journal.map(|path| Journal::open(&path)).transpose().map_err(|e| failure(e.into()))?;
    let survey = survey(&examples, &[engine.as_ref()], journal.as_ref(), &options).map_err(failure)?;
    say_survey(&survey, ui);
    Ok(Some(serde_json::to_value(survey)?))
}

fn say_survey(survey: &Survey, ui: &Ui) {
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
}

fn open_engine(config: &TranslateConfig) -> Result<Box<dyn Engine>, Failure> {
    let key = match &config.api_key_env {
        None => None,
        Some(name) => match std::env::var(name) {
            Ok(key) if !key.is_empty() => Some(key),
            _ => {
                return Err(Failure::usage(format!("the environment variable {name} holds no API key"))
                    .hint(format!("export {name}=…, or leave out --api-key-env")));
            }
        },
    };
    config.open_engine(key).map_err(failure)
}

/// `None` where nothing needs to be remembered.
fn journal_path(output: &Path, config: &TranslateConfig, engine: &dyn Engine) -> Option<PathBuf> {
    match &config.journal {
        Some(path) => Some(path.clone()),
        None if engine.is_free() => None,
        None => Some(beside(output, "journal.sqlite")),
    }
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
