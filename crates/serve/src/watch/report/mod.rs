//! The report card as HTML: for the report page, and as one file that needs nothing beside itself.

mod card;
mod words;

use super::found::{Found, cards};
use super::series::Series;
use super::{reading, unreadable};
use crate::LOOK;
use crate::api::error::ApiError;
use crate::state::AppState;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use tolmach_eval::ReportCard;
use words::Language;

/// The report's own, over the look of all pages.
const STYLE: &str = include_str!("../../../pages/report/card.css");

/// A report card as one HTML file: English and Russian, light and dark, plots inside, no script.
/// `adapter` may hold the metrics of its training; their curve is shown then.
pub fn report_page(card: &ReportCard, adapter: Option<&FilePath>) -> String {
    let series = adapter.and_then(training);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>Tolmach · {}</title>\n\
         <style>\n{LOOK}{STYLE}</style></head>\n<body>\n<main class=\"page report\">\n\
         <fieldset class=\"languages\"><legend class=\"visually-hidden\">Language · Язык</legend>\n",
        words::TITLE[0],
    );
    for (language, name) in Language::ALL.into_iter().zip(["English", "Русский"]) {
        let (code, checked) = (language.code(), if language == Language::English { " checked" } else { "" });
        html += &format!(
            "<label lang=\"{code}\"><input type=\"radio\" name=\"language\" value=\"{code}\"{checked}> {name}</label>\n"
        );
    }
    html += "</fieldset>\n";
    for language in Language::ALL {
        let body = card::body(card, series.as_ref(), language);
        html += &format!("<div class=\"told {0}\" lang=\"{0}\">\n{body}</div>\n", language.code());
    }
    html + "</main>\n</body></html>\n"
}

/// The metrics of the training that made an adapter, if they are there.
fn training(adapter: &FilePath) -> Option<Series> {
    let mut series = Series::default();
    series.refresh(&adapter.join("metrics.jsonl")).ok()?;
    (!series.steps.is_empty()).then_some(series)
}

/// `GET /ui/reports`: the cards there are.
pub async fn list(State(state): State<Arc<AppState>>) -> Result<Json<Value>, ApiError> {
    reading(move || {
        let entry = |found: &Found| json!({"id": found.id, "name": found.name});
        let all: Vec<Value> = cards(&state.options.runs).iter().map(entry).collect();
        Ok(Json(json!({"reports": all})))
    })
    .await
}

#[derive(Deserialize)]
pub struct Told {
    #[serde(default)]
    language: Option<String>,
}

/// `GET /ui/reports/{id}?language=ru`: `{"html"}`, to be shown in the page.
pub async fn read(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
    Query(Told { language }): Query<Told>,
) -> Result<Json<Value>, ApiError> {
    reading(move || {
        let (card, adapter) = open(&state, &id)?;
        let series = adapter.as_deref().and_then(training);
        let html = card::body(&card, series.as_ref(), Language::named(language.as_deref()));
        Ok(Json(json!({"html": html})))
    })
    .await
}

/// `GET /ui/reports/{id}/file`: the report as a file of its own, to be passed on.
pub async fn file(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, ApiError> {
    reading(move || {
        let (card, adapter) = open(&state, &id)?;
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_DISPOSITION, "attachment; filename=\"report.html\""),
        ];
        Ok((headers, report_page(&card, adapter.as_deref())))
    })
    .await
}

/// A card, and the folder of the training that lies beside it in a run of `teach`.
fn open(state: &AppState, id: &str) -> Result<(ReportCard, Option<PathBuf>), ApiError> {
    let found = cards(&state.options.runs).into_iter().find(|found| found.id == id);
    let found = found.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "There is no such report."))?;
    let text = std::fs::read(found.path.join("card.json")).unwrap_or_default();
    let card = serde_json::from_slice(&text).map_err(|_| unreadable())?;
    Ok((card, found.path.parent().map(|run| run.join("03-adapter"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample_card() -> ReportCard {
        let side = |exact: f64| {
            json!({"examples": 16, "exact_match": exact, "target_language": exact, "target_language_neutral": 0,
                "bits_per_byte": 2.5, "text_bits_per_byte": null, "stop_rate": 1.0, "repetition_rate": 0.0,
                "rep_4": 0.0, "empty_rate": 0.0, "reply_tokens": 3.5, "source_examples": 0,
                "source_exact_match": null, "source_language": null, "source_language_neutral": 0,
                "source_bits_per_byte": null, "source_text_bits_per_byte": null, "source_stop_rate": null,
                "source_repetition_rate": null, "source_rep_4": null, "source_empty_rate": null,
                "source_reply_tokens": null, "intervals": {"exact_match": [exact * 0.8, 0.9]}})
        };
        let value = json!({"version": "0.1.0", "base_model": "/home/someone/models/llama",
            "adapter": "/home/someone/<b>ru</b>", "base": side(0.0), "tuned": side(0.75),
            "control": {"prompts": 4, "logits": 100, "zero_adapter_equals_base": true,
                "base_side_equals_base": true, "tuned_differs_from_base": true},
            "language": "ru", "source_language": null, "template": "alpaca-ru", "source_template": null,
            "decoding": "greedy", "max_new_tokens": 32,
            "skipped": {"too_long_prompts": 0, "unusable": 0, "cut_texts": 0},
            "samples": [{"set": "target", "id": "e1", "prompt": "<script>alert(1)</script>", "reference": "Рим",
                "base": "</div><img src=x>", "tuned": "Рим"}], "seconds": 1.5});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_file_needs_nothing_beside_itself_and_no_text_becomes_markup() {
        let dir = tempfile::tempdir().unwrap();
        let row = "{\"step\": 1, \"train/loss\": 2.0}\n{\"step\": 2, \"train/loss\": 1.0}\n";
        std::fs::write(dir.path().join("metrics.jsonl"), row).unwrap();
        let html = report_page(&sample_card(), Some(dir.path()));
        assert!(!html.contains("<script") && !html.contains("<img") && !html.contains("<b>"));
        let bare = html.replace("http://www.w3.org/2000/svg", "");
        // With the quote: `src=` alone may be a reply's own text, and is one here.
        for outside in ["src=\"", "href=\"", "url(", "@import", "http:", "https:", "//"] {
            assert!(!bare.contains(outside), "{outside}");
        }
        assert!(!html.contains("/home/"), "a report that is passed on tells nothing of folders");
        for word in ["Report card", "Табель", "точные ответы, %", "exact match, %", "75,0 (60,0–90,0)"]
        {
            assert!(html.contains(word), "{word}");
        }
        // A curve and the bars of each measure, in both languages.
        assert_eq!(html.matches("role=\"img\"").count(), 2);
        assert!(html.matches("<svg class=\"plot\"").count() > 2 * 6);
    }

    #[test]
    fn a_failed_control_is_seen() {
        let mut card = sample_card();
        assert!(!report_page(&card, None).contains("badge bad"));
        card.control.base_side_equals_base = Some(false);
        let html = report_page(&card, None);
        assert!(html.contains("<span class=\"badge bad\">NO</span>") && html.contains("НЕТ"));
        (card.tuned, card.samples[0].tuned) = (None, None);
        assert!(!report_page(&card, None).contains("обученная"));
    }
}
