//! Broken markers: what the data set's generator meant as a sign and left as text.

use super::{Pattern, Rule, RuleDescriptor};
use crate::example::{Body, FieldName};
use crate::text::excerpt;
use std::sync::LazyLock;

pub(super) const DESCRIPTOR: RuleDescriptor = RuleDescriptor {
    rule: Rule::Markers,
    drops: "markers left as text: <noinput> and its misspellings, chat and prompt template marks, \
            placeholders for a missing picture or document",
    defaults: "true",
};

/// Wherever they stand.
static ANYWHERE: LazyLock<[Pattern; 3]> = LazyLock::new(|| {
    [
        // noinput, nooinput, no_output, noiput, noput, also with a wrong letter inside
        Pattern::new(r"\bno+_?(?:in?|out?)?_?put(?:s|ted)?\b"),
        // <no input, [no output], \<none\>, {null}
        Pattern::new(
            r"(?:<\s*\\?/?|[\[({]\s*\\?)\s*(?:no[\s_-]+(?:in|out)put)|<\s*\\?/?\s*(?:none|null|nil|n/a|empty|blank)\s*\\?/?\s*>",
        ),
        // template marks of the usual chat formats and of the alpaca prompt; "6. Instruction:" is the
        // generator going on with its next task
        Pattern::new(
            r"<\|[a-z_]{2,30}\|>|\[/?INST\]|<</?SYS>>|</?s>\s*$|###\s*(?:instruction|response|input|output|human|assistant)\b|\n\s*\d{1,3}\.\s*(?:instruction|input|output)\s*:",
        ),
    ]
});

/// An input that is nothing but a word for "nothing".
static NO_INPUT: LazyLock<Pattern> = LazyLock::new(|| {
    Pattern::new(
        r"^\W*(?:no[\s_-]*(?:input|in put)s?|not (?:applicable|needed|required)|none|nil|null|n/?a|nan)(?:\s+(?:is\s+)?(?:needed|required|provided|given|necessary|available))?\W*$",
    )
});

/// A whole field in brackets that stands for something absent: `<image of a chart>`, `[link to article]`.
static ABSENT: LazyLock<Pattern> = LazyLock::new(|| {
    let what = "insert|link|logo|image|img|photo|picture|screenshot|figure|graph|chart|diagram|audio|video|clip|recording|file|attach|document|article|text|passage|paragraph|excerpt|essay|story|poem|data|dataset|table|list|description|website|url|output|input|content|sample|example|provided|here|name|drawing|sketch|map|cloud|song|music|code";
    Pattern::new(&format!(
        r"^\s*(?:<[^<>\n]{{0,60}}\b(?:{what})[a-z]*\b[^<>\n]{{0,60}}>|\[[^\[\]\n\x22']{{0,60}}\b(?:{what})[a-z]*\b[^\[\]\n\x22']{{0,60}}\])\W*$"
    ))
});

pub(super) fn check(body: &Body) -> Option<String> {
    body.fields().find_map(|(name, text)| {
        let found = ANYWHERE.iter().find_map(|marker| marker.find(text));
        let found = found.or_else(|| match name {
            FieldName::Input => NO_INPUT.find(text).or_else(|| ABSENT.find(text)),
            FieldName::Output => ABSENT.find(text),
            _ => None,
        })?;
        Some(format!("{name} holds `{}`", excerpt(found.trim(), 40)))
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{alpaca, talk};
    use super::*;

    #[test]
    fn noinput_and_its_misspellings() {
        let markers = [
            "<noinput>",
            "<noinput",
            "< noinput >",
            "Noinput",
            "nooinput",
            "`<noinput>`",
            "\\<noinput\\>",
            "{\\noinput}",
            "(noinput)",
            "[noinput]",
            "<no input>",
            "<no_input>",
            "<No Input",
            "<noput>",
            "<none>",
            "<nooutput>",
            "<NoOutput> This cannot be done.",
            "[No Input]",
            "No input",
            "no input required.",
            "N/A",
            "None",
            "nan",
            "Not applicable",
        ];
        for marker in markers {
            assert!(check(&alpaca("Do it.", marker, "Done.")).is_some(), "{marker}");
        }
        assert_eq!(check(&alpaca("Do it.", "", "<nooutput>")).unwrap(), "output holds `nooutput`");
    }

    #[test]
    fn template_marks() {
        for mark in [
            "Yes.<|endoftext|>",
            "[INST] Hi [/INST]",
            "### Response: yes",
            "No.\n\n6. Instruction: Write",
            "Bye</s>",
        ] {
            assert!(check(&alpaca("Do it.", "", mark)).is_some(), "{mark}");
            assert!(check(&talk(&["Hi", mark])).is_some(), "{mark}");
        }
    }

    #[test]
    fn placeholders_for_something_absent() {
        for absent in [
            "<image of a chart showing a trend>",
            "[Link to article]",
            "<insert example image here>",
            "<output audio>",
        ] {
            assert!(check(&alpaca("Do it.", absent, "Done.")).is_some(), "{absent}");
        }
    }

    #[test]
    fn plain_words_are_no_markers() {
        let fine = [
            ("None of the students", "None."),
            ("No.", "none"),
            ("input: 5", "There is no input from the user."),
            ("[1, 2, 3]", "[2, 3]"),
            ("Dear [Name], here is the list.", "Hello, <Name>!"),
            ("", "N/A"),
            ("1. Input data 2. Output data", "Put no more than two."),
            ("[\"name\", \"list\"]", "2"),
        ];
        for (input, output) in fine {
            assert_eq!(check(&alpaca("Do it.", input, output)), None, "{input:?} {output:?}");
        }
    }
}
