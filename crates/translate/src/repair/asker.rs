//! One round of the ladder: its texts, the requests that are still to be made, and asking them.

use crate::Error;
use crate::dispatch::{News, OnMiscount, Purse, Service, Stop, batches};
use crate::engine::{Answer, Engine, Limits, Miss};
use crate::forms::Form;
use crate::journal::{Journal, Scope};
use crate::run::{Progress, Stats};
use std::collections::HashMap;
use std::ops::Range;

/// The texts of a round, each once, and where the forms of the jobs find them.
pub struct Question<'a> {
    pub scope: Scope,
    pub limits: Limits,
    /// The jobs that are asked for, each with its form.
    pub forms: Vec<(usize, Form<'a>)>,
}

/// An answer to one text and how it was come by.
pub type Noted = (Answer, String);

/// The different texts of a round, in order of first appearance.
pub struct Texts<'q> {
    pub unique: Vec<&'q str>,
    pub index: HashMap<&'q str, usize>,
}

impl<'q> Texts<'q> {
    pub fn of(forms: &'q [(usize, Form<'_>)]) -> Self {
        let mut texts = Texts { unique: Vec::new(), index: HashMap::with_capacity(forms.len()) };
        for text in forms.iter().flat_map(|(_, form)| form.texts()) {
            texts.index.entry(text).or_insert_with(|| {
                texts.unique.push(text);
                texts.unique.len() - 1
            });
        }
        texts
    }

    /// What the journal holds of them.
    pub fn held(&self, journal: Option<&Journal>, scope: &Scope) -> Result<Vec<Option<Noted>>, Error> {
        let Some(journal) = journal else { return Ok(vec![None; self.unique.len()]) };
        let stored = journal.answers(scope, &self.unique)?;
        let answer = |target: String| if target.is_empty() { Err(Miss::Empty) } else { Ok(target) };
        Ok(stored.into_iter().map(|found| found.map(|s| (answer(s.target), s.note))).collect())
    }

    /// The requests of the round that are still to be made: planned over everything that was open when the
    /// round first began, so that a run that goes on makes the requests that were left.
    pub fn plan(
        &self,
        answers: &[Option<Noted>],
        question: &Question<'_>,
        journal: Option<&mut Journal>,
    ) -> Result<RequestPlan, Error> {
        let mut held: Vec<u8> = answers.iter().map(|answer| u8::from(answer.is_some())).collect();
        if let Some(journal) = journal {
            held = journal.held_at_start(&self.key(question), &held)?;
        }
        // An entry of another length could only be a damaged one.
        held.resize(answers.len(), 0);
        let open: Vec<usize> = (0..answers.len()).filter(|&i| held[i] == 0).collect();
        let texts: Vec<&str> = open.iter().map(|&i| self.unique[i]).collect();
        let is_missing = |i: usize| answers[open[i]].is_none();
        let is_open = |batch: &Range<usize>| batch.clone().any(is_missing);
        let requests = batches(&texts, question.limits).into_iter().filter(is_open).collect();
        let answered = (0..open.len()).map(|i| !is_missing(i)).collect();
        // A journal that lost answers since (restored from a copy) is asked for them as well.
        let forgotten: Vec<usize> =
            (0..answers.len()).filter(|&i| held[i] != 0 && answers[i].is_none()).collect();
        Ok(RequestPlan { open, answered, requests }.with(&forgotten))
    }

    fn key(&self, question: &Question<'_>) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let Limits { characters, segments, .. } = question.limits;
        let pair = &question.scope.pair;
        hasher.update(
            format!("{} {} {} {characters} {segments}", question.scope.engine, pair.from, pair.to).as_bytes(),
        );
        for text in &self.unique {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

/// Requests as ranges of the texts that were open when their round began.
pub struct RequestPlan {
    pub open: Vec<usize>,
    /// Which of these were answered since.
    pub answered: Vec<bool>,
    pub requests: Vec<Range<usize>>,
}

impl RequestPlan {
    fn with(mut self, more: &[usize]) -> Self {
        for &text in more {
            self.requests.push(self.open.len()..self.open.len() + 1);
            self.open.push(text);
            self.answered.push(false);
        }
        self
    }
}

/// Asks one engine, stores what it says and tells of it.
pub struct Asker<'s> {
    pub engine: &'s dyn Engine,
    pub service: Service<'s>,
    pub purse: &'s Purse,
    pub is_checked: bool,
    /// Texts with an answer.
    pub answered: usize,
}

impl Asker<'_> {
    pub fn ask(
        &mut self,
        texts: &Texts<'_>,
        plan: &RequestPlan,
        scope: &Scope,
        mut journal: Option<&mut Journal>,
        answers: &mut [Option<Noted>],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Error> {
        let name = self.engine.name().to_string();
        if !std::mem::replace(&mut self.is_checked, true) {
            let failed = |source| Error::Engine { engine: name.clone(), stored: 0, source };
            self.engine.check(&scope.pair).map_err(failed)?;
        }
        let open: Vec<&str> = plan.open.iter().map(|&i| texts.unique[i]).collect();
        let keeps = journal.is_some();
        let (purse, answered) = (self.purse, &mut self.answered);
        let receive = |news: Vec<News>| -> Result<(), Error> {
            let received = take_answers(news, progress);
            if let Some(journal) = &mut journal {
                // An empty answer is one, too: it was paid for, and the same question would get it again.
                let found = received.iter().filter_map(|(i, answer, note)| match answer {
                    Ok(target) => Some((open[*i], target.as_str(), *note)),
                    Err(Miss::Empty) => Some((open[*i], "", *note)),
                    Err(_) => None,
                });
                journal.store(scope, &found.collect::<Vec<_>>())?;
            }
            *answered += received.iter().filter(|(_, answer, _)| answer.is_ok()).count();
            progress(Progress::Answered { segments: received.len(), cost: purse.spent() });
            for (i, answer, note) in received {
                answers[plan.open[i]] = Some((answer, note.to_string()));
            }
            Ok(())
        };
        let outcome =
            self.service.ask(self.engine, &open, &plan.requests, &plan.answered, OnMiscount::Split, receive);
        let left = answers.iter().filter(|answer| answer.is_none()).count();
        let stored = if keeps { self.answered } else { 0 };
        outcome.map_err(|stop| match stop {
            Stop::Cancelled => Error::Interrupted { stored, left },
            Stop::Engine(source) => Error::Engine { engine: name, stored, source },
            Stop::Budget => {
                Error::Budget { limit: purse.limit().unwrap_or_default(), spent: purse.spent(), stored }
            }
            Stop::Receiver(e) => e,
        })
    }

    /// Add what went over the wire to `stats`.
    pub fn count(&self, stats: &mut Stats) {
        let traffic = self.service.traffic();
        stats.requests += traffic.requests;
        stats.answered_requests += traffic.answered;
        stats.retries += traffic.retries;
        stats.characters_sent += traffic.characters;
        stats.answered_segments += self.answered;
    }
}

/// The answers among the news; the rest is shown.
fn take_answers(
    news: Vec<News>,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Vec<(usize, Answer, &'static str)> {
    let mut answers = Vec::new();
    for piece in news {
        match piece {
            News::Answers(more) => answers.extend(more),
            News::Retry { error, pause } => progress(Progress::Retrying { error: &error, pause }),
        }
    }
    answers
}
