//! From segments to answers: batches, requests under way, rates, retries, pauses, and splitting a batch
//! that fails.
//!
//! Worker threads ask the engine; the calling thread receives every answer the moment it is there and
//! stores it. A request that was answered is never thrown away: on Ctrl-C or a failure no new request
//! starts, those under way are waited for.

mod batches;
mod breaker;
mod pace;
mod purse;
mod retry;
mod round;

pub(crate) use batches::{batches, characters, request_limits};
pub(crate) use pace::seconds_at_the_limit;
pub(crate) use purse::Purse;
pub use retry::RetryPolicy;

use crate::LanguagePair;
use crate::engine::{Answer, Engine, EngineError, Limits};
use breaker::Breaker;
use pace::Pace;
use round::Round;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Notes on answers that took more than one request.
pub(crate) const OTHER_SEPARATOR: &str = "asked again with another separator";
pub(crate) const SMALLER_REQUEST: &str = "asked again in a smaller request";

/// What the calling thread is told while segments are under way.
pub(crate) enum News {
    /// Answers to segments, by index, each with a note on how it was come by.
    Answers(Vec<(usize, Answer, &'static str)>),
    /// A request failed and is tried again after a pause.
    Retry { error: EngineError, pause: Duration },
}

/// What went over the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub requests: usize,
    /// Requests with a translation in the answer; these are charged for.
    pub answered: usize,
    pub retries: usize,
    /// Characters of the answered requests.
    pub characters: usize,
}

/// Why the engine was not asked to the end.
#[derive(Debug)]
pub(crate) enum Stop<E> {
    Cancelled,
    Engine(EngineError),
    /// The next request would cost more than the purse holds.
    Budget,
    /// The receiver of the news failed.
    Receiver(E),
}

/// What becomes of a batch whose answers are not as many as its segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnMiscount {
    /// Its halves are asked for.
    Split,
    /// Each segment is a [`crate::engine::Miss::Garbled`]: the caller knows better what to do.
    Report,
}

/// One service over a whole run: its rates, its outages, what it was sent.
pub(crate) struct Service<'a> {
    pair: &'a LanguagePair,
    retry: &'a RetryPolicy,
    cancel: &'a AtomicBool,
    purse: &'a Purse,
    pace: Mutex<Pace>,
    breaker: Mutex<Breaker>,
    /// Nobody may ask before this moment.
    not_before: Mutex<Option<Instant>>,
    requests: AtomicUsize,
    answered: AtomicUsize,
    retries: AtomicUsize,
    characters: AtomicUsize,
    /// Requests answered as they should be.
    successes: AtomicUsize,
    /// Requests given up since the last success.
    faults: AtomicUsize,
}

impl<'a> Service<'a> {
    /// A service with the rates in `limits`.
    pub fn new(
        limits: &Limits,
        pair: &'a LanguagePair,
        retry: &'a RetryPolicy,
        purse: &'a Purse,
        cancel: &'a AtomicBool,
    ) -> Self {
        Self {
            pair,
            retry,
            cancel,
            purse,
            pace: Mutex::new(Pace::new(limits)),
            breaker: Mutex::default(),
            not_before: Mutex::default(),
            requests: AtomicUsize::default(),
            answered: AtomicUsize::default(),
            retries: AtomicUsize::default(),
            characters: AtomicUsize::default(),
            successes: AtomicUsize::default(),
            faults: AtomicUsize::default(),
        }
    }

    /// What went over the wire so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.requests.load(SeqCst),
            answered: self.answered.load(SeqCst),
            retries: self.retries.load(SeqCst),
            characters: self.characters.load(SeqCst),
        }
    }

    /// Ask `engine` for the segments in `batches`, a request each. A batch with some segments `answered` was
    /// halved when the run was stopped: it goes on with the halves. `receive` runs on the calling thread,
    /// with all news that are there.
    pub fn ask<E>(
        &self,
        engine: &dyn Engine,
        segments: &[&str],
        batches: &[Range<usize>],
        answered: &[bool],
        on_miscount: OnMiscount,
        mut receive: impl FnMut(Vec<News>) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        let limits = request_limits(engine);
        let workers = limits.concurrency.clamp(1, batches.len().max(1));
        let price = engine.price();
        let state = round::State::default();
        let round =
            Round { service: self, engine, limits, price, segments, answered, on_miscount, batches, state };
        // Bounded, so that workers never run far ahead of what is stored.
        let (sender, receiver) = mpsc::sync_channel(2 * workers);
        let received = thread::scope(|scope| {
            for _ in 0..workers {
                let (round, sender) = (&round, sender.clone());
                scope.spawn(move || round.work(&sender));
            }
            drop(sender);
            round.receive_all(&receiver, &mut receive)
        });
        round.outcome(received)
    }
}
