//! Chores of this repository.

mod demo;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Parser)]
#[command(about = "Chores of this repository")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Make the assets of the offline demo: data, translation memory, tokenizer, base model
    DemoAssets(DemoAssets),
}

#[derive(clap::Args)]
struct DemoAssets {
    /// Make only the texts and the tokenizer; the base model stays as it is
    #[arg(long)]
    texts_only: bool,
    /// Folder to write to
    #[arg(long, default_value_os_t = assets_folder())]
    out: PathBuf,
    /// Write the base model's pretraining texts (one epoch, JSONL) to this file too
    #[arg(long, value_name = "FILE")]
    pretraining: Option<PathBuf>,
}

/// `assets/demo` of this repository, wherever the command is run from.
fn assets_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo")
}

fn main() -> Result<()> {
    match Arguments::parse().chore {
        Chore::DemoAssets(arguments) => demo_assets(&arguments),
    }
}

fn demo_assets(arguments: &DemoAssets) -> Result<()> {
    let texts = demo::texts(demo::SEED)?;
    let tokenizer = demo::tokenizer(&texts)?;
    demo::write_texts(&texts, &tokenizer, &arguments.out)?;
    if let Some(file) = &arguments.pretraining {
        demo::write_pretraining(&texts, file)?;
    }
    summarise(&texts);
    Ok(())
}

/// Rows per kind, on stderr.
fn summarise(texts: &demo::Texts) {
    let mut kinds: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for (at, rows) in [&texts.training, &texts.validation, &texts.test].into_iter().enumerate() {
        rows.iter().for_each(|row| kinds.entry(row.kind).or_default()[at] += 1);
    }
    eprintln!("{:<12} {:>10} {:>10} {:>10}", "kind", "training", "validation", "test");
    for (kind, [training, validation, test]) in kinds {
        eprintln!("{kind:<12} {training:>10} {validation:>10} {test:>10}");
    }
    eprintln!(
        "{} instructions with dirt, {} segments in the memory, {} pretraining texts",
        texts.instructions.len(),
        texts.memory.len(),
        texts.pretraining.len()
    );
}
