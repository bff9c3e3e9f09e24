//! Static files: pages put together from the shell and their body, and what they load.

use crate::api::error::ApiError;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The frame of every page: head, bar, regions.
const SHELL: &str = include_str!("../../pages/shell/shell.html");

/// A page: where it is, its folder under `pages/`, its English name, what goes into `<main>`.
pub struct Page {
    pub address: &'static str,
    pub name: &'static str,
    pub english: &'static str,
    pub body: &'static str,
}

/// In the order of the bar.
pub const PAGES: &[Page] = &[
    Page { address: "/", name: "chat", english: "Chat", body: include_str!("../../pages/chat/chat.html") },
    Page {
        address: "/training",
        name: "training",
        english: "Training",
        body: include_str!("../../pages/training/training.html"),
    },
    Page {
        address: "/review",
        name: "review",
        english: "Review",
        body: include_str!("../../pages/review/review.html"),
    },
    Page {
        address: "/report",
        name: "report",
        english: "Report",
        body: include_str!("../../pages/report/report.html"),
    },
];

/// Name and content of each file that a page loads.
macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../pages/", $name)))),*]
    };
}

/// What `/assets/` serves.
pub const FILES: &[(&str, &str)] = files![
    "shell/dom.js",
    "shell/early.js",
    "shell/http.js",
    "shell/i18n.js",
    "shell/icon.svg",
    "shell/shell.css",
    "shell/shell.js",
    "shell/strings.js",
    "chat/chat.css",
    "chat/chat.js",
    "chat/history.js",
    "chat/markdown.js",
    "chat/models.js",
    "chat/scroll.js",
    "chat/settings.js",
    "chat/speech.js",
    "chat/store.js",
    "chat/stream.js",
    "chat/strings.js",
    "chat/tree.js",
    "chat/turns.js",
    "training/events.js",
    "training/facts.js",
    "training/live.js",
    "training/plots.js",
    "training/samples.js",
    "training/strings.js",
    "training/training.css",
    "training/training.js",
    "review/item.js",
    "review/reasons.js",
    "review/review.css",
    "review/review.js",
    "review/strings.js",
    "report/card.css",
    "report/report.css",
    "report/report.js",
    "report/strings.js",
];

/// `GET /assets/{folder}/{file}`
pub async fn asset(Path((folder, file)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let name = format!("{folder}/{file}");
    match FILES.iter().find(|(known, _)| *known == name) {
        Some((_, content)) => answer(content_type(&name), content, &headers),
        None => ApiError::new(StatusCode::NOT_FOUND, "There is no such file.").into_response(),
    }
}

/// `GET` of a page's address.
pub async fn page(page: &Page, headers: HeaderMap) -> Response {
    answer("text/html; charset=utf-8", &compose(page), &headers)
}

/// The shell around a page's body, its entry of the bar marked.
pub fn compose(page: &Page) -> String {
    let entry = |other: &Page| {
        let current = if other.name == page.name { " aria-current=\"page\"" } else { "" };
        let Page { address, name, english, .. } = other;
        format!("<a href=\"{address}\" data-t=\"shell.{name}\"{current}>{english}</a>")
    };
    let nav: String = PAGES.iter().map(entry).collect();
    SHELL.replace("{{nav}}", &nav).replace("{{main}}", page.body.trim_end()).replace("{{page}}", page.name)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// The content, or 304 to a browser that has it; a new binary is seen at once, since it is always asked.
fn answer(content_type: &'static str, content: &str, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", &blake3::hash(content.as_bytes()).to_hex()[..16]);
    let caching = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".to_string())];
    if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, content_type)], content.to_string()).into_response()
}
