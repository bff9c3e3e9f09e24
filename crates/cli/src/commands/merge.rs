//! `tolmach merge`: the adapter merged into its base, as a model folder of its own.

use crate::commands::export::ModelArgs;
use crate::report::Outcome;
use crate::ui::Ui;
use tolmach_engine::Dtype;

const EXAMPLES: &str = "\
Examples:
  tolmach merge --base models/llama --adapter adapter -o llama-ru
  In half the size, in files of at most 2 GB:
    tolmach merge --base models/llama --adapter adapter -o llama-ru --dtype bf16 --shard-size 2GB

The folder holds config.json, the weights, the tokenizer, generation_config.json that stops
where the model was taught to stop, a chat template, and certificate.json: the folder was read
back from disk and compared with the tuned model on 64 texts before it got its name. The exit
code is 1 when they differ.";

/// Merge an adapter into its base, as a model folder for transformers, vLLM and others
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// How weights are stored: f32, f16 or bf16 [default: as the base's are]
    #[arg(long, value_name = "TYPE", value_parser = parse_dtype)]
    dtype: Option<Dtype>,
    /// Largest file of weights (units: MB, GB, MiB, GiB)
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = parse_size)]
    shard_size: u64,
}

pub fn run(args: Args, ui: &Ui) -> Outcome {
    let Args { model, dtype, shard_size } = args;
    model.run(ui, &|export, progress| export.merge(dtype, shard_size, progress))
}

fn parse_dtype(name: &str) -> Result<Dtype, String> {
    [Dtype::F32, Dtype::F16, Dtype::BF16]
        .into_iter()
        .find(|dtype| dtype.to_string().eq_ignore_ascii_case(name))
        .ok_or_else(|| format!("`{name}` is none of f32, f16, bf16 (quantised types: `tolmach export gguf`)"))
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        other => return Err(format!("`{other}` is no unit; expected MB, GB, MiB or GiB")),
    };
    match number.parse::<f64>() {
        Ok(number) if number * unit >= 1.0 => Ok((number * unit) as u64),
        _ => Err(format!("`{text}` is no size; for example 5GB")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("5GB"), Ok(5_000_000_000));
        assert_eq!(parse_size("1.5 MiB"), Ok(1_572_864));
        assert_eq!(parse_size("100"), Ok(100));
        for wrong in ["", "GB", "5 parsecs", "0", "-1GB", "1.2.3GB"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn quantised_types_are_no_merge() {
        assert_eq!(parse_dtype("BF16"), Ok(Dtype::BF16));
        assert!(parse_dtype("q8_0").unwrap_err().contains("export gguf"));
    }
}
