//! `tolmach push`: a data set, an adapter or a model to the Hub, with a card that tells where it comes from.

mod card;
mod files;

use crate::hub::{Bar, failure};
use crate::report::{Failure, Outcome};
use crate::ui::Ui;
use files::{Content, Plan};
use indicatif::HumanBytes;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use tolmach_hub::{Hub, Progress, Push, Repo, Settings};

const EXAMPLES: &str = "\
Examples:
  See what would go up, and the card, without sending anything:
    tolmach push adapters/ru org/llama-ru --license apache-2.0 --dry-run
  An adapter with its report card, kept private:
    tolmach push adapters/ru org/llama-ru --license apache-2.0 --report-card card --private \\
      --base-model openlm-research/open_llama_3b
  The adapter of a run of `tolmach teach` (its report card and record are found beside it):
    tolmach push runs/alpaca-ru/03-adapter org/llama-ru --license cc-by-nc-4.0
  A merged model on a branch of its own; a data set that `tolmach dataset` wrote:
    tolmach push llama-ru org/llama-ru@v2 --license apache-2.0
    tolmach push alpaca-ru org/alpaca-ru

The token is read from HF_TOKEN or the file that HF_TOKEN_PATH names, as the Hub's own tools do.
Training states, logs, journals and whatever else is no part of the result stay here unless
--include names them. What the repository has already is not sent again, and nothing is visible
before all of it is there.";

/// Publish a data set, an adapter or a model on the Hugging Face Hub, with its card
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The folder of a data set, an adapter or a model, or a GGUF file
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Where it goes: org/name[@branch]; made if it is not there
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    /// Licence for the card: apache-2.0, cc-by-nc-4.0 … [default: what the card says]
    #[arg(long, value_name = "ID")]
    license: Option<String>,
    /// The base model's name at the Hub, for the card and the adapter [default: what they say]
    #[arg(long, value_name = "ORG/NAME")]
    base_model: Option<String>,
    /// Folder of `tolmach eval -o`, whose report card goes into the card [default: that of the run]
    #[arg(long, value_name = "FOLDER")]
    report_card: Option<PathBuf>,
    /// Send this file of FOLDER too (may be given several times)
    #[arg(long, value_name = "FILE")]
    include: Vec<String>,
    /// Make the repository private; refuse one that is public
    #[arg(long)]
    private: bool,
    /// First line of the commit message
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Show what would be sent, and the card, and stop
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args, ui: &Ui) -> Outcome {
    let mut plan = Plan::of(&args.folder, &args.include)?;
    let (repo, file) = Repo::parse(&args.repository, plan.what.kind()).map_err(failure)?;
    if let Some(file) = file {
        return Err(Failure::usage(format!("`{}` names the file {file} of a repository", args.repository))
            .hint("name the repository alone: org/name or org/name@branch"));
    }
    let settings = Settings::from_env();
    let card = card::write(args, &mut plan, &repo, ui)?;
    plan.refuse_secret(settings.token.as_ref().map(|(token, _)| token.as_str()))?;
    let kept: Vec<&str> = plan.left_out.iter().map(String::as_str).collect();
    if args.dry_run {
        say_plan(&plan, &repo, ui);
        if !ui.json {
            ui.stdout_line(card.trim_end());
        }
        return Ok(Some(json!({
            "repository": repo.to_string(), "kind": plan.what.title(), "files": described(&plan),
            "left_out": kept, "card": card,
        })));
    }
    let summary =
        args.message.clone().unwrap_or_else(|| format!("{} by tolmach", plan.what.title_in_commit()));
    let files = plan.files.iter().map(files::File::for_hub).collect();
    let push = Push { repo: repo.clone(), files, private: args.private, summary };
    let progress: Arc<dyn Progress> = Arc::new(Bar::new(&repo, "push", ui));
    let report = Hub::new(settings).and_then(|hub| hub.push(&push, &progress)).map_err(failure)?;
    match &report.commit {
        Some(commit) => {
            let (sent, same) = (report.sent.len(), report.unchanged.len());
            ui.say(format!(
                "{}: {sent} files sent, {same} unchanged, commit {}",
                report.url,
                &commit[..8.min(commit.len())]
            ));
        }
        None => ui.say(format!("{}: nothing to send, all of it is there already", report.url)),
    }
    if !kept.is_empty() {
        ui.say(format!("not sent: {}", kept.join(", ")));
    }
    Ok(Some(json!({
        "repository": repo.to_string(), "kind": plan.what.title(), "url": report.url, "commit": report.commit,
        "created": report.created, "sent": report.sent, "unchanged": report.unchanged, "left_out": kept,
        "uploaded_bytes": report.uploaded_bytes,
    })))
}

fn say_plan(plan: &Plan, repo: &Repo, ui: &Ui) {
    ui.say(format!("{} to {repo}:", plan.what.title()));
    for file in &plan.files {
        ui.say(format!("  {:<40} {:>12}", file.path, HumanBytes(file.bytes()).to_string()));
    }
    if !plan.left_out.is_empty() {
        ui.say(format!("stays here (--include FILE sends it too): {}", plan.left_out.join(", ")));
    }
}

fn described(plan: &Plan) -> Vec<Value> {
    plan.files.iter().map(|file| json!({"path": file.path, "bytes": file.bytes()})).collect()
}

/// What the card's maker changes in a file of the folder.
fn replace(plan: &mut Plan, path: &str, text: String) {
    let content = Content::Made(text);
    match plan.files.iter_mut().find(|file| file.path == path) {
        Some(file) => file.content = content,
        None => plan.files.push(files::File { path: path.to_string(), content }),
    }
}
