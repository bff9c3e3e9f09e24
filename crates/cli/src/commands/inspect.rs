//! `tolmach inspect`: what the model will see of a data set, and what of it is trained.

mod colours;
mod table;

use crate::base;
use crate::hub;
use crate::report::{Failure, Outcome};
use crate::stages::train::holds_tokens;
use crate::ui::Ui;
use clap::builder::{PossibleValue, PossibleValuesParser};
use colours::{Marks, paint};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tolmach_corpus::Example;
use tolmach_tokenize::{
    BUILT_IN_TEMPLATES, ExampleEncoder, MaskConfig, Measure, OverLong, PromptTemplate, Survey, TokenExample,
    Tokenizer, measure_examples, measure_token_examples, read_token_examples,
};

/// Show in colour what is trained, and measure a data set: fertility, lengths, oddities
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  tolmach inspect data.jsonl --tokenizer models/open_llama_3b
  tolmach inspect data.jsonl --tokenizer models/open_llama_3b --template alpaca-ru --max-seq-length 512
  tolmach inspect data.jsonl --tokenizer models/open_llama_3b --example 4711
  tolmach inspect tokens.jsonl --tokenizer models/open_llama_3b --rows 1   (pre-tokenised)

Dim: the prompt, which the model reads. Bright: what it is trained to write, the end token included.
Neighbouring tokens differ in colour. Without colour: ⟦trained⟧, tokens divided by |.")]
pub struct Args {
    /// Data set: alpaca, ShareGPT, messages or text as JSON, JSONL or Parquet, or pre-tokenised JSONL; or
    /// org/name[@revision] at the Hub
    data: PathBuf,
    /// Model folder with tokenizer.json or tokenizer.model (or that file), a GGUF file, or org/name at the Hub
    #[arg(long, value_name = "FOLDER")]
    tokenizer: PathBuf,
    /// Prompt template
    #[arg(long, default_value = "alpaca-en", value_name = "NAME", value_parser = template_names())]
    template: String,
    /// Longest example that training would take, in tokens; longer ones are reported
    #[arg(long, value_name = "TOKENS")]
    max_seq_length: Option<usize>,
    /// Count the prompt as trained too, as training with train_on_prompt does
    #[arg(long)]
    train_on_prompt: bool,
    /// Show so many examples from the beginning
    #[arg(long, default_value_t = 3, value_name = "N", conflicts_with = "example")]
    rows: usize,
    /// Show the example with this id (pre-tokenised rows without one: their number, from 1)
    #[arg(long, value_name = "ID")]
    example: Option<String>,
}

fn template_names() -> PossibleValuesParser {
    BUILT_IN_TEMPLATES.iter().map(|t| PossibleValue::new(t.name).help(t.about)).collect::<Vec<_>>().into()
}

#[allow(clippy::needless_pass_by_value, reason = "every command is handed its arguments")]
pub fn run(mut args: Args, ui: &Ui) -> Outcome {
    args.data = hub::data(&args.data, ui)?;
    args.tokenizer = hub::tokenizer(&args.tokenizer, ui)?;
    let template = PromptTemplate::named(&args.template).map_err(Failure::usage)?;
    let tokenizer = base::tokenizer(&args.tokenizer, ui)?;
    let max_seq_length = args.max_seq_length.unwrap_or(usize::MAX);
    let mask = MaskConfig { train_on_prompt: args.train_on_prompt };
    let pretokenized = holds_tokens(&args.data)?;

    let (measures, shown) = if pretokenized {
        let examples = read_token_examples(&args.data, Some(tokenizer.vocab_size()))?;
        let bar = ui.bar(examples.len() as u64, "inspect");
        let measures = measure_token_examples(&tokenizer, max_seq_length, &examples, || bar.inc(1));
        bar.finish_and_clear();
        let shown = choose(&args, &measures)?.into_iter().map(|i| examples[i].clone()).collect();
        (measures, shown)
    } else {
        let encoder = ExampleEncoder::new(&tokenizer, &template, mask, max_seq_length, OverLong::Drop)?;
        let examples = tolmach_corpus::read_examples(&args.data)?;
        let bar = ui.bar(examples.len() as u64, "inspect");
        let measures = measure_examples(&encoder, &examples, || bar.inc(1));
        bar.finish_and_clear();
        let shown = encode_shown(&encoder, &examples, &choose(&args, &measures)?, args.example.is_some())?;
        (measures, shown)
    };

    let survey = Survey::of(&measures);
    let rows: Vec<Row> = shown.iter().map(|example| Row::of(&tokenizer, example)).collect();
    if !ui.json {
        let marks = Marks::for_stdout();
        for row in &rows {
            ui.stdout_line(&format!("{}\n{}\n", row.headline(), paint(&row.tokens, &marks)));
        }
        ui.stdout_line(&table::render(&survey, !pretokenized));
    }
    Ok(Some(summary(&args, pretokenized, &survey, &rows)?))
}

