//! The card of what is pushed: YAML for the Hub, and for people what was measured, what was proven and where it
//! all comes from. What the folder's own card says is kept; a section that is made here replaces its namesake.

use super::files::{CARD, Plan, What};
use super::{Args, replace};
use crate::report::Failure;
use crate::teach::Stage;
use crate::ui::Ui;
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tolmach_eval::{MEASURES, ReportCard};
use tolmach_hub::Repo;

/// Make the card and put it among the files; its text.
///
/// # Errors
/// A file that it is made of cannot be read.
pub fn write(args: &Args, plan: &mut Plan, repo: &Repo, ui: &Ui) -> Result<String, Failure> {
    let mut card = Card::parse(&plan.text(CARD).unwrap_or_default());
    if plan.what != What::DataSet {
        describe_model(args, plan, repo, &mut card, ui)?;
    }
    if let Some(license) = &args.license {
        card.set("license", license);
        card.section("Licence", &format!("`{license}`"));
    } else if card.get("license").is_none() {
        ui.warn(
            "the card names no licence: --license ID does; the base's and the data's own licences decide it",
        );
    }
    let text = card.text();
    replace(plan, CARD, text.clone());
    Ok(text)
}

fn describe_model(
    args: &Args,
    plan: &mut Plan,
    repo: &Repo,
    card: &mut Card,
    ui: &Ui,
) -> Result<(), Failure> {
    let base = base_model(args, plan, card);
    if let Some(base) = &base {
        card.set("base_model", base);
        if !Repo::looks_like(base) {
            ui.warn(format!(
                "the base model is `{base}` in the card: --base-model ORG/NAME names it at the Hub"
            ));
        }
    }
    if plan.what == What::Adapter {
        if let Some(base) = base.as_ref().filter(|base| Repo::looks_like(base)) {
            name_base(plan, base)?;
        }
        card.set("base_model_relation", "adapter");
        card.set_default("library_name", "peft");
    } else if base.is_some() {
        card.set("base_model_relation", if plan.what == What::Gguf { "quantized" } else { "finetune" });
        card.set_default("library_name", if plan.what == What::Gguf { "gguf" } else { "transformers" });
    }
    card.set_default("pipeline_tag", "text-generation");
    card.set_default("tags", "[tolmach]");
    if card.body.trim().is_empty() {
        let name = repo.id.rsplit('/').next().unwrap_or(&repo.id);
        let of = base.map(|base| format!(" from `{base}`")).unwrap_or_default();
        let version = env!("CARGO_PKG_VERSION");
        card.body = format!("# {name}\n\nMade{of} with tolmach {version}.\n");
    }
    if let Some(folder) = report_card_folder(args, plan) {
        let mut report = read_report_card(&folder)?;
        report.base_model = card.get("base_model").map_or(report.base_model, |base| unquoted(&base));
        report.adapter = report.adapter.map(|_| repo.id.clone());
        if let Some(language) = &report.language {
            card.set_default("language", &format!("[{language}]"));
        }
        match model_index(&report, &repo.id) {
            Some(index) if card.get("model-index").is_none_or(|old| old.contains(OWN_SET)) => {
                card.set_block("model-index", index);
            }
            Some(_) => {
                ui.warn("the card has a model-index of its own: it stays, the new figures are in the text");
            }
            None => {}
        }
        let markdown = report.to_markdown();
        let body = markdown.split_once('\n').map_or("", |(_, body)| body);
        card.section("Report card", &body.replace("\n## ", "\n### "));
    }
    for certificate in certificates(plan) {
        card.section("Certificate", &certificate_text(&certificate));
    }
    if let Some(record) = run_record(plan) {
        card.section("Provenance", &provenance(&record));
    }
    Ok(())
}

/// What the Hub calls the held-out examples of a report card, which are no data set of its own.
const OWN_SET: &str = "tolmach-held-out";

