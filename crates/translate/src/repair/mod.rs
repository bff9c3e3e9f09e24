//! The repair ladder: every segment is asked for the plain way first, and again in other ways, then of other
//! engines, until its target passes the checks or nothing is left to try.
//!
//! A *round* puts all segments that are still open to one engine in one way, so that what failed here and
//! there shares its requests. Answers are judged only when a round is over, and an answer that fails the
//! checks is stored like any other: what a round asks follows from the journal alone, and a run that was
//! killed goes on with exactly the requests that an uninterrupted one would make. What the first round taught
//! of the words of both languages tells, in every round, whether a target translates another segment.

mod asker;

use crate::dispatch::{Purse, Service, batches, characters, request_limits, seconds_at_the_limit};
use crate::engine::{Engine, Limits, Manner, Miss};
use crate::forms::{Form, Target, ways};
use crate::journal::{Journal, Scope};
use crate::review::Why;
use crate::run::{Progress, Stats, Survey};
use crate::verify::{Checker, Finding, Lexicon, Relation, Verdict};
use crate::{Error, Options};
use asker::{Asker, Noted, Question, Texts};
use rayon::prelude::*;
use std::sync::atomic::AtomicBool;

/// As often a service must give the same doubtful answer, asked in different ways, to be believed.
const CONVINCED: usize = 3;

/// On each side, the segments that are compared with one whose answer may be that of a neighbour.
const COMPARED: usize = 3;

/// On each side, the segments that have to prove their place beside one that is in the wrong place.
const SUSPECTED: usize = 6;

/// What became of a segment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Solved(Solved),
    Failed(Failed),
}

/// A target that passed the checks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Solved {
    pub target: String,
    /// Which engine, by index.
    pub engine: usize,
    pub repairs: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Failed {
    pub reason: String,
    /// The reason as data, where it is one of ours.
    pub why: Option<Why>,
    /// The last target that failed the checks.
    pub proposal: Option<String>,
}

impl Failed {
    fn check(finding: Finding, target: String) -> Self {
        Self { reason: finding.to_string(), why: Some(Why::Finding(finding)), proposal: Some(target) }
    }
}

/// A segment on its way down the ladder.
struct Job<'a> {
    segment: &'a str,
    solved: Option<Solved>,
    failed: Failed,
    /// A target that may be right, and how many of the answers it was.
    doubt: Option<(String, usize)>,
}

/// What all rounds share.
pub(crate) struct Ladder<'a> {
    engines: &'a [&'a dyn Engine],
    options: &'a Options,
    checker: Checker,
    /// Learnt from the first round.
    lexicon: Option<Lexicon>,
    jobs: Vec<Job<'a>>,
}

