//! What every handler sees.

use crate::options::Options;
use crate::registry::{Registry, now};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

pub struct AppState {
    pub options: Options,
    pub registry: Arc<Registry>,
    /// Unix seconds.
    pub started: u64,
    phase: watch::Sender<Phase>,
    /// Drawn anew each time the server starts; ids and seeds come of it.
    secret: RandomState,
    requests: AtomicU64,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// No new connections; running replies may end.
    Closing,
    /// What still runs is told that it is over.
    Stopped,
}

/// Wakes what runs without an end of its own.
#[derive(Clone)]
pub struct Stop {
    phase: watch::Receiver<Phase>,
    at: Phase,
}

impl Stop {
    /// Ready once that phase has come; never before.
    pub async fn reached(&mut self) {
        let at = self.at;
        // The sender lives as long as the state, without which nobody runs.
        let _ = self.phase.wait_for(|phase| *phase >= at).await;
    }
}

impl AppState {
    pub fn new(options: Options, registry: Arc<Registry>) -> Self {
        Self {
            options,
            registry,
            started: now(),
            phase: watch::Sender::new(Phase::Serving),
            secret: RandomState::new(),
            requests: AtomicU64::new(0),
        }
    }

    /// For replies: the time for them to end is over.
    pub fn stop(&self) -> Stop {
        Stop { phase: self.phase.subscribe(), at: Phase::Stopped }
    }

    /// For streams that would never end, such as a run that is watched: the server has begun to stop.
    pub fn closing(&self) -> Stop {
        Stop { phase: self.phase.subscribe(), at: Phase::Closing }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// A line for the operator: what a client is not told.
    pub fn log(&self, line: &str) {
        (self.options.log)(line);
    }

    /// A number that no other request has and nobody can foresee.
    pub(crate) fn next_id(&self) -> u64 {
        self.secret.hash_one(self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// A seed for a request that names none.
    pub(crate) fn fresh_seed(&self) -> u64 {
        self.next_id()
    }
}
