//! Programs, queries and commands: a translator breaks them, and a language is not learnt from them.
//!
//! Each field is scored by what it holds: statements that no prose has weigh [`STRONG`], signs that
//! prose has now and then weigh 1 each. An instruction that asks for a program lowers the bar.

use super::{Pattern, Rule, RuleDescriptor};
use crate::example::Body;
use crate::text::excerpt;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

pub(super) const DESCRIPTOR: RuleDescriptor = RuleDescriptor {
    rule: Rule::Code,
    drops: "program code, queries, regular expressions, shell commands",
    defaults: "{ min_score = 5 }",
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Score from which a field is code. A statement such as `def f(x):` scores 5, a weak sign 1.
    pub min_score: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { min_score: STRONG }
    }
}

const STRONG: usize = 5;
/// Where the instruction asks for a program, this much is enough.
const ASKED_SCORE: usize = 1;

static STATEMENT: LazyLock<Pattern> = LazyLock::new(|| {
    let alternatives = [
        r"```",
        r"(?m:^)\s*(?:async\s+)?def \w+\s*\(",
        r"(?m:^)\s*(?:(?:public|private|export|abstract|final)\s+)*class \w+\s*(?:\([^)]*\)\s*)?(?:extends \w+\s*)?[:{]",
        r"#include\s*[<\x22]",
        r"\bfunction\s*\w*\s*\([^)]{0,80}\)\s*\{",
        r"\b(?:public|private|protected)\s+(?:static|class|void|int|string)\b",
        r"\bSystem\.out\.print|\bconsole\.log\(|\bdocument\.\w+\(|\bstd::|\bcout\s*<<|\bprintf\(|\bscanf\(",
        r"(?m:^)\s*(?:print|println!?|echo|puts)\s*\(.*\)\s*;?\s*(?:$|#|//)",
        r"(?m:^)\s*from [\w.]+ import \w|(?m:^)\s*import [\w.]+(?: as \w+)?;?\s*$|(?m:^)\s*using namespace ",
        r"(?m:^)\s*(?:const|let|var) [\w{}\[\], ]+\s*=",
        r"(?m:^)\s*(?:int|float|double|char|bool|String|string|auto|void)(?:\[\])? \w+\s*(?:=|;|\(|\[)",
        r"(?m:^)\s*(?:if|for|while|foreach|switch)\s*\([^\n]*\)\s*\{?\s*$",
        r"(?m:^)\s*(?:for \w+(?:, ?\w+)? in [^\n]{1,60}|while [^\n]{1,40}|if [^\n]{1,60}(?:==|!=|<|>| in | not )[^\n]{1,60}|else|try|except[^\n]{0,30}):\s*$",
        r"(?m:^)\s*return [^\n]*;\s*$|(?m:^)\s*return [\w\[\](). +*/%-]+$",
        r"\b(?:SELECT|select)\s+(?:\*|[\w.,()*\s]{1,80}?)\s+(?:FROM|from)\s+\w+\s*(?:;|$|\n|\b(?:WHERE|where|JOIN|ORDER|GROUP|INNER|LEFT)\b)",
        r"\bCREATE TABLE\b|\bINSERT INTO \w+|\bUPDATE \w+\s+SET\b|\bDELETE FROM \w+|\bALTER TABLE\b|\bDROP TABLE\b",
        r"=>\s*\{|\(\w*\)\s*=>|\w+\s*=\s*lambda\b|\blambda \w+(?:, ?\w+)*:",
        r"<\?php|(?m:^)#!\s*/|\$\(['\x22#.\w]+\)\.|(?m:^)\s*\$ (?:sudo|cd|ls|pip|npm|git|curl) ",
        r"(?m:^)\s*(?:sudo|pip3? install|npm install|apt(?:-get)? install|git (?:clone|commit|push|pull|checkout)|curl -)\b",
        r"(?m:^)\s*[.#]?[\w-]+(?:\s*[,>]?\s*[.#]?[\w:-]+)*\s*\{\s*(?:\n\s*)?[\w-]+\s*:[^;{}\n]+;",
        r"(?m:^)\s*\w+(?:\.\w+)+\([^\n]*\);?\s*$",
        r"(?m:^)\s*\w+ = (?:\w+\.)*\w+\([^\n]*\);?\s*$",
    ];
    Pattern::case_sensitive(&alternatives.join("|"))
});

static WEAK: LazyLock<Pattern> = LazyLock::new(|| {
    let alternatives = [
        r"(?m:[{}]\s*$)|(?m:[=()][^\n;]*;\s*$)",
        r"\w\s?(?:==|!=|===)\s?\w|&&|\|\||\+=|-=|:=|\b[a-z_]\w*->[a-z_]|=>|[a-z]\+\+|\+\+[a-z]",
        r"\b\w+\(\)",
        r"\b[a-z]\w*\.[a-z]\w*\(",
        r"\b[a-z]\w*\[\w+\]",
        r"\b[a-z]+_[a-z]+(?:_[a-z]+)*\b\s*[=(]",
        r"\b[a-z]+[A-Z]\w*\s*[=(.]",
        r"(?m:^)\s*//\s?\w",
        r"(?m:^)\s*[a-z_][a-zA-Z_]\w*\s*=\s*[\[{('\x22\d\w]",
        r"(?m:^)\s*[\x22']\w+[\x22']\s*:|(?m:^)\s*[a-z-]+: [^;\n]{1,40};\s*$",
        r"\\[dwsb][+*{]|\[[a-z]-z[^\]\n]{0,20}\][+*{]|\^\[|\(\?:",
        r"\b(?:len|range|str|int|sum|max|min|sqrt|printf?|scanf|append|input)\([^)\n]{0,60}\)|\bprint\(",
    ];
    Pattern::case_sensitive(&alternatives.join("|"))
});

