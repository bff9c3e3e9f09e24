//! Markup inside the text: HTML, LaTeX, tables, embedded pictures. Translators break it.

use super::{Pattern, Rule, RuleDescriptor};
use crate::example::Body;
use crate::text::excerpt;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

pub(super) const DESCRIPTOR: RuleDescriptor = RuleDescriptor {
    rule: Rule::Markup,
    drops: "HTML and XML tags, LaTeX, tables drawn with signs, embedded pictures, wiki markup",
    defaults: "{ html = true, latex = true, tables = true, pictures = true }",
};

/// Which kinds count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    pub html: bool,
    pub latex: bool,
    pub tables: bool,
    /// Also wiki templates and files.
    pub pictures: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { html: true, latex: true, tables: true, pictures: true }
    }
}

static HTML: LazyLock<Pattern> = LazyLock::new(|| {
    let tags = "html|head|body|div|span|p|br|hr|b|i|u|em|strong|small|sup|sub|a|img|table|thead|tbody|tr|td|th|ul|ol|li|dl|dt|dd|h[1-6]|title|meta|link|script|style|form|input|button|label|select|option|textarea|nav|header|footer|main|section|article|aside|figure|video|audio|source|iframe|canvas|svg|path|center|font|blockquote|code|pre|mark|del|ins";
    Pattern::new(&format!(
        r"</?(?:{tags})(?:\s[^<>]*)?/?>|<!doctype|<!--|<\?xml|<[a-z][\w:-]*(?:\s[^<>]*)?>[^<>]*</[a-z]|&(?:nbsp|amp|lt|gt|quot|#\d{{2,5}});"
    ))
});

static LATEX: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::case_sensitive(
        r"\\(?:frac|d?frac|sqrt|begin|end|int|sum|prod|lim|cdot|times|div|pm|leq?|geq?|neq|infty|pi|theta|alpha|beta|gamma|delta|Delta|lambda|mu|sigma|omega|left|right|text|mathrm|mathbf|mathbb|overline|vec|hat|partial|nabla|rightarrow|Rightarrow|to|in|quad|ldots|dots|section|subsection|title|author|item|documentclass|usepackage|textbf|textit|emph|cite|ref|label)(?:\b|\{|_|\^)|\\[\(\[]|\$\$|\$[^$\s][^$\n]{0,60}[\\^_{}][^$\n]{0,60}\$",
    )
});

static TABLE: LazyLock<Pattern> = LazyLock::new(|| {
    // A row of dashes under a row of cells; two rows of three cells; a frame of plus and minus.
    Pattern::case_sensitive(
        r"\|[^\n]*\n\s*\|?\s*:?-{2,}[:\s]*\||(?m:^)[^|\n]*\|[^|\n]+\|[^\n]*\n[^|\n]*\|[^|\n]+\|[^\n]*(?:\n|$)|\+-{3,}\+|(?m:^)[^|\n]{1,40}\|[^|\n]+\n\s*:?-{2,}[\s:]*\|",
    )
});

static PICTURE: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(
        r"!\[[^\]\n]*\]\s*[(\[]|\[\[(?:file|image|category):|\{\{[a-z][^{}\n]{2,}\}\}|\[/?(?:img|url|quote|b|i)\]",
    )
});

pub(super) fn check(body: &Body, options: &Options) -> Option<String> {
    let kinds = [
        (options.html, "HTML", &HTML),
        (options.latex, "LaTeX", &LATEX),
        (options.tables, "a table", &TABLE),
        (options.pictures, "a picture or wiki markup", &PICTURE),
    ];
    body.fields().find_map(|(name, text)| {
        // All of it needs one of these signs, which most texts lack.
        if !text.contains(['<', '&', '\\', '$', '|', '+', '[', '{']) {
            return None;
        }
        kinds.iter().filter(|(on, ..)| *on).find_map(|(_, what, markup)| {
            let found = markup.find(text)?;
            Some(format!("{name} holds {what}: `{}`", excerpt(found.trim(), 40)))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::alpaca;
    use super::*;

    fn found(text: &str) -> Option<String> {
        check(&alpaca("Do it.", text, "Done."), &Options::default())
    }

    #[test]
    fn every_kind_is_named() {
        for (kind, text) in [
            ("HTML", "<h1>This is the title</h1>"),
            ("HTML", "Hey Sarah<br>\nNothing too exciting"),
            ("HTML", "<note><to>Ann</to></note>"),
            ("HTML", "salt &amp; pepper"),
            ("LaTeX", r"The mean is \(\sqrt{10\times 15}\)."),
            ("LaTeX", r"$(7+1)\times5$"),
            ("LaTeX", "Let $x^2 + y^2 = 1$ hold."),
            ("a table", "| City | Rent |\n|------|------|\n| Rome | 900 |"),
            ("a table", "Name | Age\n--- | ---\nAnn | 7"),
            ("a table", "a | b | c\n1 | 2 | 3\n"),
            ("a picture", "![alt text](https://i.example.com/a.png)"),
            ("a picture", "[[File:Bee.jpg]]"),
        ] {
            let reason = found(text).unwrap_or_default();
            assert!(reason.contains(kind), "{text}: {reason}");
        }
    }

    #[test]
    fn signs_in_prose_stay() {
        for text in [
            "It costs $5 or $10 a day.",
            "a < b and b > c",
            "Dear <name>, thank you",
            "I <3 you",
            "yes | no",
            "Tom & Jerry",
            "[Name]",
            "C:\\Users\\Ann",
            "2 + 2 = 4",
            "$4,000 - $1,500 = $2,500",
            "x_1 and 2^3",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn each_kind_can_be_switched_off() {
        let body = alpaca("Do it.", "<b>bold</b>", "Done.");
        assert!(check(&body, &Options { html: false, ..Options::default() }).is_none());
    }
}
