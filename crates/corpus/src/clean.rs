//! Running the rules over a data set.

use crate::config::CleanConfig;
use crate::example::Example;
use crate::repair;
use crate::report::{CleanReport, RuleCount};
use crate::rules::{Finding, RULES, Rule, RuleSet, duplicates, near_duplicates};
use crate::text::excerpt;
use rayon::prelude::*;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

/// Examples between two calls of `progress`.
const BLOCK: usize = 2048;
/// Characters of an example's text that the report shows.
const SHOWN_CHARS: usize = 120;

/// What came out of [`clean`].
#[derive(Debug)]
pub struct Cleaned {
    /// In the order of the input.
    pub kept: Vec<Example>,
    /// In the order of the input.
    pub dropped: Vec<DroppedExample>,
    pub report: CleanReport,
}

/// A dropped example with the first rule that wanted it gone.
/// Serialises as the example's own line with `"dropped": {"rule", "reason"}`.
#[derive(Clone, Debug, PartialEq)]
pub struct DroppedExample {
    pub example: Example,
    pub rule: Rule,
    pub reason: String,
}

impl Serialize for DroppedExample {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Row<'a> {
            #[serde(flatten)]
            example: &'a Example,
            dropped: Value,
        }
        let dropped = json!({"rule": self.rule, "reason": self.reason});
        Row { example: &self.example, dropped }.serialize(serializer)
    }
}

/// Repair what cannot be seen, then drop what the rules of `config` find.
///
/// `source_language` is the ISO 639-1 code of the examples' text. `progress` hears now and then how many
/// examples have been looked at. The result does not depend on the number of threads.
pub fn clean(
    mut examples: Vec<Example>,
    config: &CleanConfig,
    source_language: &str,
    progress: impl Fn(usize),
) -> Cleaned {
    let total = examples.len();
    let rules = RuleSet::new(config, source_language);
    let mut repairs = repair::Counts::default();
    let mut findings: Vec<Option<Finding>> = Vec::with_capacity(total);
    for block in examples.chunks_mut(BLOCK) {
        let looked_at: Vec<_> = block
            .par_iter_mut()
            .map(|example| {
                example.extra.shift_remove("dropped"); // of an earlier run, now decided anew
                let counts =
                    if config.repair { repair::repair(&mut example.body) } else { Default::default() };
                (counts, rules.check(example))
            })
            .collect();
        for (counts, finding) in looked_at {
            repairs.add(counts);
            findings.push(finding);
        }
        progress(findings.len());
    }
    if config.duplicates {
        keep_first(&mut findings, duplicates::find(&examples));
    }
    if let Some(options) = config.near_duplicates.options() {
        let gone: Vec<bool> = findings.iter().map(Option::is_some).collect();
        keep_first(&mut findings, near_duplicates::find(&examples, &gone, options));
    }
    let (mut kept, mut dropped) = (Vec::with_capacity(total), Vec::new());
    for (example, finding) in examples.into_iter().zip(findings) {
        match finding {
            None => kept.push(example),
            Some((rule, reason)) => dropped.push(DroppedExample { example, rule, reason }),
        }
    }
    let report = report(&kept, &dropped, config, repairs);
    Cleaned { kept, dropped, report }
}

fn keep_first(findings: &mut [Option<Finding>], more: Vec<Option<Finding>>) {
    for (finding, other) in findings.iter_mut().zip(more) {
        if finding.is_none() {
            *finding = other;
        }
    }
}

fn report(
    kept: &[Example],
    dropped: &[DroppedExample],
    config: &CleanConfig,
    repairs: repair::Counts,
) -> CleanReport {
    let total = kept.len() + dropped.len();
    let rules = RULES.iter().map(|descriptor| {
        let of_rule: Vec<_> = dropped.iter().filter(|d| d.rule == descriptor.rule).collect();
        // Spread over the whole data set: its beginning is seldom like the rest.
        let shown = config.report_examples.min(of_rule.len());
        let shown = (0..shown).map(|i| of_rule[i * of_rule.len() / shown]);
        RuleCount {
            rule: descriptor.rule,
            on: config.is_on(descriptor.rule),
            dropped: of_rule.len(),
            share: of_rule.len() as f64 / total.max(1) as f64,
            examples: shown.map(shown_example).collect(),
        }
    });
    CleanReport { total, kept: kept.len(), dropped: dropped.len(), repairs, rules: rules.collect() }
}

fn shown_example(dropped: &DroppedExample) -> crate::report::ShownExample {
    let body = &dropped.example.body;
    let text = body.fields().map(|(_, text)| text.trim()).filter(|text| !text.is_empty());
    let text = text.collect::<Vec<_>>().join(" ⏵ ");
    crate::report::ShownExample {
        id: dropped.example.id.clone(),
        reason: dropped.reason.clone(),
        text: excerpt(&text, SHOWN_CHARS),
    }
}

#[cfg(test)]
#[path = "clean_tests.rs"]
mod tests;
