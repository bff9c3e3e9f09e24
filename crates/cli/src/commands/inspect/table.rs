//! The survey of a data set as text.

use std::fmt::Write;
use tolmach_tokenize::{Lengths, Survey};

/// The longest bar of the histogram, in characters.
const BAR: usize = 40;

/// All figures, each with its unit. `has_preamble`: a template was applied.
pub fn render(survey: &Survey, has_preamble: bool) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name:<16} {value}");
    };
    line("examples", format!("{} ({} can be trained)", survey.examples, survey.encoded));
    line("tokens", survey.tokens.to_string());
    line("trained", format!("{} tokens, {}", survey.trained_tokens, percent(survey.trained_share)));
    if has_preamble {
        line(
            "preamble",
            format!("{} of all tokens (the template's constant beginning)", percent(survey.preamble_share)),
        );
    }
    line(
        "fertility",
        format!(
            "{:.2} tokens per word, {:.2} characters per token, {:.2} bytes per token",
            survey.tokens_per_word, survey.characters_per_token, survey.bytes_per_token
        ),
    );
    let lengths = &survey.lengths;
    line(
        "length",
        format!(
            "mean {:.1} tokens, min {}, p50 {}, p90 {}, p99 {}, max {}",
            lengths.mean, lengths.min, lengths.p50, lengths.p90, lengths.p99, lengths.max
        ),
    );
    histogram(&mut out, lengths);
    for count in &survey.lints {
        let noun = if count.examples == 1 { "example" } else { "examples" };
        let more = if count.ids.len() < count.examples { ", …" } else { "" };
        let _ = writeln!(
            out,
            "\x1b[33m{} {noun}\x1b[0m: {} ({}{more})",
            count.examples,
            count.lint.explanation(),
            count.ids.join(", ")
        );
    }
    if survey.lints.is_empty() {
        out.push_str("nothing odd found\n");
    }
    out.pop(); // the caller ends the line
    out
}

fn histogram(out: &mut String, lengths: &Lengths) {
    let most = lengths.histogram.iter().copied().max().unwrap_or(0);
    let buckets = lengths.histogram.len();
    let filled = lengths.histogram.iter().enumerate().skip_while(|&(_, &examples)| examples == 0);
    for (k, &examples) in filled {
        let (first, full) = (k * lengths.bucket_tokens + 1, (k + 1) * lengths.bucket_tokens);
        let last = if k + 1 == buckets { lengths.max.max(full) } else { full };
        let range = if first == last { first.to_string() } else { format!("{first}–{last}") };
        let bar = "█".repeat((examples * BAR).div_ceil(most.max(1)));
        let _ = writeln!(out, "{range:>16} {bar} {examples}");
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tolmach_tokenize::{Lint, LintCount};

    #[test]
    fn every_figure_has_its_unit() {
        let ids = vec!["a".to_string()];
        let survey = Survey {
            examples: 3,
            encoded: 2,
            tokens: 40,
            trained_tokens: 10,
            trained_share: 0.25,
            preamble_share: 0.5,
            tokens_per_word: 2.0,
            characters_per_token: 3.0,
            bytes_per_token: 4.5,
            lengths: Lengths { bucket_tokens: 16, histogram: vec![0, 1, 0, 2], ..Lengths::default() },
            lints: vec![LintCount { lint: Lint::OverLong, examples: 2, ids }],
        };
        let text = render(&survey, true);
        for expected in
            ["3 (2 can be trained)", "25.0 %", "50.0 %", "2.00 tokens per word", "4.50 bytes per token"]
        {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
        assert!(text.contains(" 17–32 ") && text.contains(" 49–64 ") && !text.contains(" 1–16 "), "{text}");
        assert!(text.contains("2 examples\x1b[0m: longer than the maximum"), "{text}");
        assert!(text.ends_with("(a, …)"), "{text}");
        assert!(!render(&survey, false).contains("preamble"));
        assert!(render(&Survey::default(), true).ends_with("nothing odd found"));
    }
}
