//! The report: one HTML page that needs nothing beside itself.

use super::compare::{Compared, Scores};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;

/// Characters of a text that the page shows.
const SHOWN_CHARACTERS: usize = 1500;

/// Over the look of all pages, which the caller gives.
const STYLE: &str = "\
h1{overflow-wrap:anywhere}
.facts{display:flex;flex-wrap:wrap;gap:8px 28px;margin:0}
.facts dt{color:var(--muted);font-size:.85rem}
.facts dd{margin:0;overflow-wrap:anywhere}
.scores code{overflow-wrap:anywhere}
.spread td:last-child{width:75%}
.share{background:var(--accent);height:.8rem;border-radius:4px}
.worst .text{white-space:pre-wrap;overflow-wrap:anywhere;width:31%}
.worst small{display:block;color:var(--muted);white-space:normal;overflow-wrap:anywhere}
mark{background:var(--bad-soft);color:inherit;border-bottom:2px solid var(--bad);border-radius:3px}
@media(max-width:700px){.worst thead{display:none}.worst,.worst tbody,.worst tr,.worst td{display:block}
.worst tr{padding:8px 0;border-bottom:1px solid var(--line)}.worst.table td{border:0;padding:4px 0;text-align:left}
.worst .text{width:auto}
.worst td::before{content:attr(data-label);display:block;color:var(--muted);font-size:.85rem}}
";

/// What the page tells.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    pub title: String,
    /// A style sheet with the look of the other pages.
    pub look: &'a str,
    /// What was compared, and what else should be known: name and value.
    pub facts: Vec<(String, String)>,
    pub scores: &'a Scores,
    /// What the scores are of, in the same order.
    pub compared: &'a [Compared],
    /// How many of the worst segments are shown.
    pub worst: usize,
}

impl Page<'_> {
    pub fn to_html(&self) -> String {
        let (title, look) = (escape(&self.title), self.look);
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title>\n\
             <style>\n{look}{STYLE}</style></head>\n<body>\n<main class=\"page\">\n<h1>{title}</h1>\n"
        );
        self.write_facts(&mut html);
        self.write_figures(&mut html);
        self.write_spread(&mut html);
        self.write_worst(&mut html);
        html.push_str("</main>\n</body></html>\n");
        html
    }

    fn write_facts(&self, html: &mut String) {
        html.push_str("<dl class=\"facts\">\n");
        let segments = ("segments".to_string(), self.compared.len().to_string());
        for (name, value) in self.facts.iter().chain([&segments]) {
            let _ = writeln!(html, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value));
        }
        html.push_str("</dl>\n");
    }

    fn write_figures(&self, html: &mut String) {
        section(html, "Scores", "scores", "<th>metric</th><th class=\"number\">score</th><th>signature</th>");
        for figure in self.scores.figures() {
            let _ = writeln!(
                html,
                "<tr><td>{}</td><td class=\"number\">{:.2}</td><td><code>{}</code></td></tr>",
                figure.name, figure.score, figure.signature
            );
        }
        html.push_str(TABLE_END);
        html.push_str("</section>\n");
    }

    /// How many segments have which score.
    fn write_spread(&self, html: &mut String) {
        let mut bins = [0usize; 10];
        for score in &self.scores.segments {
            bins[((score / 10.0) as usize).min(9)] += 1;
        }
        let most = bins.iter().copied().max().unwrap_or(0).max(1);
        let heads = "<th class=\"number\">chrF2++</th><th class=\"number\">segments</th><th>share</th>";
        section(html, "Segments by chrF2++", "spread", heads);
        for (i, count) in bins.iter().enumerate() {
            let width = 100.0 * *count as f64 / most as f64;
            let _ = writeln!(
                html,
                "<tr><td class=\"number\">{} to {}</td><td class=\"number\">{count}</td>\
                 <td><div class=\"share\" style=\"width:{width:.1}%\"></div></td></tr>",
                10 * i,
                10 * i + 10
            );
        }
        html.push_str(TABLE_END);
        html.push_str("</section>\n");
    }

    fn write_worst(&self, html: &mut String) {
        let worst = self.worst_first();
        let other = match self.compared.iter().any(|c| c.back.is_some()) {
            true => "translated back",
            false => "reference",
        };
        let heads =
            format!("<th class=\"number\">chrF2++</th><th>source</th><th>translation</th><th>{other}</th>");
        section(html, &format!("The worst {}", worst.len()), "worst", &heads);
        for i in worst {
            write_row(html, &self.compared[i], self.scores.segments[i], other);
        }
        html.push_str(TABLE_END);
        html.push_str(
            "<p class=\"hint\">Marked: words that the other side of the comparison lacks.</p>\n</section>\n",
        );
    }

    /// Indices of the worst segments; of equals the longer first, since there is more to see.
    fn worst_first(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.compared.len()).collect();
        let (scores, length) = (&self.scores.segments, |i: usize| self.compared[i].translation.len());
        order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(length(b).cmp(&length(a))));
        order.truncate(self.worst);
        order
    }
}

const TABLE_END: &str = "</tbody></table></div>\n";

