//! The report card for reading: table rows, and the whole as Markdown.

use crate::card::{MEASURES, Measure, ReplyPair, ReportCard, SideCard, Unit};
use std::fmt::Write;

/// A line of the table: title with unit, base, and tuned (empty without an adapter).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub title: String,
    pub base: String,
    pub tuned: String,
}

impl ReportCard {
    /// Every measure that either side has.
    pub fn rows(&self) -> Vec<Row> {
        let has = |m: &&Measure| {
            self.base.get(m.name).is_some() || self.tuned.as_ref().is_some_and(|t| t.get(m.name).is_some())
        };
        let row = |m: &Measure| Row {
            title: match m.unit {
                Unit::Share => format!("{}, %", m.title),
                Unit::Bits => m.title.to_string(),
                Unit::Tokens => format!("{}, tokens", m.title),
            },
            base: cell(&self.base, m),
            tuned: self.tuned.as_ref().map_or_else(String::new, |tuned| cell(tuned, m)),
        };
        MEASURES.iter().filter(has).map(row).collect()
    }

    /// The card as Markdown: what was measured, the table, the control, replies before and after.
    pub fn to_markdown(&self) -> String {
        let mut text = String::from("# Report card\n\n");
        self.write_subject(&mut text);
        self.write_table(&mut text);
        self.write_control(&mut text);
        if !self.samples.is_empty() {
            text.push_str("\n## Replies\n");
            for sample in &self.samples {
                write_sample(&mut text, sample);
            }
        }
        text
    }

    fn write_subject(&self, text: &mut String) {
        let mut line = |what: &str, value: &str| {
            let _ = writeln!(text, "- {what}: {value}");
        };
        line("base model", &format!("`{}`", self.base_model));
        if let Some(adapter) = &self.adapter {
            line("adapter", &format!("`{adapter}`"));
        }
        let language = self.language.as_deref().unwrap_or("not judged");
        let target =
            format!("{} replies, language {language}, template {}", self.base.examples, self.template);
        line("target set", &target);
        if let Some(template) = &self.source_template {
            let language = self.source_language.as_deref().unwrap_or("not judged");
            let replies = self.base.source_examples;
            line("source set", &format!("{replies} replies, language {language}, template {template}"));
        }
        line("replies", &format!("{}, at most {} tokens", self.decoding, self.max_new_tokens));
        let skipped = self.skipped;
        for (count, what) in [
            (skipped.too_long_prompts, "prompts left out: too long for the model's context"),
            (skipped.unusable, "examples left out: neither a prompt nor an answer"),
            (skipped.cut_texts, "texts scored only up to the end of the model's context"),
        ] {
            if count > 0 {
                line("note", &format!("{count} {what}"));
            }
        }
        line("time", &format!("{:.1} s (tolmach {})", self.seconds, self.version));
    }

    fn write_table(&self, text: &mut String) {
        text.push('\n');
        let (heads, rule) = match self.tuned {
            Some(_) => ("| measure | base | tuned |", "|---|---:|---:|"),
            None => ("| measure | base |", "|---|---:|"),
        };
        let _ = writeln!(text, "{heads}\n{rule}");
        for row in self.rows() {
            let tuned = if self.tuned.is_some() { format!(" {} |", row.tuned) } else { String::new() };
            let _ = writeln!(text, "| {} | {} |{tuned}", row.title, row.base);
        }
        text.push_str("\nIn brackets: 95 % confidence intervals (Wilson).\n");
    }

    fn write_control(&self, text: &mut String) {
        let control = &self.control;
        let yes = |holds: bool| if holds { "yes" } else { "**NO**" };
        let _ = writeln!(
            text,
            "\n## Control\n\nBit for bit over {} logits of {} prompts:\n\n- a fresh adapter (B zero) equals the \
             base: {}",
            control.logits,
            control.prompts,
            yes(control.zero_adapter_equals_base)
        );
        if let Some(holds) = control.base_side_equals_base {
            let _ = writeln!(text, "- the base side beside the adapter equals the base: {}", yes(holds));
        }
        if let Some(differs) = control.tuned_differs_from_base {
            let _ = writeln!(text, "- the adapter changes something: {}", yes(differs));
        }
    }
}

fn cell(side: &SideCard, measure: &Measure) -> String {
    let Some(value) = side.get(measure.name) else { return "–".into() };
    match (measure.unit, side.intervals.get(measure.name)) {
        (Unit::Share, Some([low, high])) => {
            format!("{:.1} ({:.1}–{:.1})", 100.0 * value, 100.0 * low, 100.0 * high)
        }
        (Unit::Share, None) => format!("{:.1}", 100.0 * value),
        (Unit::Bits, _) => format!("{value:.3}"),
        (Unit::Tokens, _) => format!("{value:.1}"),
    }
}

fn write_sample(text: &mut String, sample: &ReplyPair) {
    let _ = writeln!(text, "\n### {} `{}`\n\n{}", sample.set, sample.id, quoted(&sample.prompt));
    let mut said = |who: &str, what: &str| {
        let _ = writeln!(text, "\n{who}:\n\n{}", quoted(what));
    };
    if let Some(reference) = &sample.reference {
        said("reference", reference);
    }
    said("base", &sample.base);
    if let Some(tuned) = &sample.tuned {
        said("tuned", tuned);
    }
}

/// A model's text in a fence that nothing in it can close.
fn quoted(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(3.max(longest + 1));
    format!("{fence}text\n{}\n{fence}", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::card;

    #[test]
    fn the_table_has_units_and_intervals_and_only_what_was_measured() {
        let rows = card().rows();
        assert_eq!(rows[0].title, "exact match, %");
        assert_eq!(rows[0].tuned, "75.0 (50.5–89.8)");
        assert_eq!(rows.iter().find(|r| r.title.starts_with("bits")).unwrap().base, "4.000");
        assert!(!rows.iter().any(|r| r.title.starts_with("source")));
    }

    #[test]
    fn markdown_tells_sides_and_control_apart() {
        let mut card = card();
        let text = card.to_markdown();
        assert!(text.contains("| exact match, % | 0.0 (0.0–19.4) | 75.0 (50.5–89.8) |"), "{text}");
        assert!(text.contains("equals the base: yes"));
        card.control.base_side_equals_base = Some(false);
        assert!(card.to_markdown().contains("the base side beside the adapter equals the base: **NO**"));
        card.tuned = None;
        assert!(card.to_markdown().contains("| measure | base |\n"));
    }

    #[test]
    fn a_reply_cannot_break_out_of_its_fence() {
        assert_eq!(quoted("a"), "```text\na\n```");
        assert_eq!(quoted("```\n# Not a heading"), "````text\n```\n# Not a heading\n````");
    }
}
