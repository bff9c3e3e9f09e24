//! The body of a report: the two figures that matter first, the table with its bars, the control, replies.

use super::words::{self, Language};
use crate::watch::curves::{Curve, Drawing};
use crate::watch::plot::{Bar, bars};
use crate::watch::series::Series;
use std::fmt::Write;
use tolmach_eval::{MEASURES, Measure, ReplyPair, ReportCard, SideCard, Unit};
use tolmach_translate::quality::escape;

/// Into the plots' colours.
const BASE: usize = 1;
const TUNED: usize = 0;
/// Pixels of the pictures; they shrink with the page.
const CURVE: u32 = 760;
const BARS: u32 = 240;

/// The report in one language.
pub fn body(card: &ReportCard, series: Option<&Series>, language: Language) -> String {
    let mut html = String::new();
    let mut section = |text: String| html.push_str(&text);
    section(format!("<h1>{}</h1>\n", language.of(words::TITLE)));
    section(facts(card, language));
    section(headline(card, language));
    section(table(card, language));
    if let Some(series) = series {
        section(curve(series, language));
    }
    section(control(card, language));
    if !card.samples.is_empty() {
        section(format!("<section class=\"stack\">\n<h2>{}</h2>\n", language.of(words::REPLIES_TITLE)));
        card.samples.iter().for_each(|sample| section(reply(sample, language)));
        section("</section>\n".to_string());
    }
    html
}

fn facts(card: &ReportCard, language: Language) -> String {
    let mut html = String::from("<dl class=\"facts\">\n");
    let mut fact = |name: [&'static str; 2], value: &str| {
        let _ = writeln!(html, "<div><dt>{}</dt><dd>{}</dd></div>", language.of(name), escape(value));
    };
    fact(words::BASE_MODEL, last(&card.base_model));
    if let Some(adapter) = &card.adapter {
        fact(words::ADAPTER, last(adapter));
    }
    if let Some(code) = &card.language {
        fact(words::LANGUAGE, code);
    }
    fact(words::EXAMPLES, &card.base.examples.to_string());
    fact(words::TEMPLATE, &card.template);
    fact(words::DECODING, &format!("{}, ≤ {}", card.decoding, card.max_new_tokens));
    let skipped = card.skipped.too_long_prompts + card.skipped.unusable + card.skipped.cut_texts;
    if skipped > 0 {
        fact(words::SKIPPED, &skipped.to_string());
    }
    let seconds = language.number(&format!("{:.1}", card.seconds));
    fact(words::TIME, &format!("{seconds} {} · tolmach {}", language.of(words::SECONDS), card.version));
    html + "</dl>\n"
}

/// A name without the folder that it lies in: a report is passed on.
fn last(path: &str) -> &str {
    path.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or(path)
}

/// The measures that an outsider understands, large.
fn headline(card: &ReportCard, language: Language) -> String {
    let mut html = String::from("<div class=\"grid\">\n");
    for measure in MEASURES.iter().filter(|m| ["exact_match", "target_language"].contains(&m.name)) {
        let share = |side: &SideCard| side.get(measure.name).map(|value| format!("{:.0} %", 100.0 * value));
        let Some(base) = share(&card.base) else { continue };
        let tuned = card.tuned.as_ref().and_then(share);
        let arrow = tuned.map_or_else(String::new, |tuned| format!(" → <strong>{tuned}</strong>"));
        let title = title(measure, language);
        let title = title.strip_suffix(", %").unwrap_or(&title);
        let _ = writeln!(
            html,
            "<div class=\"panel headline\"><p>{base}{arrow}</p><p class=\"muted\">{title}</p></div>"
        );
    }
    html + "</div>\n"
}

fn title(measure: &Measure, language: Language) -> String {
    match (language, words::russian_measure(measure.name)) {
        (Language::Russian, Some(title)) => title.to_string(),
        _ => match measure.unit {
            Unit::Share => format!("{}, %", measure.title),
            Unit::Bits => measure.title.to_string(),
            Unit::Tokens => format!("{}, tokens", measure.title),
        },
    }
}