/// The beginning of a panel with a table, up to its first row.
fn section(html: &mut String, title: &str, class: &str, heads: &str) {
    let _ = writeln!(
        html,
        "<section class=\"panel stack\">\n<h2>{title}</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"group\" \
         aria-label=\"{title}\"><table class=\"table {class}\"><thead><tr>{heads}</tr></thead><tbody>"
    );
}

fn write_row(html: &mut String, segment: &Compared, score: f64, other: &str) {
    let source = segment.source.as_deref().unwrap_or_default();
    let (source, translation, third) = match &segment.back {
        Some(back) => {
            (marked(source, &[back]), escape(&shown(&segment.translation)), marked(back, &[source]))
        }
        None => {
            let references: Vec<&str> = segment.references.iter().map(String::as_str).collect();
            let marked_references: Vec<String> =
                references.iter().map(|r| marked(r, &[&segment.translation])).collect();
            (
                escape(&shown(source)),
                marked(&segment.translation, &references),
                marked_references.join("\n\n"),
            )
        }
    };
    let _ = writeln!(
        html,
        "<tr><td class=\"number\" data-label=\"chrF2++\">{score:.1}<small>{}</small></td>\
         <td class=\"text\" data-label=\"source\">{source}</td>\
         <td class=\"text\" data-label=\"translation\">{translation}</td>\
         <td class=\"text\" data-label=\"{other}\">{third}</td></tr>",
        escape(&segment.id)
    );
}

/// The text with those words marked that occur less often in each of the others.
fn marked(text: &str, others: &[&str]) -> String {
    let text = shown(text);
    let mut left: HashMap<String, usize> = HashMap::new();
    for other in others {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for word in other.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
        for (word, count) in counts {
            let most = left.entry(word).or_default();
            *most = count.max(*most);
        }
    }
    let mut html = String::with_capacity(text.len());
    for part in text.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let word = part.trim_end_matches(|c: char| !c.is_alphanumeric());
        match left.get_mut(&word.to_lowercase()) {
            Some(count) if *count > 0 => {
                *count -= 1;
                html.push_str(&escape(word));
            }
            _ if word.is_empty() => {}
            _ => {
                let _ = write!(html, "<mark>{}</mark>", escape(word));
            }
        }
        html.push_str(&escape(&part[word.len()..]));
    }
    html
}

/// The beginning of a text, as much as a page holds.
fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Text as HTML: nothing in it can become markup, and control characters do not reach the reader.
pub fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\n' | '\t' => html.push(c),
            c if c.is_control() => html.push('\u{fffd}'),
            c => html.push(c),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::{Bleu, score};

    fn compared(pairs: &[(&str, &str)]) -> Vec<Compared> {
        let one = |(i, (translation, reference)): (usize, &(&str, &str))| Compared {
            id: format!("line {}", i + 1),
            source: Some(format!("source {i} <script>alert(1)</script>")),
            translation: translation.to_string(),
            references: vec![reference.to_string()],
            back: None,
        };
        pairs.iter().enumerate().map(one).collect()
    }

    fn page(compared: &[Compared], worst: usize) -> String {
        let scores = score(compared, Bleu::default()).unwrap();
        let facts = vec![("engine".to_string(), "a & b".to_string())];
        let look = "body{color:red}";
        Page { title: "Quality".into(), look, facts, scores: &scores, compared, worst }.to_html()
    }

    #[test]
    fn the_worst_come_first_and_only_so_many() {
        let all =
            compared(&[("хорошо", "хорошо"), ("кот", "пёс"), ("длинный ответ", "xyz"), ("почти", "почты")]);
        let html = page(&all, 3);
        let place = |id: &str| html.find(&format!("<small>{id}</small>"));
        assert!(place("line 3") < place("line 2"), "of two without a match the longer first");
        assert!(place("line 2") < place("line 4"));
        assert_eq!(place("line 1"), None);
        assert!(html.contains("<h2>The worst 3</h2>") && html.contains("a &amp; b"));
        assert!(html.contains("body{color:red}"), "the look is the caller's");
        assert!(!html.contains("class=\"bar\""), "a class of the look, with a padding");
        assert!(
            !html.contains("src=") && !html.contains("@import") && !html.contains("url("),
            "nothing is loaded"
        );
        assert!(html.contains("nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0"));
    }

    #[test]
    fn a_text_cannot_become_markup() {
        let mut all = compared(&[("</td><img src=x onerror=alert(1)>\u{1b}[31m", "\"'>&")]);
        all[0].back = Some("<b>back</b>".into());
        let html = page(&all, 20);
        assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("<b>"), "{html}");
        assert!(!html.contains('\u{1b}'));
        assert!(html.contains("<th>translated back</th>"));
    }

    #[test]
    fn words_that_the_other_side_lacks_are_marked() {
        assert_eq!(
            marked("Кот, кот ест <рыбу>.", &["кот не ест"]),
            "Кот, <mark>кот</mark> ест &lt;<mark>рыбу</mark>&gt;."
        );
        assert_eq!(marked("a b", &["a", "b"]), "a b");
    }

    #[test]
    fn a_text_longer_than_the_page_is_cut() {
        let long = "слово ".repeat(10_000);
        let html = page(&compared(&[(&long, "иначе")]), 20);
        assert!(html.len() < 60_000, "{}", html.len());
        assert!(html.contains("…</td>") || html.contains("…</mark>"), "what is cut says so");
    }
}
