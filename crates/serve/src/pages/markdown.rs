//! Markdown as models write it → HTML that is safe to insert.
//!
//! Two belts: HTML in the text is shown as text, never passed on, and what the renderer makes is sanitised
//! all the same. Pictures become links, so that no answer can make the browser call another host.

use crate::api::body;
use crate::api::error::ApiError;
use crate::state::AppState;
use ammonia::{Builder, UrlRelative};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use pulldown_cmark::{Event, LinkType, Options, Parser, Tag, TagEnd, html};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

/// Elements within elements, at most.
const DEEPEST: usize = 40;
/// Bytes of a text, at most: far more than a reply has.
const LONGEST: usize = 256 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    text: String,
}

/// `POST /ui/markdown`: `{"text"}` → `{"html"}`.
pub async fn markdown(State(state): State<Arc<AppState>>, request: Request) -> Result<Json<Value>, ApiError> {
    let Written { text } = body::json(&state, request).await?;
    if text.len() > LONGEST {
        let message = format!("Markdown of {LONGEST} bytes at most.");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).code("request_too_large"));
    }
    // Milliseconds for a long reply: not on the threads that serve streams.
    let html = tokio::task::spawn_blocking(move || render(&text)).await;
    let html = html
        .map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "The text could not be rendered."))?;
    Ok(Json(json!({ "html": html })))
}

/// `text` as sanitised HTML.
pub fn render(text: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events = shallow(Parser::new_ext(text, options).map(harmless));
    let mut raw = String::with_capacity(text.len() * 2);
    html::push_html(&mut raw, events);
    // The policy of the pages takes no `style`; a text's own tags are text by now, so these are the writer's.
    for side in ["left", "center", "right"] {
        raw = raw.replace(&format!(" style=\"text-align: {side}\">"), &format!(" class=\"{side}\">"));
    }
    SANITISER.clean(&raw).to_string()
}

/// HTML as text, pictures as links, and a line break where the model made one.
fn harmless(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Html(html) | Event::InlineHtml(html) => Event::Text(html),
        Event::SoftBreak => Event::HardBreak,
        Event::Start(Tag::Image { dest_url, title, id, .. }) => {
            Event::Start(Tag::Link { link_type: LinkType::Inline, dest_url, title, id })
        }
        Event::End(TagEnd::Image) => Event::End(TagEnd::Link),
        other => other,
    }
}

/// Nesting beyond [`DEEPEST`] is dropped, its text kept: sanitising costs the square of the depth.
fn shallow<'a>(events: impl Iterator<Item = Event<'a>>) -> impl Iterator<Item = Event<'a>> {
    let mut depth = 0usize;
    events.filter(move |event| match event {
        Event::Start(_) => {
            depth += 1;
            depth <= DEEPEST
        }
        Event::End(_) => {
            depth -= 1;
            depth < DEEPEST
        }
        _ => true,
    })
}

static SANITISER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let tags = [
        "a",
        "blockquote",
        "br",
        "code",
        "del",
        "em",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "li",
        "ol",
        "p",
        "pre",
        "strong",
        "table",
        "tbody",
        "td",
        "th",
        "thead",
        "tr",
        "ul",
    ];
    let mut builder = Builder::empty();
    builder
        .tags(tags.into())
        .add_tag_attributes("a", ["href", "title"])
        .add_tag_attributes("ol", ["start"])
        .add_tag_attributes("code", ["class"])
        .add_tag_attributes("td", ["class"])
        .add_tag_attributes("th", ["class"])
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .url_relative(UrlRelative::Deny)
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank")
        .attribute_filter(|element, attribute, value| match (element, attribute) {
            ("code", "class") => language_class(value),
            ("td" | "th", "class") => ["left", "center", "right"].contains(&value).then_some(value.into()),
            _ => Some(value.into()),
        });
    builder
});

/// A fenced block keeps the name of its language and no other class.
fn language_class(value: &str) -> Option<Cow<'_, str>> {
    let name = value.strip_prefix("language-")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-#._".contains(c);
    (!name.is_empty() && name.len() <= 30 && name.chars().all(plain)).then_some(value.into())
}
