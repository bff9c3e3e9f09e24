//! The card: YAML for the hub, then the same and more for people.

use super::{DataSetFacts, DataSetSplit};
use crate::example::{Body, Example};
use crate::report::CleanReport;
use crate::rules::RULES;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Kinds of repairs that the card lists; the others are counted together.
const SHOWN_REPAIRS: usize = 12;

/// What the makers of a local translation model ask for, by the engine's name in `translation.engine`.
const ENGINE_TERMS: [(&str, &str); 3] = [
    ("marian", "OPUS-MT's weights are CC-BY-4.0 or Apache-2.0, as the model's page says"),
    ("m2m100", "M2M100's weights are MIT"),
    ("nllb", "NLLB's weights are CC-BY-NC-4.0: not for commercial use"),
];

/// Characters of the longest field in the example that the card shows.
const SHOWN_CHARACTERS: usize = 400;

pub(super) fn card(examples: &[&Example], splits: &[DataSetSplit], facts: &DataSetFacts) -> String {
    let found = Found::of(examples);
    let mut text = front_matter(examples.len(), splits, facts, &found);
    let _ = writeln!(text, "\n# {}\n", one_line(&facts.name));
    write_provenance(&mut text, facts, &found);
    write_splits(&mut text, splits, facts);
    write_fields(&mut text, &found);
    if let Some(filters) = &facts.filters {
        write_filters(&mut text, filters);
    }
    write_repairs(&mut text, &found);
    let shown = examples.iter().find(|e| e.source.is_some()).or(examples.first());
    if let Some(example) = shown {
        let json = serde_json::to_string_pretty(&shortened(example)).unwrap_or_default();
        let _ = writeln!(text, "\n## One example\n\n```json\n{json}\n```");
    }
    let _ = writeln!(text, "\nWritten by tolmach {}.", env!("CARGO_PKG_VERSION"));
    text
}

/// What the examples tell of themselves.
#[derive(Default)]
struct Found {
    /// Examples by language, engine, the checks they passed and kind of repair; "" is unknown or none.
    languages: BTreeMap<String, usize>,
    engines: BTreeMap<String, usize>,
    checked: BTreeMap<String, usize>,
    repairs: BTreeMap<String, usize>,
    repaired: usize,
    translated: usize,
    characters: usize,
    alpaca: usize,
    conversations: usize,
    texts: usize,
}

impl Found {
    fn of(examples: &[&Example]) -> Self {
        let mut found = Self::default();
        let count = |counts: &mut BTreeMap<String, usize>, key: &str| {
            *counts.entry(key.to_string()).or_default() += 1;
        };
        for example in examples {
            count(&mut found.languages, example.language.as_deref().unwrap_or_default());
            if let Some(translation) = &example.translation {
                count(&mut found.engines, &translation.engine);
                count(&mut found.checked, &translation.checked);
                found.repaired += usize::from(!translation.repairs.is_empty());
                for repair in &translation.repairs {
                    // What follows a colon is about the one example.
                    count(&mut found.repairs, repair.split(':').next().unwrap_or_default());
                }
            }
            found.translated += usize::from(example.source.is_some());
            found.characters += example.body.chars();
            match example.body {
                Body::Alpaca { .. } => found.alpaca += 1,
                Body::Messages { .. } => found.conversations += 1,
                Body::Text { .. } => found.texts += 1,
            }
        }
        found
    }

    fn known_languages(&self) -> Vec<&str> {
        self.languages.keys().map(String::as_str).filter(|code| !code.is_empty()).collect()
    }
}

fn front_matter(count: usize, splits: &[DataSetSplit], facts: &DataSetFacts, found: &Found) -> String {
    let mut yaml = String::from("---\n");
    let _ = writeln!(yaml, "pretty_name: {}", quoted(&facts.name));
    let languages = found.known_languages();
    if !languages.is_empty() {
        yaml.push_str("language:\n");
        for code in &languages {
            let _ = writeln!(yaml, "- {}", quoted(code));
        }
    }
    match is_id(&facts.license) {
        true => drop(writeln!(yaml, "license: {}", facts.license)),
        false => drop(writeln!(yaml, "license: other\nlicense_name: {}", quoted(&facts.license))),
    }
    yaml.push_str("task_categories:\n- text-generation\n");
    let _ = writeln!(yaml, "size_categories:\n- {}", size_category(count));
    if !facts.sources.is_empty() {
        yaml.push_str("source_datasets:\n");
        for source in &facts.sources {
            let _ = writeln!(yaml, "- {}", quoted(source));
        }
    }
    if found.translated > 0 {
        yaml.push_str("tags:\n- machine-translated\n");
    }
    yaml.push_str("configs:\n- config_name: default\n  data_files:\n");
    for split in splits {
        if let Some(file) = split.files.first() {
            let _ = writeln!(yaml, "  - split: {}\n    path: {}", split.name, file.path);
        }
    }
    yaml.push_str("---\n");
    yaml
}

/// A text as YAML: a JSON string is a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn is_id(license: &str) -> bool {
    !license.is_empty()
        && license.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
}

/// The classes of the hub.
fn size_category(count: usize) -> &'static str {
    match count {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        1_000_000..10_000_000 => "1M<n<10M",
        _ => "n>10M",
    }
}

