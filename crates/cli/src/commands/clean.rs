//! `tolmach clean`: which examples are worth translating, and why the others are not.

use crate::report::{Failure, Outcome};
use crate::ui::Ui;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde_json::json;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tolmach_corpus::{
    CleanConfig, CleanReport, Cleaned, Example, RULES, Rule, RuleCount, read_examples, write_examples,
    write_jsonl, write_jsonl_to,
};

const EXAMPLES: &str = "\
Examples:
  What is dropped, and why, with every rule at its default:
    tolmach clean alpaca.json -o clean.jsonl
  Keep code, allow longer answers:
    tolmach clean alpaca.json -o clean.jsonl --without code --max-field-chars 4000
  Only remove duplicates, from a pipe to a pipe:
    zcat data.jsonl.gz | tolmach clean - -o - --only duplicates,near_duplicates > unique.jsonl
  The settings of a recipe, and one more phrase:
    tolmach clean alpaca.json -o clean.jsonl --config recipe.toml --set 'about_language.phrases=[\"riddle\"]'
  What the rules are and how they are tuned:
    tolmach clean --list-rules

IN may hold alpaca rows (instruction, input, output), OpenAI messages, ShareGPT conversations or text.
Dropped examples go to OUT.dropped.jsonl, each with its rule and the reason; nothing is lost.";

/// Characters of the example in the table: a row stays on one line of 110.
const SHOWN_CHARS: usize = 64;

/// Drop what cannot be learnt or translated; say what was dropped and why
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The data set: JSON, JSONL or Parquet, also .gz or .zst; a `*` in the name stands for several files; `-` reads
    /// standard input
    #[arg(value_name = "IN", required_unless_present = "list_rules")]
    input: Option<PathBuf>,
    /// Where the kept examples go (JSONL, or Parquet by its name; .gz or .zst compresses; `-` is standard
    /// output)
    #[arg(short, long, value_name = "OUT", required_unless_present = "list_rules")]
    output: Option<PathBuf>,
    /// Where the dropped examples go [default: OUT.dropped.jsonl; nowhere if OUT is `-`]
    #[arg(long, value_name = "FILE")]
    dropped: Option<PathBuf>,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Language of the examples
    #[arg(long, default_value = "en", value_name = "CODE")]
    from: String,
    /// A recipe whose section [clean] has the settings
    #[arg(long, value_name = "RECIPE.toml")]
    config: Option<PathBuf>,
    /// Only these rules
    #[arg(long, value_name = "RULE", value_delimiter = ',', value_parser = parse_rule)]
    only: Vec<Rule>,
    /// All rules but these
    #[arg(long, value_name = "RULE", value_delimiter = ',', value_parser = parse_rule)]
    without: Vec<Rule>,
    /// Longest field, in characters (rule too_long)
    #[arg(long, value_name = "N")]
    max_field_chars: Option<usize>,
    /// Longest example, in characters (rule too_long)
    #[arg(long, value_name = "N")]
    max_total_chars: Option<usize>,
    /// From which similarity two examples count as one, 0 to 1 (rule near_duplicates)
    #[arg(long, value_name = "SHARE")]
    similarity: Option<f64>,
    /// Any setting of [clean], as TOML: rule.setting=value
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// List the rules with what they drop and their settings, and stop
    #[arg(long)]
    list_rules: bool,
    /// Overwrite the output files
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args, ui: &Ui) -> Outcome {
    let config = config_of(&args)?;
    if args.list_rules {
        return Ok(list_rules(&config, ui));
    }
    let (Some(input), Some(output)) = (args.input, args.output) else {
        return Err(Failure::usage("IN and -o OUT are needed"));
    };
    let outputs = Outputs::new(&output, args.dropped, args.report, ui)?;
    outputs.refuse_to_overwrite(args.force)?;
    let input = crate::hub::data(&input, ui)?;
    let cleaned = clean_file(&input, &config, &args.from, ui)?;
    refuse_empty(&cleaned, &input)?;
    outputs.write(&cleaned)?;
    say_table(&cleaned.report, ui);
    ui.say(format!("{} examples kept in {}", cleaned.report.kept, shown(&output)));
    if let Some(dropped) = &outputs.dropped {
        ui.say(format!("{} examples dropped, in {}", cleaned.report.dropped, dropped.display()));
    }
    Ok(Some(outputs.json(&cleaned.report, &input, &args.from)?))
}

/// Read a data set and clean it, with progress. Also the first stage of `tolmach teach`.
pub fn clean_file(input: &Path, config: &CleanConfig, from: &str, ui: &Ui) -> Result<Cleaned, Failure> {
    let examples = read_examples(input)
        .map_err(|e| Failure::from(e).hint("tolmach clean --help names the formats that are read"))?;
    let bar = ui.bar(examples.len() as u64, "clean");
    let cleaned = tolmach_corpus::clean(examples, config, from, |done| bar.set_position(done as u64));
    bar.finish_and_clear();
    Ok(cleaned)
}

