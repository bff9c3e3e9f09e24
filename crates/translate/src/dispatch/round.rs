//! One call of [`Service::ask`]: its workers take batches, ask, wait, try again, split.

use super::batches::characters;
use super::breaker::{Admission, Breaker, Verdict};
use super::{News, OTHER_SEPARATOR, OnMiscount, RetryPolicy, SMALLER_REQUEST, Service, Stop};
use crate::engine::{Answer, Engine, EngineError, Limits, Miss, Price};
use crate::join;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The answers of one request, each with a note on how it was come by.
type Answers = Vec<(Answer, &'static str)>;

/// Attempts at a request that is answered, but wrongly; then its batch is split.
const FAULT_ATTEMPTS: u32 = 3;

/// Faulty requests in a row and per worker, without one success between them, after which the service counts
/// as broken. Finding the one bad segment of a batch of 50 by halving takes at most 6.
const FAULTS_IN_A_ROW: usize = 8;

/// What the workers share.
pub struct Round<'a> {
    pub service: &'a Service<'a>,
    pub engine: &'a dyn Engine,
    pub limits: Limits,
    pub price: Option<Price>,
    pub segments: &'a [&'a str],
    pub answered: &'a [bool],
    pub on_miscount: OnMiscount,
    pub batches: &'a [Range<usize>],
    pub state: State,
}

#[derive(Default)]
pub struct State {
    /// The next batch that nobody has taken.
    next: AtomicUsize,
    /// No new request starts.
    stop: AtomicBool,
    /// A batch was given up because of `cancel`.
    cut_short: AtomicBool,
    /// Batches to be asked for once more when no others are left.
    deferred: Mutex<Vec<Range<usize>>>,
    failure: Mutex<Option<Failure>>,
    last_fault: Mutex<Option<EngineError>>,
}

enum Failure {
    Engine(EngineError),
    Budget,
}

/// How a batch is asked for.
#[derive(Clone, Copy)]
struct Way {
    /// Which separator joins it, where it is joined.
    separator: usize,
    /// It is a part of a batch that failed.
    smaller: bool,
    /// It failed before, and it was not clear whether by its own fault: others were to be tried first.
    deferred: bool,
    /// Attempts while the service answers wrongly.
    fault_attempts: u32,
}

impl Way {
    const FIRST: Way = Way { separator: 0, smaller: false, deferred: false, fault_attempts: FAULT_ATTEMPTS };
    const DEFERRED: Way = Way { deferred: true, ..Way::FIRST };
    const SMALLER: Way = Way { smaller: true, fault_attempts: 2, ..Way::FIRST };

    /// Attempts while the service does not answer but is not taken to be down.
    fn attempts(self, retry: &RetryPolicy) -> u32 {
        if self.smaller || self.deferred { self.fault_attempts.min(retry.attempts) } else { retry.attempts }
    }

    /// What there is to say about an answer; how it was cut comes first.
    fn note(self, cut: &'static str) -> &'static str {
        match self {
            _ if !cut.is_empty() => cut,
            Way { separator: 1.., .. } => OTHER_SEPARATOR,
            Way { smaller: true, .. } => SMALLER_REQUEST,
            _ => "",
        }
    }
}

/// Why a worker ends early; a failure is already noted in the state.
struct Ended;

impl Round<'_> {
    pub fn work(&self, news: &SyncSender<News>) {
        while let Some(batch) = self.batches.get(self.state.next.fetch_add(1, SeqCst)) {
            if self.ask(batch.clone(), batch.start, Way::FIRST, news).is_err() {
                return;
            }
        }
        let next_deferred = || lock(&self.state.deferred).pop();
        while let Some(batch) = next_deferred() {
            if self.ask(batch.clone(), batch.start, Way::DEFERRED, news).is_err() {
                return;
            }
        }
    }

    /// Hand over everything that has arrived in one go, so that many answers share one transaction.
    pub fn receive_all<E>(
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

    pub fn outcome<E>(self, received: Result<(), E>) -> Result<(), Stop<E>> {
        let state = self.state;
        received.map_err(Stop::Receiver)?;
        match state.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(Failure::Engine(e)) => return Err(Stop::Engine(e)),
            Some(Failure::Budget) => return Err(Stop::Budget),
            None => {}
        }
        if let Some(e) = state.last_fault.into_inner().unwrap_or_else(PoisonError::into_inner)
            && self.service.successes.load(SeqCst) == 0
        {
            // Not one success: that is no matter of single segments.
            return Err(Stop::Engine(e));
        }
        let untouched = state.next.into_inner() < self.batches.len();
        if state.cut_short.into_inner() || (untouched && self.service.cancel.load(SeqCst)) {
            return Err(Stop::Cancelled);
        }
        Ok(())
    }