/// The indices of the examples to show.
fn choose(args: &Args, measures: &[Measure]) -> Result<Vec<usize>, Failure> {
    let Some(id) = &args.example else {
        return Ok((0..measures.len()).filter(|&i| measures[i].tokens > 0).take(args.rows).collect());
    };
    match measures.iter().position(|measure| measure.id == *id) {
        Some(index) => Ok(vec![index]),
        None => {
            let first = measures.first().map_or("", |measure| &measure.id);
            let message = format!("{}: there is no example with the id {id:?}", args.data.display());
            Err(Failure::input(message).hint(format!("the first one's id is {first:?}")))
        }
    }
}

/// `asked`: the user wants this very example, so that one which cannot be encoded is an error.
fn encode_shown(
    encoder: &ExampleEncoder,
    examples: &[Example],
    indices: &[usize],
    asked: bool,
) -> Result<Vec<TokenExample>, Failure> {
    let mut shown = Vec::new();
    for example in indices.iter().map(|&i| &examples[i]) {
        match encoder.encode_whole(example) {
            Ok((_, _, whole)) => shown.push(whole),
            Err(reason) if asked => {
                return Err(Failure::input(format!("example {} cannot be trained: {reason}", example.id)));
            }
            Err(_) => {}
        }
    }
    Ok(shown)
}

/// An example to show.
struct Row {
    id: Option<String>,
    tokens: Vec<colours::Token>,
    trained: usize,
}

impl Row {
    fn of(tokenizer: &Tokenizer, example: &TokenExample) -> Self {
        Row {
            id: example.id.clone(),
            tokens: colours::tokens(tokenizer, example),
            trained: example.trained_tokens(),
        }
    }

    fn headline(&self) -> String {
        let id = self.id.as_deref().unwrap_or("without id");
        format!("\x1b[1mexample {id}\x1b[0m: {} tokens, {} of them trained", self.tokens.len(), self.trained)
    }

    fn json(&self) -> Value {
        let texts: Vec<&str> = self.tokens.iter().map(|token| token.text.as_str()).collect();
        let trained: Vec<bool> = self.tokens.iter().map(|token| token.trained).collect();
        json!({"id": self.id, "tokens": texts, "trained": trained})
    }
}

fn summary(args: &Args, pretokenized: bool, survey: &Survey, rows: &[Row]) -> Result<Value, Failure> {
    let mut value = json!({
        "data": display(&args.data),
        "tokenizer": display(&args.tokenizer),
        "pretokenized": pretokenized,
        "template": (!pretokenized).then_some(&args.template),
        "max_seq_length": args.max_seq_length,
    });
    if let (Value::Object(all), Value::Object(figures)) = (&mut value, serde_json::to_value(survey)?) {
        all.extend(figures);
    }
    if pretokenized {
        value["preamble_share"] = Value::Null; // a template is no longer visible in token ids
    }
    value["rows"] = rows.iter().map(Row::json).collect();
    Ok(value)
}

fn display(path: &Path) -> String {
    path.display().to_string()
}