/// An empty result is an error: whatever comes next would fail with less to say.
pub fn refuse_empty(cleaned: &Cleaned, input: &Path) -> Result<(), Failure> {
    if !cleaned.kept.is_empty() {
        return Ok(());
    }
    let mut rules: Vec<&RuleCount> = cleaned.report.rules.iter().filter(|rule| rule.dropped > 0).collect();
    rules.sort_by_key(|rule| std::cmp::Reverse(rule.dropped));
    let counts: Vec<_> = rules.iter().map(|rule| format!("{} {}", rule.rule, rule.dropped)).collect();
    let total = cleaned.report.total;
    let message = format!(
        "nothing is left of the {total} examples of {}: dropped by {}",
        shown(input),
        counts.join(", ")
    );
    let worst = rules.first().and_then(|rule| Some((rule.rule, rule.examples.first()?)));
    let hint = worst.map(|(rule, example)| {
        format!("for example: {} ({}); --without {rule} switches the rule off", example.text, example.reason)
    });
    Err(Failure::input(message).maybe_hint(hint))
}

/// File, then flags: the later one wins.
fn config_of(args: &Args) -> Result<CleanConfig, Failure> {
    let mut table = match &args.config {
        Some(recipe) => clean_section(recipe)?,
        None => toml::Table::new(),
    };
    for setting in &args.set {
        set(&mut table, setting)?;
    }
    let mut config: CleanConfig = table.try_into().map_err(|e| {
        let message = e.to_string();
        Failure::usage(format!("[clean]: {}", message.trim()))
            .hint("tolmach clean --list-rules shows every setting")
    })?;
    if !args.only.is_empty() {
        for descriptor in RULES {
            // A rule that is on keeps its settings.
            config.set(descriptor.rule, args.only.contains(&descriptor.rule));
        }
    }
    for &rule in &args.without {
        config.set(rule, false);
    }
    if let Some(chars) = args.max_field_chars {
        config.too_long.options_mut().max_field_chars = chars;
    }
    if let Some(chars) = args.max_total_chars {
        config.too_long.options_mut().max_total_chars = chars;
    }
    if let Some(similarity) = args.similarity {
        config.near_duplicates.options_mut().similarity = similarity;
    }
    config.validate().map_err(Failure::usage)?;
    Ok(config)
}

fn clean_section(recipe: &Path) -> Result<toml::Table, Failure> {
    let name = recipe.display();
    let text =
        std::fs::read_to_string(recipe).map_err(|e| Failure::input(format!("cannot read {name}: {e}")))?;
    let mut table: toml::Table = text
        .parse()
        .map_err(|e: toml::de::Error| Failure::usage(format!("{name}: {}", e.to_string().trim())))?;
    match table.remove("clean") {
        Some(toml::Value::Table(section)) => Ok(section),
        Some(_) => Err(Failure::usage(format!("{name}: `clean` is no section; write [clean]"))),
        None => Err(Failure::usage(format!("{name} has no section [clean]"))),
    }
}

/// One `--set rule.setting=value` into the table that the recipe's section is.
fn set(table: &mut toml::Table, setting: &str) -> Result<(), Failure> {
    let one: toml::Table = setting.parse().map_err(|_| {
        Failure::usage(format!("--set {setting}: expected KEY=VALUE in TOML"))
            .hint("text needs quotes: --set 'about_language.phrases=[\"riddle\"]'")
    })?;
    for (rule, value) in one {
        match (table.get_mut(&rule), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) => old.extend(new),
            (_, value) => {
                table.insert(rule, value);
            }
        }
    }
    Ok(())
}

fn parse_rule(name: &str) -> Result<Rule, String> {
    name.parse().map_err(|message| {
        let close = RULES
            .iter()
            .map(|d| d.rule.name())
            .max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        match close {
            Some(close) if strsim::jaro_winkler(close, name) > 0.8 => {
                format!("{message}; did you mean {close}?")
            }
            _ => message,
        }
    })
}

fn list_rules(config: &CleanConfig, ui: &Ui) -> Option<serde_json::Value> {
    if ui.json {
        let rules = RULES.iter().map(
            |d| json!({"rule": d.rule, "on": config.is_on(d.rule), "drops": d.drops, "defaults": d.defaults}),
        );
        return Some(json!({"rules": rules.collect::<Vec<_>>()}));
    }
    for descriptor in RULES {
        let off = if config.is_on(descriptor.rule) { "" } else { " (off)" };
        ui.stdout_line(&format!("{}{off}", descriptor.rule));
        ui.stdout_line(&format!("    drops {}", descriptor.drops));
        ui.stdout_line(&format!("    {} = {}", descriptor.rule, descriptor.defaults));
    }
    None
}