    /// Get answers to `batch`: joined by another separator, then halved, where it fails as a whole.
    /// `root` names the batch that this one is a part of.
    fn ask(&self, batch: Range<usize>, root: usize, way: Way, news: &SyncSender<News>) -> Result<(), Ended> {
        let is_answered = |i: usize| self.answered.get(i).is_some_and(|&answered| answered);
        match batch.clone().filter(|&i| is_answered(i)).count() {
            0 => {}
            all if all == batch.len() => return Ok(()),
            _ => return self.ask_halves(batch, root, news),
        }
        let successes = self.service.successes.load(SeqCst);
        let error = match self.insist(batch.clone(), root, way, news)? {
            Ok(answers) => {
                let answers = batch.zip(answers).map(|(i, (answer, cut))| (i, answer, way.note(cut)));
                return self.tell(news, News::Answers(answers.collect()));
            }
            Err(error) => error,
        };
        *lock(&self.state.last_fault) = Some(error.clone());
        let unanswered = is_unanswered(&error);
        if unanswered && !(way.deferred || way.smaller) && self.service.successes.load(SeqCst) == successes {
            // Nobody was answered meanwhile: whether others are will tell.
            lock(&self.state.deferred).push(batch);
            return Ok(());
        }
        // A refused size or a wrong count is no sign of a broken service.
        if matches!(error, EngineError::Fault(_)) && self.is_broken() {
            let verdict = self.breaker(|breaker, now| breaker.trip(false, self.service.retry, now));
            let pause = match verdict {
                Verdict::Down => return Err(self.fail(Failure::Engine(error))),
                Verdict::Open(pause) => pause,
                Verdict::Passing => Duration::ZERO,
            };
            self.service.faults.store(0, SeqCst);
            self.tell(news, News::Retry { error, pause })?;
            return self.ask(batch, root, way, news);
        }
        let miscounted = matches!(error, EngineError::Miscount { .. });
        if miscounted && batch.len() > 1 && self.engine.takes_one_text() && way.separator == 0 {
            return self.ask(batch, root, Way { separator: 1, ..way }, news);
        }
        if unanswered && batch.len() == 1 {
            // The text is to blame, and not for what comes after it.
            self.breaker(|breaker, _| breaker.reached());
        }
        let miss = match error {
            EngineError::Miscount { .. } if self.on_miscount == OnMiscount::Report => {
                Miss::Garbled(error.to_string())
            }
            _ if batch.len() > 1 => return self.ask_halves(batch, root, news),
            EngineError::TooLarge(message) => Miss::Refused(message),
            other => Miss::Failed(other.to_string()),
        };
        self.tell(news, News::Answers(batch.map(|i| (i, Err(miss.clone()), "")).collect()))
    }

    fn ask_halves(&self, batch: Range<usize>, root: usize, news: &SyncSender<News>) -> Result<(), Ended> {
        let middle = batch.start + batch.len() / 2;
        self.ask(batch.start..middle, root, Way::SMALLER, news)?;
        self.ask(middle..batch.end, root, Way::SMALLER, news)
    }

    /// Count one more request that was given up: are these too many for single bad segments?
    fn is_broken(&self) -> bool {
        let faults = self.service.faults.fetch_add(1, SeqCst) + 1;
        faults >= FAULTS_IN_A_ROW * self.limits.concurrency.max(1)
    }

    /// One request, tried again while that makes sense. The inner error is one that splitting may cure.
    fn insist(
        &self,
        batch: Range<usize>,
        root: usize,
        way: Way,
        news: &SyncSender<News>,
    ) -> Result<Result<Answers, EngineError>, Ended> {
        let retry = self.service.retry;
        let segments = &self.segments[batch];
        let mut attempt = 0;
        let mut successes = self.service.successes.load(SeqCst);
        loop {
            let (result, probe) = self.request(segments, way.separator)?;
            let error = match result {
                Ok(answers) => return Ok(Ok(answers)),
                Err(error) => error,
            };
            // A service that answers others is not down, however often it sends us back.
            let now = self.service.successes.load(SeqCst);
            if now != successes && matches!(error, EngineError::SlowDown { .. }) {
                (successes, attempt) = (now, 0);
            }
            attempt += 1;
            let verdict = match &error {
                EngineError::Miscount { .. } | EngineError::TooLarge(_) => return Ok(Err(error)),
                EngineError::Rejected { .. } => return Err(self.fail(Failure::Engine(error))),
                EngineError::Fault(_) if attempt >= way.fault_attempts.min(retry.attempts) => {
                    return Ok(Err(error));
                }
                EngineError::Fault(_) => Verdict::Passing,
                EngineError::SlowDown { .. } if !probe && attempt < retry.attempts => Verdict::Passing,
                EngineError::SlowDown { .. } => self.breaker(|b, now| b.trip(probe, retry, now)),
                EngineError::Unreachable(_) => self.breaker(|b, now| b.failed(root, probe, retry, now)),
            };
            match verdict {
                Verdict::Down => return Err(self.fail(Failure::Engine(error))),
                // Others are answered, this request never is: perhaps it is too much at a time.
                Verdict::Passing if is_unanswered(&error) && attempt >= way.attempts(retry) => {
                    return Ok(Err(error));
                }
                Verdict::Passing => self.pause(error, attempt, news)?,
                Verdict::Open(pause) => {
                    attempt = 0;
                    self.tell(news, News::Retry { error, pause })?;
                }
            }
        }
    }

