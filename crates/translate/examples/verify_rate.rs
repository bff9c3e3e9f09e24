//! How often good translations fail the checks: two parallel files, one sentence a line.
//!
//! ```text
//! cargo run --release -p tolmach-translate --example verify_rate -- SOURCE TARGET FROM TO [SHOWN]
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use tolmach_translate::LanguagePair;
use tolmach_translate::verify::{Checker, Finding, Lexicon, Relation, Verdict};

type Anything = Box<dyn std::error::Error>;

fn main() -> Result<(), Anything> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, target, from, to, rest @ ..] = arguments.as_slice() else {
        return Err("expected SOURCE TARGET FROM TO [SHOWN]".into());
    };
    let shown: usize = rest.first().map_or(Ok(3), |n| n.parse())?;
    let read = |path: &String| std::fs::read_to_string(Path::new(path));
    let (source, target) = (read(source)?, read(target)?);
    let checker = Checker::new(&LanguagePair::new(from, to)?);
    let start = Instant::now();
    let mut findings: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut lines = 0;
    for (source, target) in source.lines().zip(target.lines()) {
        lines += 1;
        let target = checker.mend(source, target.to_string());
        let (prefix, finding) = match checker.check(source.trim(), target.trim()) {
            Verdict::Pass => continue,
            Verdict::Doubt(finding) => ("doubt: ", finding),
            Verdict::Fail(finding) => ("", finding),
        };
        findings
            .entry(kind(&finding))
            .or_default()
            .push(format!("{prefix}{finding}\n    {source}\n    {target}"));
    }
    let seconds = start.elapsed().as_secs_f64();
    for (kind, all) in &findings {
        println!("{:.2} % {kind} ({})", 100.0 * all.len() as f64 / f64::from(lines), all.len());
        for one in all.iter().take(shown) {
            println!("  {one}");
        }
    }
    attribution(&source, &target);
    let failed: usize = findings.values().map(Vec::len).sum();
    println!("{failed} of {lines} lines, {:.0} lines/s", f64::from(lines) / seconds);
    Ok(())
}

/// How often true pairs seem unrelated, and how many of those whose targets changed places are noticed.
fn attribution(source: &str, target: &str) {
    let mut pairs: Vec<(&str, &str)> = source.lines().zip(target.lines()).collect();
    let others = |at: usize| -> Vec<&str> {
        let near = at.saturating_sub(3)..(at + 4).min(source.lines().count());
        near.filter(|&other| other != at).map(|other| pairs[other].0).collect()
    };
    let others: Vec<Vec<&str>> = (0..pairs.len()).map(others).collect();
    let swapped: Vec<usize> = (0..pairs.len().saturating_sub(1)).step_by(40).collect();
    for &at in &swapped {
        (pairs[at].1, pairs[at + 1].1) = (pairs[at + 1].1, pairs[at].1);
    }
    let start = Instant::now();
    let lexicon = Lexicon::learn(&pairs);
    let learning = start.elapsed().as_secs_f64();
    let is_unrelated =
        |at: usize| lexicon.judge(pairs[at].0, pairs[at].1, &others[at]) == Relation::Unrelated;
    let noticed: Vec<bool> = (0..pairs.len()).map(is_unrelated).collect();
    let is_swapped = |at: usize| swapped.contains(&at) || at > 0 && swapped.contains(&(at - 1));
    let false_alarms: Vec<usize> = (0..pairs.len()).filter(|&at| noticed[at] && !is_swapped(at)).collect();
    let found = swapped.iter().filter(|&&at| noticed[at] || noticed[at + 1]).count();
    println!(
        "attribution: {} of {} right pairs seem unrelated, {found} of {} swaps are noticed; learnt in {learning:.2} s",
        false_alarms.len(),
        pairs.len() - 2 * swapped.len(),
        swapped.len(),
    );
    for &at in false_alarms.iter().take(8) {
        println!("    {}\n    {}", pairs[at].0, pairs[at].1);
    }
}

fn kind(finding: &Finding) -> &'static str {
    match finding {
        Finding::Empty => "empty",
        Finding::LineBreak => "line break",
        Finding::Protected { .. } => "protected",
        Finding::Digits { .. } => "digits",
        Finding::Untranslated => "untranslated",
        Finding::PartlyUntranslated { .. } => "partly untranslated",
        Finding::Foreign { .. } => "foreign",
        Finding::WrongLanguage { .. } => "wrong language",
        Finding::Length { .. } => "length",
        Finding::Sentences { .. } => "sentences",
        Finding::Torn => "torn",
        Finding::Loop { .. } => "loop",
        Finding::Mark { .. } => "mark",
        Finding::Gloss { .. } => "gloss",
        Finding::Unrelated => "unrelated",
        Finding::Skeleton { .. } => "skeleton",
    }
}
