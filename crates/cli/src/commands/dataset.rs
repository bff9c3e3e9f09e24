//! `tolmach dataset`: examples in, a data set to be published out: splits, formats, card.

use crate::report::{Failure, Outcome};
use crate::ui::Ui;
use clap::ValueEnum;
use serde_json::json;
use std::path::{Path, PathBuf};
use tolmach_corpus::{
    CleanReport, DataFormat, DataSetFacts, DataSetReport, Shares, data_set_files, read_examples,
    write_data_set,
};

const EXAMPLES: &str = "\
Examples:
  A translated data set with its card, as Parquet:
    tolmach dataset russian.jsonl -o alpaca-ru --name \"Alpaca in Russian\" \\
      --license cc-by-nc-4.0 --source yahma/alpaca-cleaned
  With what `tolmach clean --report` wrote, another split, and JSONL beside the Parquet:
    tolmach dataset russian.jsonl -o alpaca-ru --name \"Alpaca in Russian\" --license cc-by-nc-4.0 \\
      --filters clean.report.json --validation-share 0.02 --test-share 0.02 --format parquet,jsonl

An example's side follows from its source text: a second answer to the same question, a translation and an
untranslated copy stay together, and adding rows moves no other row to another side.";

/// Write a data set to be published: train, validation and test files, and a card with their provenance
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The examples: JSON, JSONL or Parquet, also .gz or .zst; `-` reads standard input
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The folder of the data set
    #[arg(short, long, value_name = "FOLDER")]
    output: PathBuf,
    /// Its title
    #[arg(long, value_name = "TEXT")]
    name: String,
    /// Its licence, which the texts' own licences decide: cc-by-nc-4.0, apache-2.0 …; `unknown` says so
    #[arg(long, value_name = "ID")]
    license: String,
    /// Where the examples come from: org/name of a data set, or an address; several times if need be
    #[arg(long, value_name = "NAME")]
    source: Vec<String>,
    /// Share of the examples held out to watch the loss on, 0 to 1
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    validation_share: f64,
    /// Share of the examples held out for a final test, 0 to 1
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    test_share: f64,
    /// Another seed, another split
    #[arg(long, default_value_t = 0, value_name = "N")]
    split_seed: u64,
    /// Formats of the files; the card points to the first
    #[arg(long, value_enum, value_delimiter = ',', default_value = "parquet", value_name = "FORMAT")]
    format: Vec<FormatName>,
    /// What was dropped before, for the card: the report of `tolmach clean --report`
    #[arg(long, value_name = "FILE")]
    filters: Option<PathBuf>,
    /// The examples without a translation, to be counted in the card [default: IN.review.jsonl, if there]
    #[arg(long, value_name = "FILE")]
    review: Option<PathBuf>,
    /// Replace a data set in FOLDER
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatName {
    /// Typed columns, compressed
    Parquet,
    /// A JSON object on each line
    Jsonl,
}

pub fn run(args: Args, ui: &Ui) -> Outcome {
    refuse_to_overwrite(&args.output, args.force)?;
    let shares = shares(args.validation_share, args.test_share)?;
    let mut formats = Vec::new();
    for name in &args.format {
        let format = match name {
            FormatName::Parquet => DataFormat::Parquet,
            FormatName::Jsonl => DataFormat::Jsonl,
        };
        if !formats.contains(&format) {
            formats.push(format);
        }
    }
    let facts = DataSetFacts {
        name: args.name,
        license: args.license,
        sources: args.source,
        shares,
        split_seed: args.split_seed,
        filters: args.filters.as_deref().map(filters).transpose()?,
        set_aside: set_aside(&args.input, args.review)?,
    };
    let examples = read_examples(&crate::hub::data(&args.input, ui)?)?;
    let report = write_data_set(&args.output, examples, &formats, &facts)?;
    say(&report, &args.output, ui);
    Ok(Some(json!({
        "output": args.output,
        "card": report.card,
        "splits": report.splits,
        "set_aside": facts.set_aside,
    })))
}

fn shares(validation: f64, test: f64) -> Result<Shares, Failure> {
    for (flag, share) in [("--validation-share", validation), ("--test-share", test)] {
        if !(0.0..=1.0).contains(&share) {
            return Err(Failure::usage(format!("{flag} {share}: expected a share from 0 to 1")));
        }
    }
    if validation + test >= 1.0 {
        return Err(Failure::usage(format!(
            "--validation-share {validation} and --test-share {test} leave nothing for training"
        )));
    }
    Ok(Shares { validation, test })
}

fn filters(path: &Path) -> Result<CleanReport, Failure> {
    let name = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|e| Failure::input(format!("cannot read {name}: {e}")))?;
    serde_json::from_str(&text).map_err(|e| {
        Failure::input(format!("{name} is no report of a cleaning: {e}"))
            .hint("write one with tolmach clean … --report FILE")
    })
}

/// How many examples wait for a person, if there is a file that tells.
fn set_aside(input: &Path, review: Option<PathBuf>) -> Result<Option<usize>, Failure> {
    let path = match review {
        Some(path) => path,
        None => {
            let mut beside = input.as_os_str().to_owned();
            beside.push(".review.jsonl");
            let beside = PathBuf::from(beside);
            if !beside.exists() {
                return Ok(None);
            }
            beside
        }
    };
    Ok(Some(read_examples(&path)?.len()))
}

fn refuse_to_overwrite(folder: &Path, force: bool) -> Result<(), Failure> {
    match data_set_files(folder).find(|path| path.exists()) {
        Some(path) if !force => {
            Err(Failure::usage(format!("{} exists", path.display()))
                .hint("replace the data set with --force"))
        }
        _ => Ok(()),
    }
}

fn say(report: &DataSetReport, folder: &Path, ui: &Ui) {
    for split in &report.splits {
        let files: Vec<String> =
            split.files.iter().map(|f| format!("{} ({} bytes)", f.path, f.bytes)).collect();
        ui.say(format!("{}: {} examples, {}", split.name, split.examples, files.join(", ")));
    }
    if !report.splits.iter().any(|split| split.name == "train") {
        ui.warn("not one example is left for training: lower the shares");
    }
    ui.say(format!("the data set is in {}, its card is {}", folder.display(), report.card.display()));
}