fn table(card: &ReportCard, language: Language) -> String {
    let word = |texts| language.of(texts);
    let has_tuned = card.tuned.is_some();
    let head = |class: &str, text: &str| format!("<th scope=\"col\"{class}>{text}</th>");
    let mut heads = head("", word(words::MEASURE)) + &head(" class=\"number base\"", word(words::BASE));
    if has_tuned {
        heads += &head(" class=\"number tuned\"", word(words::TUNED));
    }
    heads += &head(" class=\"bars\"", word(words::BARS));
    let mut html = format!(
        "<section class=\"panel stack\">\n<h2>{}</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"group\" \
         aria-label=\"{0}\">\n<table class=\"table measures\"><thead><tr>{heads}</tr></thead>\n<tbody>\n",
        word(words::MEASURES_TITLE)
    );
    let tuned = |measure: &Measure| card.tuned.as_ref().and_then(|side| side.get(measure.name));
    let shown = MEASURES.iter().filter(|m| card.base.get(m.name).is_some() || tuned(m).is_some());
    for (measure, row) in shown.zip(card.rows()) {
        let mut cells = format!("<td class=\"number\">{}</td>", language.number(&row.base));
        if has_tuned {
            cells += &format!("<td class=\"number\">{}</td>", language.number(&row.tuned));
        }
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{}</th>{cells}<td class=\"bars\">{}</td></tr>",
            title(measure, language),
            bars(&sides(card, measure), BARS)
        );
    }
    html + &format!(
        "</tbody></table>\n</div>\n<p class=\"hint\">{}</p>\n</section>\n",
        word(words::INTERVALS)
    )
}

/// Both sides of a measure; what is no share is drawn in relation to the larger one.
fn sides(card: &ReportCard, measure: &Measure) -> Vec<Bar> {
    let sides = [(Some(&card.base), BASE), (card.tuned.as_ref(), TUNED)];
    let values = || sides.iter().filter_map(|(side, _)| side.and_then(|s| s.get(measure.name)));
    let whole = match measure.unit {
        Unit::Share => 1.0,
        Unit::Bits | Unit::Tokens => values().fold(f64::MIN_POSITIVE, f64::max),
    };
    let bar = |&(side, colour): &(Option<&SideCard>, usize)| {
        let side = side?;
        let interval = side.intervals.get(measure.name).copied();
        Some(Bar { value: side.get(measure.name)? / whole, interval, colour })
    };
    sides.iter().filter_map(bar).collect()
}

fn curve(series: &Series, language: Language) -> String {
    let drawing = Drawing { curve: Curve::Loss, width: CURVE, russian: language == Language::Russian };
    let (title, note) = (language.of(words::LOSS_TITLE), language.of(words::LOSS_NOTE));
    let svg = drawing.svg(&[(series.clone(), None)]);
    format!(
        "<section class=\"panel stack\">\n<h2>{title}</h2>\n{svg}<p class=\"hint\">{note}</p>\n</section>\n"
    )
}

fn control(card: &ReportCard, language: Language) -> String {
    let control = &card.control;
    let text = language.of(words::CONTROL);
    let text = text.replace("{logits}", &control.logits.to_string());
    let text = text.replace("{prompts}", &control.prompts.to_string());
    let title = language.of(words::CONTROL_TITLE);
    let mut html =
        format!("<section class=\"panel stack\">\n<h2>{title}</h2>\n<p>{text}</p>\n<ul class=\"checks\">\n");
    for (what, holds) in [
        (words::ZERO_ADAPTER, Some(control.zero_adapter_equals_base)),
        (words::BASE_SIDE, control.base_side_equals_base),
        (words::CHANGES, control.tuned_differs_from_base),
    ] {
        let Some(holds) = holds else { continue };
        let (class, word) = if holds { ("good", words::YES) } else { ("bad", words::NO) };
        let (word, what) = (language.of(word), language.of(what));
        let _ = writeln!(html, "<li><span class=\"badge {class}\">{word}</span> {what}</li>");
    }
    html + "</ul>\n</section>\n"
}

fn reply(sample: &ReplyPair, language: Language) -> String {
    let mut html = format!(
        "<article class=\"panel stack\">\n<h3 class=\"asked\">{}</h3>\n",
        escape(sample.prompt.trim())
    );
    let mut said = |who: [&'static str; 2], class: &str, text: &str| {
        let text = match text.trim() {
            "" => format!("<p class=\"said muted\">{}</p>", language.of(words::EMPTY)),
            text => format!("<p class=\"said\">{}</p>", escape(text)),
        };
        let _ = writeln!(html, "<div><h4 class=\"{class}\">{}</h4>{text}</div>", language.of(who));
    };
    if let Some(reference) = &sample.reference {
        said(words::REFERENCE, "", reference);
    }
    said(words::BASE, "base", &sample.base);
    if let Some(tuned) = &sample.tuned {
        said(words::TUNED, "tuned", tuned);
    }
    html.replacen("<div>", "<div class=\"sides\"><div>", 1) + "</div>\n</article>\n"
}