/// Asks for something that is run, not read.
static ASKED: LazyLock<Pattern> = LazyLock::new(|| {
    let language = r"python|java|javascript|js|typescript|c\+\+|c#|ruby|perl|php|kotlin|golang|rust|swift|scala|matlab|bash|shell|powershell|sql|mysql|nosql|mongodb|html5?|css3?|xml|json|yaml|jquery|react(?:js)?|node(?:\.js)?|django|flask|numpy|pandas|regex|latex|markdown|excel|vba|assembly";
    let thing = r"code|script|program|function|method|class|algorithm|snippet|query|queries|command|regex|regular expression|pseudo-?code|loop|api|endpoint|app(?:lication)?|web ?page|website|database|schema|formula|macro|object|array|string|data structure|statement|component|expression";
    Pattern::new(&format!(
        r"\b(?:{language})(?:\s+\w+)?\s+(?:{thing})s?\b|\b(?:in|using|with|into|to|for)\s+(?:a\s+|the\s+)?(?:{language})(?:\W|$)|\b(?:code|script|program|function|algorithm|query|regex|regular expression|pseudo-?code|snippet|command)\b|\b(?:sql|html|css|python|java|javascript)\b"
    ))
});

pub(super) fn check(body: &Body, options: &Options) -> Option<String> {
    let mut asked = false;
    for (name, text) in body.fields() {
        let mut score = 0;
        let mut first = None;
        if let Some(found) = STATEMENT.find(text) {
            score += STRONG;
            first = Some(found);
        }
        let weak = || WEAK.find_iter(text).take(STRONG + 1);
        if score < options.min_score {
            first = first.or_else(|| weak().next());
            score += weak().count();
        }
        asked = asked || (!name.is_answer() && ASKED.is_match(text));
        let dense = score < STRONG || STATEMENT.is_match(text) || is_dense(text, score);
        let enough =
            (score >= options.min_score && dense) || (asked && name.is_answer() && score >= ASKED_SCORE);
        if let (true, Some(first)) = (enough, first) {
            let sign = excerpt(first.trim(), 40);
            return Some(format!("{name} looks like code: `{sign}` (score {score})"));
        }
    }
    None
}

/// Weak signs alone make code only where they are thick: one in 80 bytes.
fn is_dense(text: &str, signs: usize) -> bool {
    let signs = if signs > STRONG { WEAK.find_iter(text).count() } else { signs };
    signs * 80 >= text.len()
}

#[cfg(test)]
mod tests {
    use super::super::testing::alpaca;
    use super::*;

    fn found(instruction: &str, output: &str) -> Option<String> {
        check(&alpaca(instruction, "", output), &Options::default())
    }

    #[test]
    fn programs_of_many_languages() {
        for code in [
            "def reverse(s):\n    return s[::-1]",
            "function add(a, b) {\n  return a + b;\n}",
            "public class Main {\n  public static void main(String[] args) {}\n}",
            "#include <stdio.h>\nint main() { return 0; }",
            "SELECT name FROM users WHERE age > 30;",
            "const even = list.filter(x => x % 2 === 0);",
            "for i in range(10):\n    print(i)",
            "h1 {\n  color: red;\n}",
            "Here it is:\n```\nls -la\n```",
            "$(document).ready(function(){ $('.a').hide(); });",
            "import numpy as np\nx = np.zeros(3)",
            "CREATE TABLE t (id INT);",
            "pip install requests",
        ] {
            assert!(found("Do it.", code).is_some(), "{code}");
        }
    }

    #[test]
    fn a_short_answer_counts_where_code_was_asked_for() {
        assert!(found("Write a regex for four digits.", "^\\d{4}$").is_some());
        assert!(found("Write a Python expression for the length of a list.", "len(items)").is_some());
        assert!(found("Give the maximum.", "max(a, b) is the larger one.").is_none());
    }

    #[test]
    fn prose_about_programs_stays() {
        for (question, answer) in [
            ("What is Python used for?", "Python is used for data science, websites and scripts."),
            ("Explain what an algorithm is.", "An algorithm is a list of steps that solves a problem."),
            ("Select a gift from the list.", "I would select a book from the list; it is useful."),
            ("Plan the day.", "Morning:\n- swim\n- read\nEvening:\n- cook;"),
            ("Find the median.", "The numbers are [1, 2, 3]; the median is 2."),
            ("Solve 3x + 2 = 11.", "3x = 9\nx = 3"),
            ("Write to a friend.", "Dear Ann,\nwhile I was away, the cat returned.\nYours,\nTom"),
        ] {
            assert_eq!(found(question, answer), None, "{answer}");
        }
    }

    #[test]
    fn weak_signs_must_be_thick_in_a_long_text() {
        let essay =
            "The teacher said that a == b is a test. ".repeat(3) + &"The sun shone all day long. ".repeat(60);
        assert_eq!(found("Write.", &format!("{essay} x += 1 y -> z")), None);
    }

    #[test]
    fn the_score_can_be_tuned() {
        let body = alpaca("Do it.", "", "def f(x):\n    return x");
        assert!(check(&body, &Options { min_score: 100 }).is_none());
    }
}
