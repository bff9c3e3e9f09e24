//! Translating examples: survey, the ladder of `repair.rs`, assembly.

use crate::Error;
use crate::assemble::assemble;
use crate::config::Options;
use crate::engine::{Engine, EngineError};
use crate::journal::Journal;
use crate::repair::Ladder;
use crate::review::Review;
use crate::structure::segments;
use crate::verify::Checker;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tolmach_corpus::{Body, Example, FieldName, Role};

/// What is to be done, known before the first request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Survey {
    pub examples: usize,
    /// Segments in all examples.
    pub segments: usize,
    /// Different segments.
    pub unique_segments: usize,
    /// Different segments whose answer the journal already holds.
    pub journal_hits: usize,
    /// Different texts that the engine is asked for: segments, or their sentences, behind marks.
    pub texts_to_send: usize,
    /// Characters that the engine is sent.
    pub characters_to_send: usize,
    /// Requests that takes, if none fails.
    pub requests_to_send: usize,
    /// The least time that takes, where the service limits the rate.
    pub seconds_at_rate_limit: Option<f64>,
    /// What the characters cost, where the service has a price.
    pub estimated_cost: Option<f64>,
}

/// What a caller can show while [`translate_examples`] runs.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Before the first request.
    Surveyed(&'a Survey),
    /// So many texts are asked for again in another way, or of another engine.
    Repairing { texts: usize },
    /// So many more texts are answered, and stored; `cost` is that of the run so far.
    Answered { segments: usize, cost: f64 },
    /// A request failed and is tried again after a pause.
    Retrying { error: &'a EngineError, pause: Duration },
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    #[serde(flatten)]
    pub survey: Survey,
    pub translated: usize,
    /// Translated examples in which something was repaired.
    pub repaired: usize,
    /// Examples whose draft a person has mended.
    pub mended: usize,
    /// Examples that a person has dropped.
    pub dropped: usize,
    /// Examples set aside.
    pub missed: usize,
    /// Examples emitted in their source language (`on_miss = "keep"`).
    pub kept: usize,
    /// Examples that were in the target language already.
    pub already_translated: usize,
    /// Different segments without a translation.
    pub missing_segments: usize,
    /// Texts that the engines answered in this run.
    pub answered_segments: usize,
    pub requests: usize,
    /// Requests with a translation in the answer.
    pub answered_requests: usize,
    pub retries: usize,
    /// Characters of the answered requests.
    pub characters_sent: usize,
    /// What they cost, where the service has a price.
    pub cost: Option<f64>,
    pub seconds: f64,
}

/// An example that was set aside, as it came in, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Missed {
    pub example: Example,
    pub reason: String,
    pub review: Review,
}

impl Missed {
    /// The example with what a person needs to mend it, under the key [`REVIEW_KEY`](crate::REVIEW_KEY).
    pub fn into_example(self) -> Example {
        self.review.put_into(self.example)
    }
}

/// The outcome of a run: every example that came in is in `examples` or in `missed`, in order, unless a
/// person has dropped it.
#[derive(Debug)]
pub struct Translated {
    pub examples: Vec<Example>,
    pub missed: Vec<Missed>,
    /// What a person has decided on, mended or dropped, with the decision: kept for later runs.
    pub decided: Vec<Example>,
    pub stats: Stats,
}

/// What [`translate_examples`] would have to do; the engine is not asked for anything.
///
/// # Errors
/// The journal cannot be read.
pub fn survey(
    examples: &[Example],
    engines: &[&dyn Engine],
    journal: Option<&Journal>,
    options: &Options,
) -> Result<Survey, Error> {
    let sources = Sources::of(examples, options);
    Ladder::new(&sources.unique, some(engines)?, options).survey(journal, &sources.survey)
}

/// Translate `examples` with the first of `engines`, and with the others what it could not do, asking only
/// for what `journal` does not hold and storing every answer there before going on. Without a journal nothing
/// is remembered.
///
/// # Errors
/// An engine fails for good, the journal cannot be used, `cancel` became true, or something has no
/// translation while `on_miss` is [`OnMiss::Error`](crate::OnMiss::Error). What was answered before is in the
/// journal.
pub fn translate_examples(
    examples: &[Example],
    engines: &[&dyn Engine],
    journal: Option<&mut Journal>,
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>),
    cancel: &AtomicBool,
) -> Result<Translated, Error> {
    let start = Instant::now();
    let sources = Sources::of(examples, options);
    let ladder = Ladder::new(&sources.unique, some(engines)?, options);
    let survey = ladder.survey(journal.as_deref(), &sources.survey)?;
    progress(Progress::Surveyed(&survey));
    within_budget(&survey, options)?;
    let mut stats = Stats { survey, ..Stats::default() };
    let outcomes = ladder.climb(journal, progress, cancel, &mut stats)?;
    let mut translated = assemble(examples, &sources, &outcomes, engines, options, stats)?;
    translated.stats.seconds = start.elapsed().as_secs_f64();
    Ok(translated)
}

fn some<'a>(engines: &'a [&'a dyn Engine]) -> Result<&'a [&'a dyn Engine], Error> {
    if engines.is_empty() {
        return Err(Error::Config("there is no engine to translate with".to_string()));
    }
    Ok(engines)
}

/// An estimate beyond `max_cost` stops the run before it begins.
fn within_budget(survey: &Survey, options: &Options) -> Result<(), Error> {
    match (survey.estimated_cost, options.max_cost) {
        (Some(estimate), Some(limit)) if estimate > limit => Err(Error::TooDear { estimate, limit }),
        _ => Ok(()),
    }
}

/// The different segments of all examples, in order of first appearance.
pub(crate) struct Sources<'a> {
    pub unique: Vec<&'a str>,
    pub index: HashMap<&'a str, usize>,
    pub survey: Survey,
}

impl<'a> Sources<'a> {
    fn of(examples: &'a [Example], options: &Options) -> Self {
        let mut sources = Sources { unique: Vec::new(), index: HashMap::new(), survey: Survey::default() };
        sources.survey.examples = examples.len();
        let checker = Checker::new(&options.pair);
        let is_done = |example: &Example| {
            is_translated(example, &options.pair.to)
                || Review::of(example).is_some_and(|r| r.drop || r.is_mended(&example.body, &checker))
        };
        for example in examples.iter().filter(|example| !is_done(example)) {
            for segment in fields(&example.body, options.translate_system).flat_map(segments) {
                sources.survey.segments += 1;
                sources.index.entry(segment).or_insert_with(|| {
                    sources.unique.push(segment);
                    sources.unique.len() - 1
                });
            }
        }
        sources.survey.unique_segments = sources.unique.len();
        sources
    }
}

/// The texts of a body that are translated, in order.
pub(crate) fn fields(body: &Body, translate_system: bool) -> impl Iterator<Item = &str> {
    let all = body.fields().filter(move |(name, _)| is_translatable(*name, translate_system));
    all.map(|(_, text)| text)
}

pub(crate) fn is_translatable(name: FieldName, translate_system: bool) -> bool {
    translate_system || !matches!(name, FieldName::Message(_, Role::System))
}

/// Emitted by an earlier run into the same language: it passes through.
pub(crate) fn is_translated(example: &Example, to: &str) -> bool {
    example.source.is_some() && example.language.as_deref() == Some(to)
}