fn write_provenance(text: &mut String, facts: &DataSetFacts, found: &Found) {
    let named = |counts: &BTreeMap<String, usize>| {
        let one = |(name, count): (&String, &usize)| match name.as_str() {
            "" => format!("{count} unknown"),
            name => format!("{count} `{}`", one_line(name)),
        };
        counts.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    text.push_str("## Provenance\n\n");
    for source in &facts.sources {
        let _ = writeln!(text, "- source: {}", one_line(source));
    }
    let _ = writeln!(text, "- licence: {}", one_line(&facts.license));
    let _ = writeln!(text, "- languages: {}", named(&found.languages));
    if found.translated > 0 {
        let _ = writeln!(
            text,
            "- machine-translated: {} examples, by engine: {}; their source texts are in `source`",
            found.translated,
            named(&found.engines)
        );
        for (engine, terms) in ENGINE_TERMS {
            // Several engines may have translated one example: `marian, nllb`.
            if found.engines.keys().any(|names| names.split(", ").any(|name| name == engine)) {
                let _ = writeln!(text, "- terms of `{engine}`: {terms}");
            }
        }
        for (checks, count) in found.checked.iter().filter(|(checks, _)| !checks.is_empty()) {
            let _ = writeln!(text, "- checked in {count} of them: {}", one_line(checks));
        }
    }
    if let Some(set_aside) = facts.set_aside {
        let _ = writeln!(text, "- not in the data set: {set_aside} examples whose translation was set aside");
    }
}

fn write_splits(text: &mut String, splits: &[DataSetSplit], facts: &DataSetFacts) {
    text.push_str("\n## Splits\n\n| split | examples | file | bytes | BLAKE3 |\n|---|---:|---|---:|---|\n");
    for split in splits {
        for file in &split.files {
            let DataSetSplit { name, examples, .. } = split;
            let _ = writeln!(
                text,
                "| {name} | {examples} | `{}` | {} | `{}` |",
                file.path, file.bytes, file.blake3
            );
        }
    }
    let _ = writeln!(
        text,
        "\nThe side of an example follows from a hash of its prompt before translation, case and spacing aside \
         (seed {}, validation {}, test {}): no source text is on two sides.",
        facts.split_seed, facts.shares.validation, facts.shares.test
    );
}

fn write_fields(text: &mut String, found: &Found) {
    let _ =
        writeln!(text, "\n## Fields\n\n{} characters in all, without the source texts.\n", found.characters);
    text.push_str("- `id`: the example's own, or a hash of its content\n");
    for (count, what) in [
        (
            found.alpaca,
            "`instruction`, `input`, `output`: the question, what it is about (may be empty), the answer",
        ),
        (found.conversations, "`messages`: `role` (system, user, assistant) and `content`"),
        (found.texts, "`text`: plain text"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "- {what} ({count} examples)");
        }
    }
    if found.translated > 0 {
        text.push_str(
            "- `source`: the same fields before translation\n- `language`: of the text\n\
             - `translation`: `engine`, what was `checked`, and `repairs` if there were any\n",
        );
    }
}

fn write_filters(text: &mut String, report: &CleanReport) {
    let _ = writeln!(
        text,
        "\n## Filters\n\n{} of {} examples were kept. The others, by the first rule that dropped them:\n\n\
         | rule | drops | examples |\n|---|---|---:|",
        report.kept, report.total
    );
    for count in &report.rules {
        let drops = RULES.iter().find(|r| r.rule == count.rule).map_or("", |r| r.drops);
        let dropped = if count.on { count.dropped.to_string() } else { "off".to_string() };
        let _ = writeln!(text, "| {} | {} | {dropped} |", count.rule, drops.replace('|', "\\|"));
    }
    let repairs: Vec<String> =
        report.repairs.named().map(|(what, count)| format!("{what} in {count} fields")).collect();
    if !repairs.is_empty() {
        let _ = writeln!(text, "\nRepaired before that: {}.", repairs.join(", "));
    }
}

fn write_repairs(text: &mut String, found: &Found) {
    if found.repairs.is_empty() {
        return;
    }
    let _ = writeln!(
        text,
        "\n## Repairs of the translation\n\n{} examples were repaired.\n\n| repair | examples |\n|---|---:|",
        found.repaired
    );
    let mut kinds: Vec<(&String, &usize)> = found.repairs.iter().collect();
    kinds.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    for (name, count) in kinds.iter().take(SHOWN_REPAIRS) {
        let _ = writeln!(text, "| {} | {count} |", one_line(name).replace('|', "\\|"));
    }
    let others: usize = kinds.iter().skip(SHOWN_REPAIRS).map(|(_, count)| **count).sum();
    if others > 0 {
        let _ = writeln!(text, "| others | {others} |");
    }
}

/// The example with its longer fields cut.
fn shortened(example: &Example) -> Example {
    let mut example = example.clone();
    let bodies = std::iter::once(&mut example.body).chain(&mut example.source);
    for (_, text) in bodies.flat_map(Body::fields_mut) {
        if let Some((end, _)) = text.char_indices().nth(SHOWN_CHARACTERS) {
            text.truncate(end);
            text.push('…');
        }
    }
    example
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
