//! The binary `tolmach`: arguments in, exit code out. Everything else is in the crates.
//!
//! Invariant: only this crate reads the command line and writes stdout. Data (and `--json`) go
//! to stdout, progress and messages to stderr.

mod base;
mod commands;
mod hub;
mod interrupt;
mod loading;
mod machine;
mod peak_memory;
mod recipe;
mod report;
mod stages;
mod teach;
mod ui;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Teach an open language model a new language, on one machine.
#[derive(Parser)]
#[command(name = "tolmach", version, about, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    ui: ui::UiArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, once")]
enum Command {
    Demo(commands::demo::Args),
    Teach(commands::teach::Args),
    Clean(commands::clean::Args),
    Translate(commands::translate::Args),
    Score(commands::score::Args),
    Dataset(commands::dataset::Args),
    Inspect(commands::inspect::Args),
    Plan(commands::plan::Args),
    Train(commands::train::Args),
    Eval(commands::eval::Args),
    Merge(commands::merge::Args),
    Export(commands::export::Args),
    Push(commands::push::Args),
    Chat(commands::chat::Args),
    Serve(commands::serve::Args),
    Doctor(commands::doctor::Args),
}

/// `0`: large matrix products do without the processor's tile unit, for comparisons and in case of doubt.
const TILES: &str = "TOLMACH_TILES";

fn main() -> ExitCode {
    let cli = Cli::parse(); // clap itself exits with 2 on a usage error
    if std::env::var_os(TILES).is_some_and(|value| value == "0") {
        tolmach_engine::cpu::gemm::allow_tiles(false);
    }
    let ui = ui::Ui::new(&cli.ui);
    let result = match cli.command {
        Command::Demo(args) => commands::demo::run(args, &ui),
        Command::Teach(args) => commands::teach::run(args, &ui),
        Command::Clean(args) => commands::clean::run(args, &ui),
        Command::Translate(args) => commands::translate::run(args, &ui),
        Command::Score(args) => commands::score::run(&args, &ui),
        Command::Dataset(args) => commands::dataset::run(args, &ui),
        Command::Inspect(args) => commands::inspect::run(args, &ui),
        Command::Plan(args) => commands::plan::run(args, &ui),
        Command::Train(args) => commands::train::run(args, &ui),
        Command::Eval(args) => commands::eval::run(args, &ui),
        Command::Merge(args) => commands::merge::run(args, &ui),
        Command::Export(args) => commands::export::run(args, &ui),
        Command::Push(args) => commands::push::run(&args, &ui),
        Command::Chat(args) => commands::chat::run(&args, &ui),
        Command::Serve(args) => commands::serve::run(args, &ui),
        Command::Doctor(args) => commands::doctor::run(&args, &ui),
    };
    report::finish(result, &ui)
}
