//! `tolmach score`: how good a translation is, against references or by way of a round trip.

use super::translate::translate_file;
use crate::recipe;
use crate::report::{Exit, Failure, Outcome};
use crate::ui::Ui;
use clap::ValueEnum;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use tolmach_corpus::{Example, read_examples, write_examples};
use tolmach_translate::quality::{
    Bleu, BleuTokenizer, Compared, Page, QualityError, Scores, back_translations, compare_examples,
    compare_lines, sample, score, to_translate_back,
};

const EXAMPLES: &str = "\
Examples:
  Two text files, line by line: chrF++, chrF and BLEU as sacreBLEU has them:
    tolmach score engine.ru --ref human.ru
  The same as a page, with the worst twenty beside their sources:
    tolmach score engine.ru --ref human.ru --source english.en --report quality.html
  A translated data set against one translated by hand, example by example:
    tolmach score russian.jsonl --ref human.jsonl --report quality.html
  Without references: 200 examples back into English by another engine, compared with their sources:
    tolmach score russian.jsonl --round-trip back.toml --sample 200 --report quality.html

The recipe of a round trip needs one section: [translate] with `engine` and what that engine needs.
A round trip that stopped goes on with the same command: its answers are in a journal beside IN.";

/// Score a translation: chrF++, chrF and BLEU, against references or by a round trip
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The translation: text, a segment a line (`-` reads standard input), or a data set (.jsonl, .json,
    /// .parquet)
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// A right translation, in the same form; several times for several
    #[arg(long = "ref", value_name = "FILE", required_unless_present = "round_trip")]
    references: Vec<PathBuf>,
    /// What was translated, for the page; a data set has it in itself
    #[arg(long, value_name = "FILE")]
    source: Option<PathBuf>,
    /// Translate some examples back: a recipe whose section [translate] says with which engine
    #[arg(long, value_name = "RECIPE.toml", conflicts_with_all = ["references", "source"])]
    round_trip: Option<PathBuf>,
    /// The language to translate back into: that of the sources
    #[arg(long, default_value = "en", value_name = "CODE")]
    source_language: String,
    /// How many examples make the round trip
    #[arg(long, default_value_t = 200, value_name = "N")]
    sample: usize,
    /// Another seed, another sample
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// The words that BLEU counts
    #[arg(long, value_enum, default_value = "13a", value_name = "NAME")]
    tokenize: TokenizerName,
    /// Also write a page (HTML) with the worst segments side by side
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// How many of the worst the page shows
    #[arg(long, default_value_t = 20, value_name = "N")]
    worst: usize,
    /// Overwrite the page
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum TokenizerName {
    /// mteval-v13a, as for WMT
    #[value(name = "13a")]
    V13a,
    /// Characters, for languages without spaces
    Char,
    /// White space: the text is tokenized
    None,
}

/// What is to be scored, and what the page says about it.
struct Comparison {
    compared: Vec<Compared>,
    facts: Vec<(String, String)>,
}

pub fn run(args: &Args, ui: &Ui) -> Outcome {
    if let Some(page) = args.report.as_deref().filter(|page| page.exists() && !args.force) {
        return Err(Failure::usage(format!("{} exists", page.display())).hint("overwrite it with --force"));
    }
    let comparison = match &args.round_trip {
        Some(recipe) => round_trip(args, recipe, ui)?,
        None if is_data_set(&args.input) => data_sets(args)?,
        None => texts(args)?,
    };
    let Comparison { compared, facts } = comparison;
    let tokenizer = match args.tokenize {
        TokenizerName::V13a => BleuTokenizer::V13a,
        TokenizerName::Char => BleuTokenizer::Char,
        TokenizerName::None => BleuTokenizer::None,
    };
    let scores = score(&compared, Bleu { tokenizer }).map_err(failure)?;
    if !ui.json {
        for figure in scores.figures() {
            ui.stdout_line(&format!("{}|{} = {:.2}", figure.name, figure.signature, figure.score));
        }
    }
    if let Some(path) = &args.report {
        let name =
            args.input.file_name().map_or_else(|| shown(&args.input), |n| n.to_string_lossy().into_owned());
        let title = format!("Translation quality: {name}");
        let (facts, look) = (facts.clone(), tolmach_serve::LOOK);
        let page = Page { title, look, facts, scores: &scores, compared: &compared, worst: args.worst };
        tolmach_durable::write(path, page.to_html())?;
        ui.say(format!("the page is in {}", path.display()));
    }
    Ok(Some(json(args, &scores, &compared, facts)))
}

fn json(
    args: &Args,
    scores: &Scores,
    compared: &[Compared],
    facts: Vec<(String, String)>,
) -> serde_json::Value {
    json!({
        "input": args.input,
        "segments": compared.len(),
        "scores": scores.figures(),
        "bleu_precisions": scores.bleu_parts.precisions,
        "brevity_penalty": scores.bleu_parts.brevity_penalty,
        "words": scores.words.0,
        "reference_words": scores.words.1,
        "report": args.report,
        "facts": facts.into_iter().map(|(name, value)| (name, value.into())).collect::<serde_json::Map<_, _>>(),
    })
}

fn texts(args: &Args) -> Result<Comparison, Failure> {
    let translations = lines(&args.input)?;
    let names: Vec<String> = args.references.iter().map(|path| shown(path)).collect();
    let mut references = Vec::new();
    for (name, path) in names.iter().zip(&args.references) {
        if is_data_set(path) {
            return Err(unlike(&args.input, path));
        }
        references.push((name.as_str(), lines(path)?));
    }
    let source_name = args.source.as_deref().map(shown).unwrap_or_default();
    let sources = args.source.as_deref().map(lines).transpose()?.map(|lines| (source_name.as_str(), lines));
    let compared = compare_lines(&translations, &references, sources.as_ref()).map_err(failure)?;
    Ok(Comparison { compared, facts: vec![("reference".to_string(), names.join(", "))] })
}

fn data_sets(args: &Args) -> Result<Comparison, Failure> {
    if args.source.is_some() {
        return Err(Failure::usage("--source is for text files: a data set has its sources in itself"));
    }
    let translated = read_examples(&args.input)?;
    let mut references = Vec::new();
    for path in &args.references {
        if !is_data_set(path) {
            return Err(unlike(&args.input, path));
        }
        references.push(read_examples(path)?);
    }
    let compared = compare_examples(&translated, &references).map_err(failure)?;
    let names: Vec<String> = args.references.iter().map(|path| shown(path)).collect();
    let mut facts = vec![("reference".to_string(), names.join(", "))];
    facts.extend(engines(translated.iter()));
    Ok(Comparison { compared, facts })
}

/// Some examples translated back, beside their sources.
fn round_trip(args: &Args, recipe: &Path, ui: &Ui) -> Result<Comparison, Failure> {
    if !is_data_set(&args.input) {
        return Err(Failure::usage("--round-trip needs a data set (.jsonl, .json, .parquet) with sources"));
    }
    let examples = read_examples(&args.input)?;
    let sample = sample(&examples, args.sample, args.seed);
    let language = sample.first().and_then(|e| e.language.clone());
    let Some(language) = language else {
        return Err(Failure::input(format!("{} holds no translated example", shown(&args.input)))
            .hint("translated examples have `source` and `language`; tolmach translate writes them"));
    };
    let (parsed, source) = recipe::read(recipe, &[])?;
    let folder = recipe.parent().unwrap_or(Path::new(""));
    let config = recipe::translation(parsed.translate, &language, &args.source_language, folder)
        .map_err(|failure| source.locate(failure))?
        .ok_or_else(|| Failure::usage("--source-language is the language of the translation itself"))?;

    let (there, back) = (beside(&args.input, "round-trip.in.jsonl"), beside(&args.input, "round-trip.jsonl"));
    write_examples(&there, &to_translate_back(&sample))?;
    let report = translate_file(&there, &back, &config, ui);
    // Whatever came of it, the sample can be drawn again.
    drop(std::fs::remove_file(&there));
    let stats = report?.stats;
    let compared = back_translations(&sample, &read_examples(&back)?);
    let mut facts: Vec<(String, String)> = engines(sample.iter().copied()).collect();
    facts.push(("translated back by".to_string(), config.engine.name().to_string()));
    facts.push(("examples in the sample".to_string(), sample.len().to_string()));
    facts.push(("of these without a way back".to_string(), stats.missed.to_string()));
    Ok(Comparison { compared, facts })
}

/// Which engine translated how many examples, and how many were repaired.
fn engines<'a>(examples: impl Iterator<Item = &'a Example>) -> impl Iterator<Item = (String, String)> {
    let (mut engines, mut repaired) = (BTreeMap::<&str, usize>::new(), 0);
    for translation in examples.filter_map(|e| e.translation.as_ref()) {
        *engines.entry(&translation.engine).or_default() += 1;
        repaired += usize::from(!translation.repairs.is_empty());
    }
    let named: Vec<String> = engines.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let facts = [("examples by engine", named.join(", ")), ("repaired examples", repaired.to_string())];
    let known = !engines.is_empty();
    facts.into_iter().filter(move |_| known).map(|(name, value)| (name.to_string(), value))
}

