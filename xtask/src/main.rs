//! Chores of this repository.

mod demo;
mod peers;

use anyhow::Result;
use clap::{Parser, Subcommand};
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
    /// Open what tolmach writes in peft, transformers and llama.cpp, and compare
    ///
    /// Python needs the packages of fixtures/golden/requirements.txt and cyllama, which brings llama.cpp.
    CheckPeers(CheckPeers),
}

#[derive(clap::Args)]
struct CheckPeers {
    /// Base model folder
    #[arg(long, value_name = "MODEL", default_value_os_t = assets_folder().join("model"))]
    base: PathBuf,
    /// Python interpreter
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Folder for what is written; absent: one that is taken away at the end
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
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
    /// Passes over the pretraining texts
    #[arg(long, default_value_t = demo::Pretraining::default().epochs)]
    epochs: usize,
    /// Peak learning rate of the pretraining
    #[arg(long, default_value_t = demo::Pretraining::default().learning_rate)]
    learning_rate: f64,
    /// Tokens of one optimizer step of the pretraining
    #[arg(long, default_value_t = demo::Pretraining::default().step_tokens)]
    step_tokens: usize,
}

/// `assets/demo` of this repository, wherever the command is run from.
fn assets_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/demo")
}

fn main() -> Result<()> {
    match Arguments::parse().chore {
        Chore::DemoAssets(arguments) => demo_assets(&arguments),
        Chore::CheckPeers(CheckPeers { base, python, keep: Some(folder) }) => {
            peers::check(&base, &python, &folder)
        }
        Chore::CheckPeers(CheckPeers { base, python, keep: None }) => {
            peers::check(&base, &python, tempfile::tempdir()?.path())
        }
    }
}

fn demo_assets(arguments: &DemoAssets) -> Result<()> {
    let texts = demo::texts(demo::SEED)?;
    let tokenizer = demo::tokenizer(&texts)?;
    demo::write_texts(&texts, &tokenizer, &arguments.out)?;
    if let Some(file) = &arguments.pretraining {
        demo::write_pretraining(&texts, file)?;
    }
    if !arguments.texts_only {
        let (epochs, learning_rate) = (arguments.epochs, arguments.learning_rate);
        let how = demo::Pretraining { epochs, learning_rate, step_tokens: arguments.step_tokens };
        demo::pretrain(&texts, demo::SEED, how, &arguments.out.join("model"))?;
    }
    eprint!("{}", demo::summarise(&texts, &arguments.out.join("model"))?);
    Ok(())
}