/// Where the results go.
struct Outputs {
    /// `None` is standard output.
    kept: Option<PathBuf>,
    dropped: Option<PathBuf>,
    report: Option<PathBuf>,
}

impl Outputs {
    fn new(
        output: &Path,
        dropped: Option<PathBuf>,
        report: Option<PathBuf>,
        ui: &Ui,
    ) -> Result<Self, Failure> {
        let to_stdout = output.as_os_str() == "-";
        if to_stdout && ui.json {
            return Err(Failure::usage("-o - and --json both want standard output")
                .hint("write the report with --report FILE"));
        }
        let kept = (!to_stdout).then(|| output.to_path_buf());
        let dropped = dropped.or_else(|| kept.as_deref().map(beside));
        let outputs = Self { kept, dropped, report };
        let all: Vec<_> = outputs.files().collect();
        let twice = all.iter().enumerate().find(|(i, file)| all[..*i].contains(file));
        match twice {
            Some((_, file)) => Err(Failure::usage(format!("{} is named for two outputs", file.display()))),
            None => Ok(outputs),
        }
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.kept.iter().chain(&self.dropped).chain(&self.report)
    }

    fn refuse_to_overwrite(&self, force: bool) -> Result<(), Failure> {
        match self.files().find(|file| file.exists()) {
            Some(file) if !force => {
                Err(Failure::usage(format!("{} exists", file.display())).hint("--force overwrites it"))
            }
            _ => Ok(()),
        }
    }

    fn write(&self, cleaned: &Cleaned) -> Result<(), Failure> {
        if let Some(dropped) = &self.dropped {
            write_jsonl(dropped, &cleaned.dropped)?;
        }
        if let Some(report) = &self.report {
            let text = serde_json::to_string_pretty(&cleaned.report)? + "\n";
            tolmach_durable::write(report, text)?;
        }
        match &self.kept {
            Some(kept) => write_examples(kept, &cleaned.kept)?,
            None => write_stdout(&cleaned.kept)?,
        }
        Ok(())
    }

    /// The report with the names of the files before it.
    fn json(&self, report: &CleanReport, input: &Path, from: &str) -> Result<serde_json::Value, Failure> {
        #[derive(serde::Serialize)]
        struct Summary<'a> {
            input: &'a Path,
            output: &'a Option<PathBuf>,
            dropped_file: &'a Option<PathBuf>,
            from: &'a str,
            #[serde(flatten)]
            report: &'a CleanReport,
        }
        let summary = Summary { input, output: &self.kept, dropped_file: &self.dropped, from, report };
        Ok(serde_json::to_value(summary)?)
    }
}

/// `clean.jsonl.gz` → `clean.dropped.jsonl`, in the same folder.
fn beside(output: &Path) -> PathBuf {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let stem = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    let stem = [".jsonl", ".json"].iter().find_map(|end| stem.strip_suffix(end)).unwrap_or(stem);
    output.with_file_name(format!("{stem}.dropped.jsonl"))
}

/// A reader that closes early (`| head`) ends the program silently.
fn write_stdout(examples: &[Example]) -> Result<(), Failure> {
    let mut stdout = BufWriter::new(io::stdout().lock());
    let written = write_jsonl_to(&mut stdout, examples).and_then(|()| stdout.flush());
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(Failure::input(format!("cannot write to standard output: {e}"))),
        Ok(()) => Ok(()),
    }
}

fn shown(path: &Path) -> String {
    if path.as_os_str() == "-" { "standard input or output".into() } else { path.display().to_string() }
}

fn short(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// Rule, count, share and one example, on stderr.
pub fn say_table(report: &CleanReport, ui: &Ui) {
    if ui.quiet {
        return;
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["rule", "dropped", "share", "for example"]);
    for rule in &report.rules {
        let example = rule.examples.first().map(|e| short(&e.text, SHOWN_CHARS)).unwrap_or_default();
        let (count, share) = if rule.on {
            (rule.dropped.to_string(), format!("{:.2} %", 100.0 * rule.share))
        } else {
            ("off".to_string(), String::new())
        };
        table.add_row([rule.rule.to_string(), count, share, example]);
    }
    let share = 100.0 * report.dropped as f64 / report.total.max(1) as f64;
    table.add_row(["all".to_string(), report.dropped.to_string(), format!("{share:.2} %"), String::new()]);
    for column in [1, 2] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    ui.say(table.to_string());
    let repairs: Vec<_> =
        report.repairs.named().map(|(what, count)| format!("{what} in {count} fields")).collect();
    if !repairs.is_empty() {
        ui.say(format!("repaired: {}", repairs.join(", ")));
    }
}