/// The Hub's own form of evaluation results: a result for each set of examples, the measures of the side that is
/// pushed. Block YAML, every name quoted as JSON is. `None` where nothing was measured.
fn model_index(report: &ReportCard, repo: &str) -> Option<String> {
    let side = report.judged();
    let quoted = |text: &str| Value::from(text).to_string();
    let mut text = format!("\n- name: {}\n  results:", quoted(repo.rsplit('/').next().unwrap_or(repo)));
    let mut any = false;
    let sets =
        [(false, &report.language, side.examples), (true, &report.source_language, side.source_examples)];
    for (is_source, language, examples) in sets {
        let measured: Vec<_> = MEASURES
            .iter()
            .filter(|measure| measure.name.starts_with("source_") == is_source)
            .filter_map(|measure| Some((measure, side.get(measure.name)?)))
            .collect();
        if measured.is_empty() {
            continue;
        }
        any = true;
        let language = language.as_ref().map(|language| format!(", {language}")).unwrap_or_default();
        let name = quoted(&format!("{examples} held-out examples{language}"));
        let _ = write!(
            text,
            "\n  - task:\n      type: text-generation\n    dataset:\n      type: {OWN_SET}\n      name: {name}\n    metrics:"
        );
        for (measure, value) in measured {
            let (name, title) = (measure.name.trim_start_matches("source_"), measure.title);
            let title = quoted(title.trim_start_matches("source: "));
            let _ = write!(text, "\n    - type: {name}\n      value: {value:?}\n      name: {title}");
        }
    }
    any.then_some(text)
}

/// The name of the base model: as asked for, as the adapter, the card or the certificate says.
fn base_model(args: &Args, plan: &Plan, card: &Card) -> Option<String> {
    if let Some(name) = &args.base_model {
        return Some(name.clone());
    }
    let config = plan.text("adapter_config.json").and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let config = config.and_then(|json| Some(json["base_model_name_or_path"].as_str()?.to_string()));
    let config = config.filter(|name| Repo::looks_like(name) && !Path::new(name).exists());
    let certified = || certificates(plan).first().and_then(|c| Some(c["base"].as_str()?.to_string()));
    config.or_else(|| card.get("base_model").map(|name| unquoted(&name))).or_else(certified)
}

/// An adapter that is published must not name a folder of this machine.
fn name_base(plan: &mut Plan, base: &str) -> Result<(), Failure> {
    const CONFIG: &str = "adapter_config.json";
    let Some(text) = plan.text(CONFIG) else { return Ok(()) };
    let mut json: Value =
        serde_json::from_str(&text).map_err(|e| Failure::input(format!("{CONFIG} is no JSON: {e}")))?;
    if json["base_model_name_or_path"] != *base {
        json["base_model_name_or_path"] = base.into();
        replace(plan, CONFIG, format!("{json:#}\n"));
    }
    Ok(())
}

/// Where the report card is: as named, in the folder itself, or in the run that the folder is a stage of.
fn report_card_folder(args: &Args, plan: &Plan) -> Option<PathBuf> {
    let beside = || run_folder(plan).map(|run| run.join(Stage::Eval.folder()));
    let found = [Some(plan.folder.clone()), beside()].into_iter().flatten();
    args.report_card.clone().or_else(|| found.into_iter().find(|folder| folder.join("card.json").exists()))
}

fn read_report_card(folder: &Path) -> Result<ReportCard, Failure> {
    let path = folder.join("card.json");
    let text = std::fs::read(&path).map_err(|e| {
        Failure::input(format!("cannot read {}: {e}", path.display()))
            .hint("`tolmach eval -o FOLDER` writes it")
    })?;
    serde_json::from_slice(&text).map_err(|e| Failure::input(format!("{}: {e}", path.display())))
}

/// The folder of a run of `tolmach teach` whose adapter this is.
fn run_folder(plan: &Plan) -> Option<PathBuf> {
    let folder = plan.folder.canonicalize().ok()?;
    let run = folder.parent()?.to_path_buf();
    (folder.file_name()? == Stage::Train.folder() && run.join("run.json").exists()).then_some(run)
}