impl<'a> Ladder<'a> {
    pub fn new(segments: &[&'a str], engines: &'a [&'a dyn Engine], options: &'a Options) -> Self {
        let job = |&segment| Job { segment, solved: None, failed: Failed::default(), doubt: None };
        let jobs = segments.iter().map(job).collect();
        Ladder { engines, options, checker: Checker::new(&options.pair), lexicon: None, jobs }
    }

    /// What the first round would have to ask for.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn survey(&self, journal: Option<&Journal>, survey: &Survey) -> Result<Survey, Error> {
        let engine = self.engines[0];
        let question = self.question(0, 0);
        let texts = Texts::of(&question.forms);
        let held = texts.held(journal, &question.scope)?;
        let is_held = |text: &str| held[texts.index[text]].is_some();
        let pending: Vec<&str> = texts.unique.iter().copied().filter(|text| !is_held(text)).collect();
        let requests = batches(&pending, question.limits);
        let sent = requests.iter().map(|batch| characters(&pending[batch.clone()], &question.limits)).sum();
        Ok(Survey {
            journal_hits: question.forms.iter().filter(|(_, form)| form.texts().all(is_held)).count(),
            texts_to_send: pending.len(),
            characters_to_send: sent,
            requests_to_send: requests.len(),
            seconds_at_rate_limit: seconds_at_the_limit(&question.limits, requests.len(), sent),
            estimated_cost: engine.price().map(|price| price.of(sent)),
            ..*survey
        })
    }

    /// Go down the ladder; what became of each segment, in order.
    ///
    /// # Errors
    /// An engine fails for good, the journal cannot be used, the money is spent, or `cancel` became true.
    pub fn climb(
        mut self,
        mut journal: Option<&mut Journal>,
        progress: &mut dyn FnMut(Progress<'_>),
        cancel: &AtomicBool,
        stats: &mut Stats,
    ) -> Result<Vec<Outcome>, Error> {
        let purse = Purse::new(self.options.max_cost);
        for (index, &engine) in self.engines.iter().enumerate() {
            let service = Service::new(
                &request_limits(engine),
                &self.options.pair,
                &self.options.retry,
                &purse,
                cancel,
            );
            let mut asker = Asker { engine, service, purse: &purse, is_checked: false, answered: 0 };
            let done = self.ask_engine(index, &mut asker, journal.as_deref_mut(), progress);
            asker.count(stats);
            if self.engines.iter().any(|engine| engine.price().is_some()) {
                stats.cost = Some(purse.spent());
            }
            done?;
        }
        Ok(self.jobs.into_iter().map(Job::outcome).collect())
    }

    /// All rounds with one engine.
    fn ask_engine(
        &mut self,
        index: usize,
        asker: &mut Asker<'_>,
        mut journal: Option<&mut Journal>,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<(), Error> {
        for rung in 0..ways(asker.engine.manner()).len() {
            let question = self.question(index, rung);
            if question.forms.is_empty() {
                continue;
            }
            let texts = Texts::of(&question.forms);
            let mut answers = texts.held(journal.as_deref(), &question.scope)?;
            let missing = answers.iter().filter(|answer| answer.is_none()).count();
            if missing > 0 {
                if index + rung > 0 {
                    progress(Progress::Repairing { texts: missing });
                }
                let plan = texts.plan(&answers, &question, journal.as_deref_mut())?;
                asker.ask(&texts, &plan, &question.scope, journal.as_deref_mut(), &mut answers, progress)?;
            }
            let mut judged = self.judge(&question, &texts, &answers, index, rung);
            // Before more is built from what is judged: these are the largest things of a run.
            drop((texts, answers));
            drop(question);
            let lexicon = self.lexicon.take().unwrap_or_else(|| self.learn(&judged));
            self.doubt_unrelated(&mut judged, &lexicon, asker.engine);
            self.lexicon = Some(lexicon);
            for (job, judged) in judged {
                self.settle(job, judged, index);
            }
        }
        // The next engine's answers are its own.
        self.jobs.iter_mut().for_each(|job| job.doubt = None);
        Ok(())
    }

    /// What is asked of an engine in one way: the jobs that are open, if this way is a new one for them.
    fn question(&self, engine: usize, rung: usize) -> Question<'a> {
        let (way, used, identity) = {
            let engine = self.engines[engine];
            let ways = ways(engine.manner());
            (&ways[rung], &ways[..rung], engine.identity())
        };
        let limits = request_limits(self.engines[engine]);
        let manner = self.engines[engine].manner();
        let form = |job: &Job<'a>| {
            let form = Form::new(job.segment, way, limits.characters);
            // A model gives the same answer to the same question.
            let is_new = manner == Manner::Lines
                || !used
                    .iter()
                    .any(|way| Form::new(job.segment, way, limits.characters).texts().eq(form.texts()));
            is_new.then_some(form)
        };
        let open = self.jobs.iter().enumerate().filter(|(_, job)| job.solved.is_none());
        let mut forms: Vec<(usize, Form<'a>)> = open.filter_map(|(i, job)| Some((i, form(job)?))).collect();
        if rung > 0 && manner == Manner::Lines {
            // In other company, and in another order each time: an answer in the wrong place does not come again.
            forms.sort_by_cached_key(|(job, _)| company(self.jobs[*job].segment, rung));
        }
        // A service is asked anew in each round, also for the same text.
        let engine = match manner {
            Manner::Lines if rung > 0 => format!("{identity}#{}", rung + 1),
            _ => identity,
        };
        let limits = if way.alone { self.alone(limits, forms.len()) } else { limits };
        Question { scope: Scope { engine, pair: self.options.pair.clone() }, limits, forms }
    }

    /// Limits that put every text into a request of its own, unless that takes more than a twentieth of the
    /// requests of the first round.
    fn alone(&self, limits: Limits, texts: usize) -> Limits {
        const ALWAYS: usize = 8;
        let segments: Vec<&str> = self.jobs.iter().map(|job| job.segment).collect();
        let affordable = (batches(&segments, limits).len() / 20).max(ALWAYS);
        Limits { segments: texts.div_ceil(affordable).clamp(1, limits.segments), ..limits }
    }

    /// The verdict on every job of a round.
    fn judge(
        &self,
        question: &Question<'a>,
        texts: &Texts<'_>,
        answers: &[Option<Noted>],
        engine: usize,
        rung: usize,
    ) -> Vec<(usize, Judged)> {
        let manner = self.engines[engine].manner();
        let way = &ways(manner)[rung];
        let judge = |(job, form): &(usize, Form<'a>)| {
            let mut notes: Vec<String> = Vec::new();
            let mut note = |note: &str| {
                if !note.is_empty() && !notes.iter().any(|n| n == note) {
                    notes.push(note.to_string());
                }
            };
            note(way.note);
            let mut found = Vec::new();
            for text in form.texts() {
                match &answers[texts.index[text]] {
                    Some((Ok(answer), how)) => {
                        note(how);
                        found.push(answer.as_str());
                    }
                    Some((Err(miss), _)) => return (*job, Judged::Miss(miss.clone())),
                    None => return (*job, Judged::Miss(Miss::Failed("it was never answered".to_string()))),
                }
            }
            let target = form.target(found.into_iter(), &self.checker, manner == Manner::Lookup);
            (*job, target.map_or_else(Judged::Spoiled, |target| Judged::Target(target, notes)))
        };
        question.forms.par_iter().map(judge).collect()
    }

    /// What the targets of a round that pass the checks tell of both languages.
    fn learn(&self, judged: &[(usize, Judged)]) -> Lexicon {
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(judged.len());
        for (job, judged) in judged {
            if let Judged::Target(Target { text, verdict: Verdict::Pass, .. }, _) = judged {
                pairs.push((self.jobs[*job].segment, text));
            }
        }
        Lexicon::learn(&pairs)
    }

    /// Let those targets be doubted that seem to translate another segment. Several that share a text are told
    /// apart by separators alone: where one of them is in the wrong place, its neighbours have to prove theirs.
    fn doubt_unrelated(&self, judged: &mut [(usize, Judged)], lexicon: &Lexicon, engine: &dyn Engine) {
        // What is looked up was not mixed up.
        if engine.manner() == Manner::Lookup {
            return;
        }
        let joins = engine.takes_one_text();
        let segments: Vec<&str> = judged.iter().map(|(job, _)| self.jobs[*job].segment).collect();
        let near = |at: usize, reach: usize| at.saturating_sub(reach)..(at + 1 + reach).min(segments.len());
        let relation = |(at, (_, judged)): (usize, &(usize, Judged))| match judged {
            Judged::Target(target, _) if target.verdict == Verdict::Pass => {
                let others = near(at, if joins { COMPARED } else { 0 }).filter(|&other| other != at);
                lexicon.judge(segments[at], &target.text, others.map(|other| &segments[other]))
            }
            _ => Relation::Unknown,
        };
        let relations: Vec<Relation> = judged.par_iter().enumerate().map(relation).collect();
        for (at, (_, judged)) in judged.iter_mut().enumerate() {
            let is_doubtful = match relations[at] {
                Relation::Related => false,
                Relation::Unrelated => true,
                Relation::Unknown => joins && relations[near(at, SUSPECTED)].contains(&Relation::Unrelated),
            };
            if let Judged::Target(target, _) = judged
                && target.verdict == Verdict::Pass
                && is_doubtful
            {
                target.verdict = Verdict::Doubt(Finding::Unrelated);
            }
        }
    }

    /// Take a verdict in.
    fn settle(&mut self, job: usize, judged: Judged, engine: usize) {
        let manner = self.engines[engine].manner();
        let job = &mut self.jobs[job];
        let (target, mut repairs) = match judged {
            Judged::Miss(miss) => {
                // What an engine said of a text is the better reason than that another never saw it.
                if job.failed.reason.is_empty() || miss != Miss::NotInMemory {
                    job.failed.reason = miss.to_string();
                    job.failed.why = Some(Why::Miss(miss));
                }
                return;
            }
            Judged::Spoiled(reason) => {
                (job.failed.reason, job.failed.why) = (reason, None);
                return;
            }
            Judged::Target(target, notes) => (target, notes),
        };
        repairs.extend(target.repairs.iter().map(|&note| note.to_string()));
        match target.verdict {
            Verdict::Pass => job.solved = Some(Solved { target: target.text, engine, repairs }),
            Verdict::Fail(finding) => job.failed = Failed::check(finding, target.text),
            Verdict::Doubt(finding) => {
                let before = job.doubt.take().filter(|(text, _)| *text == target.text);
                let times = before.map_or(1, |(_, times)| times + 1);
                // Who keeps to an answer means it; a model always does.
                if times >= CONVINCED || manner != Manner::Lines {
                    repairs.push(format!("kept in spite of a doubt: {finding}"));
                    job.solved = Some(Solved { target: target.text, engine, repairs });
                } else {
                    job.failed = Failed::check(finding, target.text.clone());
                    job.doubt = Some((target.text, times));
                }
            }
        }
    }
}

/// Where a segment stands among those that are asked for again: anywhere, but the same in every run.
fn company(segment: &str, rung: usize) -> [u8; 32] {
    *blake3::Hasher::new().update(&rung.to_le_bytes()).update(segment.as_bytes()).finalize().as_bytes()
}

impl Job<'_> {
    fn outcome(self) -> Outcome {
        match self.solved {
            Some(solved) => Outcome::Solved(solved),
            None => Outcome::Failed(self.failed),
        }
    }
}

/// What a round found out about a job.
enum Judged {
    Miss(Miss),
    /// The answer cannot be put together: a mark is lost.
    Spoiled(String),
    Target(Target, Vec<String>),
}
