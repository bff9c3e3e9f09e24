//! Translating examples: survey, journal, engine, assembly.

use crate::Error;
use crate::config::{OnMiss, Options};
use crate::dispatch::{
    News, OnMiscount, Purse, Service, Stop, batches, characters, request_limits, seconds_at_the_limit,
};
use crate::engine::{Answer, Engine, EngineError, Miss};
use crate::http::excerpt;
use crate::journal::{Journal, Scope};
use crate::structure::{is_line_break, line_breaks, rebuild, segments};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tolmach_corpus::{Body, Example, FieldName, Role, Translation};

/// The key under which [`Missed::into_example`] carries the reason.
pub const MISSED_KEY: &str = "missed";

/// What is to be done, known before the first request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Survey {
    pub examples: usize,
    /// Segments in all examples.
    pub segments: usize,
    /// Different segments.
    pub unique_segments: usize,
    /// Different segments whose translation the journal already holds.
    pub journal_hits: usize,
    /// Characters that the engine is sent.
    pub characters_to_send: usize,
    /// Requests that takes, if none fails.
    pub requests_to_send: usize,
    /// The least time that takes, where the service limits the rate.
    pub seconds_at_rate_limit: Option<f64>,
    /// What the characters cost, where the service has a price.
    pub estimated_cost: Option<f64>,
}

impl Survey {
    pub fn segments_to_send(&self) -> usize {
        self.unique_segments - self.journal_hits
    }
}

/// What a caller can show while [`translate_examples`] runs.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Before the first request.
    Surveyed(&'a Survey),
    /// So many more segments are answered, and stored; `cost` is that of the run so far.
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
    /// Examples set aside.
    pub missed: usize,
    /// Examples emitted in their source language (`on_miss = "keep"`).
    pub kept: usize,
    /// Examples that were in the target language already.
    pub already_translated: usize,
    /// Different segments without a translation.
    pub missing_segments: usize,
    /// Segments that the engine translated in this run.
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
}

impl Missed {
    /// The example with the reason in the extra field `missed`; read again, the field is dropped.
    pub fn into_example(mut self) -> Example {
        self.example.extra.insert(MISSED_KEY.to_string(), self.reason.into());
        self.example
    }
}

/// The outcome of a run: every example that came in is in exactly one of the two lists, in order.
#[derive(Debug)]
pub struct Translated {
    pub examples: Vec<Example>,
    pub missed: Vec<Missed>,
    pub stats: Stats,
}

/// What [`translate_examples`] would have to do; the engine is not asked for anything.
///
/// # Errors
/// The journal cannot be read.
pub fn survey(
    examples: &[Example],
    engine: &dyn Engine,
    journal: Option<&Journal>,
    options: &Options,
) -> Result<Survey, Error> {
    Ok(Plan::new(&Sources::of(examples, options), engine, journal, options)?.survey)
}

/// Translate `examples` with `engine`, asking only for what `journal` does not hold and storing every
/// answer there before going on. Without a journal nothing is remembered.
///
/// # Errors
/// The engine fails for good, the journal cannot be used, `cancel` became true, or something has no
/// translation while `on_miss` is [`OnMiss::Error`]. What was answered before is in the journal.
pub fn translate_examples(
    examples: &[Example],
    engine: &dyn Engine,
    journal: Option<&mut Journal>,
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>),
    cancel: &AtomicBool,
) -> Result<Translated, Error> {
    let start = Instant::now();
    let sources = Sources::of(examples, options);
    let plan = Plan::new(&sources, engine, journal.as_deref(), options)?;
    progress(Progress::Surveyed(&plan.survey));
    within_budget(&plan.survey, options)?;
    let mut stats = Stats { survey: plan.survey, ..Stats::default() };
    let targets = answer_all(plan, engine, journal, options, progress, cancel, &mut stats)?;
    let mut translated = assemble(examples, &sources, &targets, engine.name(), options, stats)?;
    translated.stats.seconds = start.elapsed().as_secs_f64();
    Ok(translated)
}

/// The different segments of all examples, in order of first appearance.
struct Sources<'a> {
    unique: Vec<&'a str>,
    index: HashMap<&'a str, usize>,
    survey: Survey,
}