fn run_record(plan: &Plan) -> Option<Value> {
    let text = std::fs::read(run_folder(plan)?.join("run.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

fn certificates(plan: &Plan) -> Vec<Value> {
    let named = plan.files.iter().filter(|file| file.path.ends_with("certificate.json"));
    named.filter_map(|file| serde_json::from_str(&plan.text(&file.path)?).ok()).collect()
}

/// What was proven, and of which bytes.
fn certificate_text(certificate: &Value) -> String {
    let mut text =
        String::from("What is here was read back from disk and compared with the tuned model.\n\n");
    let text_of = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    for (key, what) in [
        ("format", "format"),
        ("base", "base model"),
        ("base_fingerprint", "its fingerprint"),
        ("prompts", "texts compared"),
    ] {
        if !certificate[key].is_null() {
            let _ = writeln!(text, "- {what}: {}", text_of(&certificate[key]));
        }
    }
    for (key, what) in [("logits", "against the tuned model"), ("merged", "merged weights before rounding")] {
        let figures = &certificate[key];
        if let (Some(relative), Some(kl), Some(top)) = (
            figures["max_abs_relative"].as_f64(),
            figures["kl_mean"].as_f64(),
            figures["top1_agreement"].as_f64(),
        ) {
            let _ = writeln!(
                text,
                "- {what}: logits within {relative:.1e} of the largest, KL {kl:.1e} nats, the same first token in \
                 {:.1} % of places",
                100.0 * top
            );
        }
    }
    let files = certificate["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !files.is_empty() {
        text.push_str("\n| file | bytes | BLAKE3 |\n|---|---:|---|\n");
    }
    for file in files {
        let (name, bytes, hash) = (text_of(&file["name"]), &file["bytes"], text_of(&file["blake3"]));
        let _ = writeln!(text, "| `{name}` | {bytes} | `{hash}` |");
    }
    text
}

/// What the run's record says, without the folders of this machine.
fn provenance(record: &Value) -> String {
    let mut text = String::new();
    let last = |path: &str| path.rsplit(['/', '\\']).next().unwrap_or(path).to_string();
    let _ = writeln!(text, "Taught by tolmach {}.\n", record["tolmach"].as_str().unwrap_or("?"));
    for (path, hash) in record["inputs"].as_object().into_iter().flatten() {
        let name =
            if Repo::looks_like(path) && !Path::new(path).exists() { path.clone() } else { last(path) };
        let _ = writeln!(text, "- input `{name}`: BLAKE3 `{}`", hash.as_str().unwrap_or("?"));
    }
    for (name, seed) in record["seeds"].as_object().into_iter().flatten().filter(|(_, seed)| !seed.is_null())
    {
        let _ = writeln!(text, "- seed of {name}: {seed}");
    }
    for (name, stage) in record["stages"].as_object().into_iter().flatten() {
        let (summary, seconds) = (stage["summary"].as_str().unwrap_or("done"), stage["seconds"].as_f64());
        let _ = writeln!(text, "- {name}: {summary}, {:.1} s", seconds.unwrap_or_default());
    }
    text
}

/// Front matter and text.
struct Card {
    /// Lines of YAML; those of one key stay together.
    front: Vec<(String, String)>,
    body: String,
}

impl Card {
    fn parse(text: &str) -> Self {
        let (yaml, body) = match text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---")) {
            Some((yaml, body)) => (yaml, body.trim_start_matches(['-', '\r']).trim_start_matches('\n')),
            None => match text.strip_prefix("---\n---\n") {
                Some(body) => ("", body),
                None => ("", text),
            },
        };
        let mut front: Vec<(String, String)> = Vec::new();
        for line in yaml.lines() {
            let is_key = line.starts_with(|c: char| c.is_ascii_alphabetic());
            match (line.split_once(':').filter(|_| is_key), front.last_mut()) {
                (Some((key, value)), _) => front.push((key.to_string(), value.trim_start().to_string())),
                // What is indented, or a list's element, belongs to the key above.
                (None, Some((_, value))) => *value += &format!("\n{line}"),
                (None, None) => {}
            }
        }
        Self { front, body: body.to_string() }
    }

    fn get(&self, key: &str) -> Option<String> {
        self.front.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    }

    fn set(&mut self, key: &str, value: &str) {
        // A list, or a word that YAML reads as itself.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        let plain = value.starts_with('[') || (!value.is_empty() && value.chars().all(is_plain));
        let value = if plain { value.to_string() } else { Value::from(value).to_string() };
        match self.front.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.front.push((key.to_string(), value)),
        }
    }

    /// YAML as it is, on lines of its own.
    fn set_block(&mut self, key: &str, yaml: String) {
        match self.front.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = yaml,
            None => self.front.push((key.to_string(), yaml)),
        }
    }

    fn set_default(&mut self, key: &str, value: &str) {
        if self.get(key).is_none() {
            self.set(key, value);
        }
    }

    /// The section `## TITLE`: replaced where it is, else added at the end.
    fn section(&mut self, title: &str, text: &str) {
        let heading = format!("## {title}\n");
        let section = format!("{heading}\n{}\n", text.trim());
        let start = match self.body.starts_with(&heading) {
            true => Some(0),
            false => self.body.find(&format!("\n{heading}")).map(|at| at + 1),
        };
        match start {
            Some(start) => {
                let rest = &self.body[start + heading.len()..];
                let end = rest.find("\n## ").map_or(self.body.len(), |at| start + heading.len() + at);
                self.body.replace_range(start..end, &section);
            }
            None => self.body = format!("{}\n\n{section}", self.body.trim_end()),
        }
    }

    fn text(&self) -> String {
        let mut text = String::from("---\n");
        for (key, value) in &self.front {
            let space = if value.starts_with('\n') || value.is_empty() { "" } else { " " };
            let _ = writeln!(text, "{key}:{space}{value}");
        }
        format!("{text}---\n\n{}\n", self.body.trim())
    }
}

