//! What an open page is told while runs go on.

use super::Watch;
use super::runs::Summary;
use crate::state::AppState;
use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_core::Stream;
use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// Between two looks at the files; a training is not slowed by a look at the length of a file.
const PAUSE: Duration = Duration::from_millis(700);

/// `GET /ui/runs/events`: the summary of every run, and again whenever it changes, as `event: run`.
pub async fn events(
    State(state): State<Arc<AppState>>,
    Extension(watch): Extension<Arc<Watch>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(tell(state, watch, sender));
    Sse::new(Events(receiver)).keep_alive(KeepAlive::default())
}

/// Look again and again until nobody listens or the server stops.
async fn tell(state: Arc<AppState>, watch: Arc<Watch>, sender: mpsc::Sender<Event>) {
    let mut told: HashMap<String, Summary> = HashMap::new();
    let mut closing = state.closing();
    loop {
        let (looking, roots) = (Arc::clone(&watch), state.options.runs.clone());
        let summaries = tokio::task::spawn_blocking(move || looking.summaries(&roots)).await;
        for summary in summaries.unwrap_or_default() {
            if told.get(&summary.id).is_none_or(|before| summary.is_news_after(before)) {
                let Ok(event) = Event::default().event("run").json_data(&summary) else { continue };
                if sender.send(event).await.is_err() {
                    return;
                }
                told.insert(summary.id.clone(), summary);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = sender.closed() => return,
            () = closing.reached() => return,
        }
    }
}

/// The receiver as a stream.
struct Events(mpsc::Receiver<Event>);

impl Stream for Events {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|event| event.map(Ok))
    }
}