impl<'a> Sources<'a> {
    fn of(examples: &'a [Example], options: &Options) -> Self {
        let mut sources = Sources { unique: Vec::new(), index: HashMap::new(), survey: Survey::default() };
        sources.survey.examples = examples.len();
        for example in examples.iter().filter(|e| !is_translated(e, &options.pair.to)) {
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

/// Which segments have a target already, and which the engine is to be asked for.
struct Plan<'a> {
    survey: Survey,
    scope: Scope,
    /// By index in [`Sources::unique`].
    targets: Vec<Option<Answer>>,
    /// Indices without a target, and their segments.
    pending: Vec<usize>,
    segments: Vec<&'a str>,
}

impl<'a> Plan<'a> {
    fn new(
        sources: &Sources<'a>,
        engine: &dyn Engine,
        journal: Option<&Journal>,
        options: &Options,
    ) -> Result<Self, Error> {
        let scope = Scope { engine: engine.identity(), pair: options.pair.clone() };
        let targets: Vec<Option<Answer>> = match journal {
            Some(journal) => {
                journal.targets(&scope, &sources.unique)?.into_iter().map(|t| t.map(Ok)).collect()
            }
            None => vec![None; sources.unique.len()],
        };
        let pending: Vec<usize> = (0..targets.len()).filter(|&i| targets[i].is_none()).collect();
        let segments: Vec<&str> = pending.iter().map(|&i| sources.unique[i]).collect();
        let limits = request_limits(engine);
        let requests = batches(&segments, limits);
        let sent: usize = requests.iter().map(|batch| characters(&segments[batch.clone()], &limits)).sum();
        let survey = Survey {
            journal_hits: targets.len() - pending.len(),
            characters_to_send: sent,
            requests_to_send: requests.len(),
            seconds_at_rate_limit: seconds_at_the_limit(&limits, requests.len(), sent),
            estimated_cost: engine.price().map(|price| price.of(sent)),
            ..sources.survey
        };
        Ok(Self { survey, scope, targets, pending, segments })
    }
}

/// An answer to every unique segment, by index: from the journal, else from the engine.
fn answer_all(
    plan: Plan<'_>,
    engine: &dyn Engine,
    mut journal: Option<&mut Journal>,
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>),
    cancel: &AtomicBool,
    stats: &mut Stats,
) -> Result<Vec<Answer>, Error> {
    let Plan { scope, mut targets, pending, segments, .. } = plan;
    if !pending.is_empty() {
        let failed = |stored, source| Error::Engine { engine: engine.name().to_string(), stored, source };
        engine.check(&options.pair).map_err(|e| failed(0, e))?;
        let purse = Purse::new(options.max_cost);
        let service = Service::new(&request_limits(engine), &options.pair, &options.retry, &purse, cancel);

        let receive = |news: Vec<News>| -> Result<(), Error> {
            let answers = take_answers(news, progress);
            if let Some(journal) = &mut journal {
                let found =
                    answers.iter().filter_map(|(i, a, note)| Some((segments[*i], a.as_deref().ok()?, *note)));
                journal.store(&scope, &found.collect::<Vec<_>>())?;
            }
            stats.answered_segments += answers.iter().filter(|(_, a, _)| a.is_ok()).count();
            progress(Progress::Answered { segments: answers.len(), cost: purse.spent() });
            for (i, answer, _) in answers {
                targets[pending[i]] = Some(answer);
            }
            Ok(())
        };
        let outcome = service.ask(engine, &segments, OnMiscount::Split, receive);
        let traffic = service.traffic();
        (stats.requests, stats.answered_requests) = (traffic.requests, traffic.answered);
        (stats.retries, stats.characters_sent) = (traffic.retries, traffic.characters);
        stats.cost = engine.price().map(|_| purse.spent());
        let left = targets.iter().filter(|t| t.is_none()).count();
        let stored = if journal.is_some() { stats.answered_segments } else { 0 };
        outcome.map_err(|stop| match stop {
            Stop::Cancelled => Error::Interrupted { stored, left },
            Stop::Engine(e) => failed(stored, e),
            Stop::Budget => {
                Error::Budget { limit: purse.limit().unwrap_or_default(), spent: purse.spent(), stored }
            }
            Stop::Receiver(e) => e,
        })?;
    }
    // Every batch was answered, in whole or segment by segment; a gap could only be a fault of ours.
    let unanswered = || Err(Miss::Failed("it was never answered".to_string()));
    Ok(targets.into_iter().map(|target| target.unwrap_or_else(unanswered)).collect())
}

/// An estimate beyond `max_cost` stops the run before it begins.
fn within_budget(survey: &Survey, options: &Options) -> Result<(), Error> {
    match (survey.estimated_cost, options.max_cost) {
        (Some(estimate), Some(limit)) if estimate > limit => Err(Error::TooDear { estimate, limit }),
        _ => Ok(()),
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

/// Put the targets into the skeletons, example by example.
fn assemble(
    examples: &[Example],
    sources: &Sources<'_>,
    targets: &[Answer],
    engine: &str,
    options: &Options,
    stats: Stats,
) -> Result<Translated, Error> {
    let mut out = Translated { examples: Vec::with_capacity(examples.len()), missed: Vec::new(), stats };
    out.stats.missing_segments = targets.iter().filter(|t| t.is_err()).count();
    let tidied: Vec<Tidied<'_>> = targets.iter().map(|target| target.as_deref().map(tidy)).collect();
    for example in examples {
        let mut example = example.clone();
        example.extra.shift_remove(MISSED_KEY);
        if is_translated(&example, &options.pair.to) {
            out.stats.already_translated += 1;
            out.examples.push(example);
            continue;
        }
        let mut assembly = Assembly { sources, targets: &tidied, repairs: Vec::new() };
        match assembly.body(&example.body, options.translate_system) {
            Ok(body) => {
                check_structure(&example, &body)?;
                out.stats.translated += 1;
                example.source = Some(std::mem::replace(&mut example.body, body));
                example.language = Some(options.pair.to.clone());
                let repairs = assembly.repairs;
                example.translation = Some(Translation { engine: engine.to_string(), repairs });
                out.examples.push(example);
            }
            Err(reason) if options.on_miss == OnMiss::Keep => {
                out.stats.kept += 1;
                example.language = Some(options.pair.from.clone());
                let repairs = vec![format!("left untranslated: {reason}")];
                example.translation = Some(Translation { engine: engine.to_string(), repairs });
                out.examples.push(example);
            }
            Err(reason) => out.missed.push(Missed { example, reason }),
        }
    }
    out.stats.missed = out.missed.len();
    finish(out, examples.len(), options)
}

/// The target as it goes into a line, and what had to be mended.
type Tidied<'a> = Result<(Cow<'a, str>, Option<&'static str>), &'a Miss>;

/// One line without white space at the edges: those belong to the skeleton.
fn tidy(target: &str) -> (Cow<'_, str>, Option<&'static str>) {
    let target = target.trim_matches(|c: char| c.is_whitespace() || is_line_break(c));
    if !target.contains(is_line_break) {
        return (Cow::Borrowed(target), None);
    }
    let parts: Vec<&str> = target.split(is_line_break).map(str::trim).filter(|p| !p.is_empty()).collect();
    (Cow::Owned(parts.join(" ")), Some("joined the lines of a segment"))
}

struct Assembly<'a> {
    sources: &'a Sources<'a>,
    targets: &'a [Tidied<'a>],
    repairs: Vec<String>,
}

impl Assembly<'_> {
    /// The translated body, or why there is none.
    fn body(&mut self, body: &Body, translate_system: bool) -> Result<Body, String> {
        self.all_present(body, translate_system)?;
        let mut body = body.clone();
        for (name, text) in body.fields_mut() {
            if is_translatable(name, translate_system) {
                *text = self.field(text)?;
            }
        }
        Ok(body)
    }