/// The lines of a text file, without what ends them.
fn lines(path: &Path) -> Result<Vec<String>, Failure> {
    let name = shown(path);
    let cannot = |e: std::io::Error| Failure::input(format!("cannot read {name}: {e}"));
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().read_to_end(&mut bytes).map_err(cannot)?;
    } else {
        bytes = std::fs::read(path).map_err(cannot)?;
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|&&b| b == b'\n').count();
        Failure::input(format!("{name}:{line}: not UTF-8")).hint("convert the file, for example with iconv")
    })?;
    Ok(text.split_terminator('\n').map(|line| line.trim_end_matches('\r').to_string()).collect())
}

/// Whether the name is that of a data set; everything else is text.
fn is_data_set(path: &Path) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    let name = name.trim_end_matches(".gz").trim_end_matches(".zst");
    [".jsonl", ".json", ".parquet"].iter().any(|ending| name.ends_with(ending))
}

fn unlike(input: &Path, other: &Path) -> Failure {
    Failure::usage(format!("{} and {} are of different forms", shown(input), shown(other)))
        .hint("compare text with text, or a data set with a data set")
}

fn failure(error: QualityError) -> Failure {
    Failure { exit: Exit::Input, hint: None, error: error.into() }
}

fn shown(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input".to_string() } else { path.display().to_string() }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}
