//! The report: one HTML page that needs nothing beside itself.

use super::compare::{Compared, Scores};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;

/// Characters of a text that the page shows.
const SHOWN_CHARACTERS: usize = 1500;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--mark:#e5484d33;--bar:#3b82f6}
body{font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{border:1px solid var(--line);padding:.4rem .6rem;text-align:left;vertical-align:top}
td.text{white-space:pre-wrap;overflow-wrap:anywhere;width:33%}
td.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code{font-size:.85em;overflow-wrap:anywhere}
mark{background:var(--mark);color:inherit;border-radius:2px}
.bar{background:var(--bar);height:.8rem}
@media(max-width:700px){table.worst,table.worst tbody,table.worst tr,table.worst td{display:block;width:auto}
table.worst thead{display:none}table.worst tr{margin:1rem 0}table.worst td.number{text-align:left}
table.worst td.number br{display:none}table.worst td::before{content:attr(data-label) ' ';font-weight:bold}}
";

/// What the page tells.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    pub title: String,
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
        let title = escape(&self.title);
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        );
        self.write_facts(&mut html);
        self.write_figures(&mut html);
        self.write_spread(&mut html);
        self.write_worst(&mut html);
        html.push_str("</body></html>\n");
        html
    }

    fn write_facts(&self, html: &mut String) {
        html.push_str("<ul>\n");
        let segments = ("segments".to_string(), self.compared.len().to_string());
        for (name, value) in self.facts.iter().chain([&segments]) {
            let _ = writeln!(html, "<li>{}: {}</li>", escape(name), escape(value));
        }
        html.push_str("</ul>\n");
    }

    fn write_figures(&self, html: &mut String) {
        html.push_str(
            "<table><thead><tr><th>metric</th><th>score</th><th>signature</th></tr></thead><tbody>\n",
        );
        for figure in self.scores.figures() {
            let _ = writeln!(
                html,
                "<tr><td>{}</td><td class=\"number\">{:.2}</td><td><code>{}</code></td></tr>",
                figure.name, figure.score, figure.signature
            );
        }
        html.push_str("</tbody></table>\n");
    }

    /// How many segments have which score.
    fn write_spread(&self, html: &mut String) {
        let mut bins = [0usize; 10];
        for score in &self.scores.segments {
            bins[((score / 10.0) as usize).min(9)] += 1;
        }
        let most = bins.iter().copied().max().unwrap_or(0).max(1);
        html.push_str(
            "<h2>Segments by chrF2++</h2>\n<table><thead><tr><th>chrF2++</th><th>segments</th>\
                       <th></th></tr></thead><tbody>\n",
        );
        for (i, count) in bins.iter().enumerate() {
            let width = 100.0 * *count as f64 / most as f64;
            let _ = writeln!(
                html,
                "<tr><td class=\"number\">{} to {}</td><td class=\"number\">{count}</td>\
                 <td style=\"width:75%\"><div class=\"bar\" style=\"width:{width:.1}%\"></div></td></tr>",
                10 * i,
                10 * i + 10
            );
        }
        html.push_str("</tbody></table>\n");
    }

    fn write_worst(&self, html: &mut String) {
        let worst = self.worst_first();
        let _ = writeln!(html, "<h2>The worst {}</h2>", worst.len());
        let other = match self.compared.iter().any(|c| c.back.is_some()) {
            true => "translated back",
            false => "reference",
        };
        let _ = writeln!(
            html,
            "<p>Marked: words that the other side of the comparison lacks.</p>\n<table class=\"worst\">\
             <thead><tr><th>chrF2++</th><th>source</th><th>translation</th><th>{other}</th></tr></thead><tbody>"
        );
        for i in worst {
            write_row(html, &self.compared[i], self.scores.segments[i], other);
        }
        html.push_str("</tbody></table>\n");
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
        "<tr><td class=\"number\" data-label=\"chrF2++\">{score:.1}<br><small>{}</small></td>\
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
        Page { title: "Quality".into(), facts, scores: &scores, compared, worst }.to_html()
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
