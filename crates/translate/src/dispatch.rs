//! From segments to answers: batches, requests under way, retries, pauses, and splitting a batch that fails.
//!
//! Worker threads ask the engine; the calling thread receives every answer the moment it is there and
//! stores it. A request that was answered is never thrown away: on Ctrl-C or a failure no new request
//! starts, those under way are waited for.

use crate::LanguagePair;
use crate::engine::{Answer, Engine, EngineError, Limits, Miss};
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long to insist.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts at one request before the service counts as down.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each further one, up to `longest_pause`.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// A service that asks for a longer pause (`Retry-After`) is not waited for.
    pub longest_retry_after: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            longest_retry_after: Duration::from_secs(600),
        }
    }
}

/// Attempts at a request that is answered, but wrongly; then its batch is split.
const FAULT_ATTEMPTS: u32 = 3;

/// Faulty requests in a row and per worker, without one success between them, after which the service counts
/// as broken. Finding the one bad segment of a batch of 50 by halving takes at most 6.
const FAULTS_IN_A_ROW: usize = 8;

/// What the calling thread is told while segments are under way.
pub(crate) enum News {
    /// Answers to segments, by index.
    Answers(Vec<(usize, Answer)>),
    /// A request failed and is tried again after a pause.
    Retry { error: EngineError, pause: Duration },
}

/// What went over the wire.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub requests: usize,
    pub retries: usize,
}

/// Why the engine was not asked to the end.
pub(crate) enum Stop<E> {
    Cancelled,
    Engine(EngineError),
    /// The receiver of the news failed.
    Receiver(E),
}

/// Cut `segments` into runs that respect `limits`; a segment over the limit is a run of its own.
pub(crate) fn batches(segments: &[&str], limits: Limits) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let (mut start, mut characters) = (0, 0usize);
    for (i, segment) in segments.iter().enumerate() {
        let length = segment.chars().count();
        let full =
            i - start >= limits.segments.max(1) || characters.saturating_add(length) > limits.characters;
        if full && i > start {
            out.push(start..i);
            (start, characters) = (i, 0);
        }
        characters += length;
    }
    if start < segments.len() {
        out.push(start..segments.len());
    }
    out
}

/// Ask `engine` for every segment. `receive` runs on the calling thread, with all news that are there.
pub(crate) fn dispatch<E>(
    engine: &dyn Engine,
    pair: &LanguagePair,
    segments: &[&str],
    retry: &RetryPolicy,
    cancel: &AtomicBool,
    mut receive: impl FnMut(Vec<News>) -> Result<(), E>,
) -> (Traffic, Result<(), Stop<E>>) {
    let batches = batches(segments, engine.limits());
    let shared = Shared { engine, pair, segments, retry, cancel, batches: &batches, state: State::default() };
    let workers = engine.limits().concurrency.clamp(1, batches.len().max(1));
    // Bounded, so that workers never run far ahead of what is stored.
    let (sender, receiver) = mpsc::sync_channel(2 * workers);
    let received = thread::scope(|scope| {
        for _ in 0..workers {
            let (shared, sender) = (&shared, sender.clone());
            scope.spawn(move || shared.work(&sender));
        }
        drop(sender);
        shared.receive_all(&receiver, &mut receive)
    });
    let state = shared.state;
    let traffic = Traffic { requests: state.requests.into_inner(), retries: state.retries.into_inner() };
    let failure = state.failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    let fault = state.last_fault.into_inner().unwrap_or_else(PoisonError::into_inner);
    let outcome = match (received, failure, fault) {
        (Err(e), _, _) => Err(Stop::Receiver(e)),
        (_, Some(e), _) => Err(Stop::Engine(e)),
        // Not one success: that is no matter of single segments.
        (_, _, Some(e)) if state.successes.into_inner() == 0 => Err(Stop::Engine(e)),
        _ if cancel.load(SeqCst) && state.next.into_inner() < batches.len() => Err(Stop::Cancelled),
        _ if state.cut_short.into_inner() => Err(Stop::Cancelled),
        _ => Ok(()),
    };
    (traffic, outcome)
}

/// What the workers share.
struct Shared<'a> {
    engine: &'a dyn Engine,
    pair: &'a LanguagePair,
    segments: &'a [&'a str],
    retry: &'a RetryPolicy,
    cancel: &'a AtomicBool,
    batches: &'a [Range<usize>],
    state: State,
}

#[derive(Default)]
struct State {
    /// The next batch that nobody has taken.
    next: AtomicUsize,
    /// No new request starts.
    stop: AtomicBool,
    /// A batch was given up because of `cancel`.
    cut_short: AtomicBool,
    requests: AtomicUsize,
    retries: AtomicUsize,
    successes: AtomicUsize,
    /// Requests given up since the last success.
    faults: AtomicUsize,
    /// Nobody may ask before this moment.
    not_before: Mutex<Option<Instant>>,
    failure: Mutex<Option<EngineError>>,
    last_fault: Mutex<Option<EngineError>>,
}

/// Why a worker ends early; a failure is already noted in the state.
struct Ended;