    /// One attempt, when it is its turn and there is money for it; also whether it was a probe.
    fn request(
        &self,
        segments: &[&str],
        separator: usize,
    ) -> Result<(Result<Answers, EngineError>, bool), Ended> {
        let service = self.service;
        let characters = characters(segments, &self.limits);
        let cost = self.price.as_ref().map_or(0.0, |price| price.of(characters));
        let probe = self.wait_for_turn(characters)?;
        if !service.purse.reserve(cost) {
            return Err(self.fail(Failure::Budget));
        }
        service.requests.fetch_add(1, SeqCst);
        let result = match self.translate(segments, separator) {
            Ok(answers) if answers.len() != segments.len() => {
                Err(EngineError::Miscount { expected: segments.len(), found: answers.len() })
            }
            other => other,
        };
        // An answer that cannot be attributed was paid for like any other.
        let answered = matches!(result, Ok(_) | Err(EngineError::Miscount { .. }));
        service.purse.settle(cost, answered);
        if answered {
            service.answered.fetch_add(1, SeqCst);
            service.characters.fetch_add(characters, SeqCst);
        }
        match result {
            Ok(_) => {
                service.successes.fetch_add(1, SeqCst);
                service.faults.store(0, SeqCst);
                self.breaker(|breaker, _| breaker.worked());
            }
            Err(EngineError::Miscount { .. } | EngineError::TooLarge(_)) => {
                self.breaker(|breaker, _| breaker.worked());
            }
            Err(EngineError::Fault(_)) => self.breaker(|breaker, _| breaker.reached()),
            Err(_) => {}
        }
        Ok((result, probe))
    }

    fn translate(&self, segments: &[&str], separator: usize) -> Result<Answers, EngineError> {
        if self.engine.takes_one_text() {
            return join::ask(self.engine, segments, self.service.pair, separator);
        }
        let answers = self.engine.translate(segments, self.service.pair)?;
        Ok(answers.into_iter().map(|answer| (answer, "")).collect())
    }

    /// Put off the next request: everybody's after "slow down", else only this worker's.
    fn pause(&self, error: EngineError, attempt: u32, news: &SyncSender<News>) -> Result<(), Ended> {
        let retry = self.service.retry;
        let mut pause = retry.backoff(attempt);
        let everybody = matches!(error, EngineError::SlowDown { .. });
        if let EngineError::SlowDown { message, retry_after: Some(wanted) } = &error {
            if *wanted > retry.longest_retry_after {
                let message = format!("{message} (it asks for a pause of {} s)", wanted.as_secs());
                let error = EngineError::SlowDown { message, retry_after: Some(*wanted) };
                return Err(self.fail(Failure::Engine(error)));
            }
            // The jitter keeps requests from coming back all at the same moment.
            pause = *wanted + retry.backoff(1) / 4;
        }
        let until = Instant::now() + pause;
        self.service.retries.fetch_add(1, SeqCst);
        self.tell(news, News::Retry { error, pause })?;
        if everybody {
            let mut gate = lock(&self.service.not_before);
            *gate = Some(gate.map_or(until, |g| g.max(until)));
            return Ok(());
        }
        self.sleep_until(until)
    }

    /// Wait until the service may be sent so many characters; whether the request is a probe.
    fn wait_for_turn(&self, characters: usize) -> Result<bool, Ended> {
        self.wait_for_gate()?;
        let turn = lock(&self.service.pace).take(characters, Instant::now());
        self.sleep_until(turn)?;
        loop {
            self.wait_for_gate()?;
            match self.breaker(Breaker::admit) {
                Admission::Go => return Ok(false),
                Admission::Probe => return Ok(true),
                Admission::Wait(until) => self.sleep_until(until)?,
            }
        }
    }

    fn wait_for_gate(&self) -> Result<(), Ended> {
        loop {
            let gate = *lock(&self.service.not_before);
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
        if self.service.cancel.load(SeqCst) {
            self.state.cut_short.store(true, SeqCst);
            return Err(Ended);
        }
        if self.state.stop.load(SeqCst) { Err(Ended) } else { Ok(()) }
    }

    fn breaker<T>(&self, act: impl FnOnce(&mut Breaker, Instant) -> T) -> T {
        act(&mut lock(&self.service.breaker), Instant::now())
    }

    /// The receiver is gone only when it failed, and then `stop` is set.
    fn tell(&self, news: &SyncSender<News>, piece: News) -> Result<(), Ended> {
        news.send(piece).map_err(|_| Ended)
    }

    /// Note the first failure and let no new request start.
    fn fail(&self, failure: Failure) -> Ended {
        self.state.stop.store(true, SeqCst);
        lock(&self.state.failure).get_or_insert(failure);
        Ended
    }
}

fn is_unanswered(error: &EngineError) -> bool {
    matches!(error, EngineError::Unreachable(_))
}

/// A worker that panicked leaves nothing half-written behind these locks.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