/// A YAML word, without the quotes that it may have.
fn unquoted(value: &str) -> String {
    serde_json::from_str::<String>(value).unwrap_or_else(|_| value.trim_matches('\'').to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: &str = "---\nbase_model: \"org/base\"\ntags:\n- a\n- b\n---\n# Title\n\nText.\n\n## Licence\nName yours.\n\n## More\nx\n";

    #[test]
    fn what_a_card_says_stays_and_what_is_made_replaces_its_namesake() {
        let mut card = Card::parse(CARD);
        assert_eq!(unquoted(&card.get("base_model").unwrap()), "org/base");
        card.set("license", "apache-2.0");
        card.set_default("tags", "[x]");
        card.section("Licence", "`apache-2.0`");
        card.section("Report card", "| a |");
        let text = card.text();
        assert!(text.starts_with(
            "---\nbase_model: \"org/base\"\ntags:\n- a\n- b\nlicense: apache-2.0\n---\n\n# Title"
        ));
        assert!(text.contains("## Licence\n\n`apache-2.0`\n\n## More\nx"), "{text}");
        assert!(!text.contains("Name yours") && text.ends_with("## Report card\n\n| a |\n"), "{text}");
        // Once more changes nothing.
        let mut again = Card::parse(&text);
        again.section("Licence", "`apache-2.0`");
        again.section("Report card", "| a |");
        assert_eq!(again.text(), text);
    }

    #[test]
    fn a_card_without_yaml_gets_one() {
        let mut card = Card::parse("# Mine\n");
        card.set("license", "my own: licence");
        assert_eq!(card.text(), "---\nlicense: \"my own: licence\"\n---\n\n# Mine\n");
        assert_eq!(Card::parse("---\n---\n# Mine").body, "# Mine");
    }
}