impl Shared<'_> {
    fn work(&self, news: &SyncSender<News>) {
        while let Some(batch) = self.batches.get(self.state.next.fetch_add(1, SeqCst)) {
            if self.ask(batch.clone(), FAULT_ATTEMPTS, news).is_err() {
                return;
            }
        }
    }

    /// Hand over everything that has arrived in one go, so that many answers share one transaction.
    fn receive_all<E>(
        &self,
        news: &Receiver<News>,
        receive: &mut impl FnMut(Vec<News>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Ok(first) = news.recv() {
            let all = std::iter::once(first).chain(news.try_iter()).collect();
            if let Err(e) = receive(all) {
                self.state.stop.store(true, SeqCst);
                return Err(e);
            }
        }
        Ok(())
    }

    /// Get answers to `batch`, halving it where it fails as a whole.
    fn ask(&self, batch: Range<usize>, fault_attempts: u32, news: &SyncSender<News>) -> Result<(), Ended> {
        let error = match self.insist(batch.clone(), fault_attempts, news)? {
            Ok(answers) => {
                self.state.successes.fetch_add(1, SeqCst);
                self.state.faults.store(0, SeqCst);
                // The receiver is gone only when it failed, and then `stop` is set.
                return news.send(News::Answers(batch.zip(answers).collect())).map_err(|_| Ended);
            }
            Err(error) => error,
        };
        *lock(&self.state.last_fault) = Some(error.clone());
        // A refused size or a wrong count is no sign of a broken service.
        if matches!(error, EngineError::Fault(_)) {
            let faults = self.state.faults.fetch_add(1, SeqCst) + 1;
            if faults >= FAULTS_IN_A_ROW * self.engine.limits().concurrency.max(1) {
                return Err(self.fail(error));
            }
        }
        if batch.len() > 1 {
            let middle = batch.start + batch.len() / 2;
            self.ask(batch.start..middle, 2, news)?;
            return self.ask(middle..batch.end, 2, news);
        }
        let miss = match error {
            EngineError::TooLarge(message) => Miss::Refused(message),
            other => Miss::Failed(other.to_string()),
        };
        news.send(News::Answers(vec![(batch.start, Err(miss))])).map_err(|_| Ended)
    }

    /// One request, tried again while that makes sense. The inner error is one that splitting may cure.
    fn insist(
        &self,
        batch: Range<usize>,
        fault_attempts: u32,
        news: &SyncSender<News>,
    ) -> Result<Result<Vec<Answer>, EngineError>, Ended> {
        let segments = &self.segments[batch];
        let mut attempt = 0;
        let mut successes = self.state.successes.load(SeqCst);
        loop {
            self.wait_for_turn()?;
            self.state.requests.fetch_add(1, SeqCst);
            let error = match self.engine.translate(segments, self.pair) {
                Ok(answers) if answers.len() == segments.len() => return Ok(Ok(answers)),
                Ok(answers) => EngineError::Miscount { expected: segments.len(), found: answers.len() },
                Err(e) => e,
            };
            attempt += 1;
            let allowed = match &error {
                EngineError::Miscount { .. } | EngineError::TooLarge(_) => return Ok(Err(error)),
                EngineError::Rejected { .. } => return Err(self.fail(error)),
                EngineError::Fault(_) => fault_attempts.min(self.retry.attempts),
                EngineError::SlowDown { .. } => {
                    // A service that answers others is not down, however often it sends us back.
                    let now = self.state.successes.load(SeqCst);
                    if now != successes {
                        (successes, attempt) = (now, 1);
                    }
                    self.retry.attempts
                }
                EngineError::Unreachable(_) => self.retry.attempts,
            };
            if attempt >= allowed {
                return match error {
                    EngineError::Fault(_) => Ok(Err(error)),
                    _ => Err(self.fail(error)),
                };
            }
            self.pause(error, attempt, news)?;
        }
    }

    /// Put off the next request: everybody's after "slow down", else only this worker's.
    fn pause(&self, error: EngineError, attempt: u32, news: &SyncSender<News>) -> Result<(), Ended> {
        let mut pause = backoff(self.retry, attempt);
        let everybody = matches!(error, EngineError::SlowDown { .. });
        if let EngineError::SlowDown { message, retry_after: Some(wanted) } = &error {
            if *wanted > self.retry.longest_retry_after {
                let message = format!("{message} (it asks for a pause of {} s)", wanted.as_secs());
                return Err(self.fail(EngineError::SlowDown { message, retry_after: Some(*wanted) }));
            }
            // The jitter keeps requests from coming back all at the same moment.
            pause = *wanted + backoff(self.retry, 1) / 4;
        }
        let until = Instant::now() + pause;
        self.state.retries.fetch_add(1, SeqCst);
        let _ = news.send(News::Retry { error, pause });
        if everybody {
            let mut gate = lock(&self.state.not_before);
            *gate = Some(gate.map_or(until, |g| g.max(until)));
            return Ok(());
        }
        self.sleep_until(until)
    }

    fn wait_for_turn(&self) -> Result<(), Ended> {
        loop {
            let gate = *lock(&self.state.not_before);
            match gate.filter(|g| *g > Instant::now()) {
                Some(until) => self.sleep_until(until)?,
                None => return self.go_on(),
            }
        }
    }

    fn sleep_until(&self, until: Instant) -> Result<(), Ended> {
        loop {
            self.go_on()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    fn go_on(&self) -> Result<(), Ended> {
        if self.cancel.load(SeqCst) {
            self.state.cut_short.store(true, SeqCst);
            return Err(Ended);
        }
        if self.state.stop.load(SeqCst) { Err(Ended) } else { Ok(()) }
    }

    /// Note the first failure and let no new request start.
    fn fail(&self, error: EngineError) -> Ended {
        self.state.stop.store(true, SeqCst);
        lock(&self.state.failure).get_or_insert(error);
        Ended
    }
}

/// Doubling pauses with jitter: between half and the whole of the nominal one.
fn backoff(retry: &RetryPolicy, attempt: u32) -> Duration {
    let nominal = retry.first_pause.saturating_mul(1 << (attempt - 1).min(16)).min(retry.longest_pause);
    // A fresh `RandomState` is seeded by the system: enough for jitter.
    let random = RandomState::new().hash_one(attempt) as f64 / u64::MAX as f64;
    nominal.mul_f64(0.5 + 0.5 * random)
}

/// A worker that panicked leaves nothing half-written behind these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