    fn field(&mut self, field: &str) -> Result<String, String> {
        let (sources, targets, repairs) = (self.sources, self.targets, &mut self.repairs);
        rebuild(field, |segment| match &targets[sources.index[segment]] {
            Ok((target, repair)) => {
                if let Some(repair) = repair
                    && !repairs.iter().any(|r| r == repair)
                {
                    repairs.push((*repair).to_string());
                }
                Ok(target.as_ref())
            }
            Err(miss) => Err(miss.to_string()),
        })
    }

    /// Whether every segment has a target; else how many have none, and the first.
    fn all_present(&self, body: &Body, translate_system: bool) -> Result<(), String> {
        let (mut all, mut missing, mut first) = (0, 0, None);
        for segment in fields(body, translate_system).flat_map(segments) {
            all += 1;
            if let Err(miss) = &self.targets[self.sources.index[segment]] {
                missing += 1;
                first.get_or_insert((segment, miss));
            }
        }
        match first {
            None => Ok(()),
            Some((segment, miss)) => Err(format!(
                "{missing} of {all} segments have no translation; {:?}: {miss}",
                excerpt(segment)
            )),
        }
    }
}

/// The counts that must hold, whatever happened.
fn finish(out: Translated, read: usize, options: &Options) -> Result<Translated, Error> {
    let (emitted, missed) = (out.examples.len(), out.missed.len());
    if emitted + missed != read {
        return Err(Error::RowsLost { read, emitted, missed });
    }
    match out.missed.first() {
        Some(first) if options.on_miss == OnMiss::Error => Err(Error::Missed {
            missed,
            examples: read,
            id: first.example.id.clone(),
            reason: first.reason.clone(),
        }),
        _ => Ok(out),
    }
}

/// Each field of a translation has as many line breaks as its source.
fn check_structure(source: &Example, target: &Body) -> Result<(), Error> {
    for (before, after) in fields(&source.body, true).zip(fields(target, true)) {
        let (expected, found) = (line_breaks(before), line_breaks(after));
        if expected != found {
            return Err(Error::Structure { id: source.id.clone(), expected, found });
        }
    }
    Ok(())
}

/// The texts of a body that are translated, in order.
fn fields(body: &Body, translate_system: bool) -> impl Iterator<Item = &str> {
    let all = body.fields().filter(move |(name, _)| is_translatable(*name, translate_system));
    all.map(|(_, text)| text)
}

fn is_translatable(name: FieldName, translate_system: bool) -> bool {
    translate_system || !matches!(name, FieldName::Message(_, Role::System))
}

/// Emitted by an earlier run into the same language: it passes through.
fn is_translated(example: &Example, to: &str) -> bool {
    example.source.is_some() && example.language.as_deref() == Some(to)
}
