//! From targets to examples: the skeletons are filled, every field is checked as a whole, and an example
//! leaves by exactly one door.

use crate::config::{OnMiss, Options};
use crate::engine::{Engine, Manner};
use crate::http::excerpt;
use crate::repair::{Failed, Outcome, Solved};
use crate::review::{MENDED, OpenSegment, PERSON, Review, Why};
use crate::run::{Missed, Sources, Stats, Translated, fields, is_translatable, is_translated};
use crate::structure::{rebuild, segments};
use crate::verify::{CHECKS, Checker, Finding, STRUCTURE_CHECKS, skeleton};
use crate::{Error, REVIEW_KEY};
use std::convert::Infallible;
use tolmach_corpus::{Body, Example, Translation};

/// Put the targets into the skeletons, example by example.
///
/// # Errors
/// An example was lost (a fault of this program), or one is set aside while `on_miss` is
/// [`OnMiss::Error`].
pub(crate) fn assemble(
    examples: &[Example],
    sources: &Sources<'_>,
    outcomes: &[Outcome],
    engines: &[&dyn Engine],
    options: &Options,
    stats: Stats,
) -> Result<Translated, Error> {
    let mut out = Translated {
        examples: Vec::with_capacity(examples.len()),
        missed: Vec::new(),
        decided: Vec::new(),
        stats,
    };
    out.stats.missing_segments = outcomes.iter().filter(|o| matches!(o, Outcome::Failed(_))).count();
    let checker = Checker::new(&options.pair);
    let assembly = Assembly { sources, outcomes, engines, options };
    for example in examples {
        let mut example = example.clone();
        let review = Review::of(&example);
        example.extra.shift_remove(REVIEW_KEY);
        if is_translated(&example, &options.pair.to) {
            out.stats.already_translated += 1;
            out.examples.push(example);
        } else if let Some(review) = review.as_ref().filter(|r| r.drop) {
            out.stats.dropped += 1;
            out.decided.push(review.clone().put_into(example));
        } else if let Some(review) = review.as_ref().filter(|r| r.is_mended(&example.body, &checker)) {
            out.stats.mended += 1;
            let translation = assembly.provenance(PERSON, vec![MENDED.to_string()]);
            let decision = Review { accept: true, ..review.clone() };
            out.decided.push(decision.put_into(example.clone()));
            out.examples.push(assembly.emit(example, review.draft.clone(), translation));
        } else {
            assembly.door(example, review, &mut out);
        }
    }
    out.stats.missed = out.missed.len();
    finish(out, examples.len(), options)
}

struct Assembly<'a> {
    sources: &'a Sources<'a>,
    outcomes: &'a [Outcome],
    engines: &'a [&'a dyn Engine],
    options: &'a Options,
}

impl Assembly<'_> {
    /// Emit `example`, or set it aside.
    fn door(&self, example: Example, before: Option<Review>, out: &mut Translated) {
        let body = self.body(&example.body);
        let open: Vec<OpenSegment> = self.open_segments(&example.body);
        let broken = if open.is_empty() { broken_field(&example.body, &body) } else { None };
        if open.is_empty() && broken.is_none() {
            let solved: Vec<&Solved> = self.solved(&example.body).collect();
            let translation = self.provenance(&self.engine_names(&solved), repairs(&solved));
            out.stats.translated += 1;
            out.stats.repaired += usize::from(!translation.repairs.is_empty());
            out.examples.push(self.emit(example, body, translation));
            return;
        }
        let reason = match &broken {
            Some(finding) => finding.to_string(),
            None => self.reason(&example.body, &open),
        };
        if self.options.on_miss == OnMiss::Keep {
            out.stats.kept += 1;
            let notes = vec![format!("left untranslated: {reason}")];
            let translation =
                Translation { checked: String::new(), ..self.provenance(self.engines[0].name(), notes) };
            let language = Some(self.options.pair.from.clone());
            out.examples.push(Example { language, translation: Some(translation), ..example });
            return;
        }
        // What a person has begun is not thrown away.
        let draft = before.map_or(body, |review| review.draft);
        let why = broken.map(Why::Finding);
        let review =
            Review { reason: reason.clone(), why, segments: open, draft, accept: false, drop: false };
        out.missed.push(Missed { example, reason, review });
    }

    fn emit(&self, mut example: Example, body: Body, translation: Translation) -> Example {
        example.source = Some(std::mem::replace(&mut example.body, body));
        example.language = Some(self.options.pair.to.clone());
        example.translation = Some(translation);
        example
    }

    fn provenance(&self, engine: &str, repairs: Vec<String>) -> Translation {
        let looks_up = self.engines.iter().all(|engine| engine.manner() == Manner::Lookup);
        let checks: &[&str] = if looks_up { &STRUCTURE_CHECKS } else { &CHECKS };
        Translation { engine: engine.to_string(), checked: checks.join(" "), repairs }
    }

    fn outcome(&self, segment: &str) -> &Outcome {
        &self.outcomes[self.sources.index[segment]]
    }

    fn segments<'b>(&self, body: &'b Body) -> impl Iterator<Item = &'b str> + use<'b> {
        fields(body, self.options.translate_system).flat_map(segments)
    }

    fn solved<'b>(&'b self, body: &'b Body) -> impl Iterator<Item = &'b Solved> {
        self.segments(body).filter_map(|segment| match self.outcome(segment) {
            Outcome::Solved(solved) => Some(solved),
            Outcome::Failed(_) => None,
        })
    }

    /// The body with every segment replaced that has a target.
    fn body(&self, body: &Body) -> Body {
        let mut body = body.clone();
        for (name, text) in body.fields_mut() {
            if is_translatable(name, self.options.translate_system) {
                let target = |segment| {
                    Ok::<_, Infallible>(match self.outcome(segment) {
                        Outcome::Solved(solved) => solved.target.as_str(),
                        Outcome::Failed(_) => segment,
                    })
                };
                let Ok(rebuilt) = rebuild(text, target);
                *text = rebuilt;
            }
        }
        body
    }

    fn open_segments(&self, body: &Body) -> Vec<OpenSegment> {
        let mut open: Vec<OpenSegment> = Vec::new();
        for segment in self.segments(body) {
            if let Outcome::Failed(failed) = self.outcome(segment)
                && !open.iter().any(|other| other.source == segment)
            {
                let Failed { reason, why, proposal } = failed.clone();
                open.push(OpenSegment { source: segment.to_string(), proposal, reason, why });
            }
        }
        open
    }

    fn reason(&self, body: &Body, open: &[OpenSegment]) -> String {
        let is_open = |segment: &&str| matches!(self.outcome(segment), Outcome::Failed(_));
        let (missing, all) = (self.segments(body).filter(is_open).count(), self.segments(body).count());
        let first = open.first().map_or(String::new(), |o| format!("{:?}: {}", excerpt(&o.source), o.reason));
        format!("{missing} of {all} segments have no translation; {first}")
    }

    /// The engines behind the targets of an example, in the order in which they were asked.
    fn engine_names(&self, solved: &[&Solved]) -> String {
        let used = |index: &usize| solved.iter().any(|solved| solved.engine == *index);
        let names: Vec<&str> = (0..self.engines.len()).filter(used).map(|i| self.engines[i].name()).collect();
        if names.is_empty() { self.engines[0].name().to_string() } else { names.join(", ") }
    }
}

/// What was repaired in any of the targets, each thing once.
fn repairs(solved: &[&Solved]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for repair in solved.iter().flat_map(|solved| &solved.repairs) {
        if !all.contains(repair) {
            all.push(repair.clone());
        }
    }
    all
}

/// The check behind every emitted example: each field has the skeleton of its source.
fn broken_field(source: &Body, target: &Body) -> Option<Finding> {
    let mut pairs = source.fields().zip(target.fields());
    pairs.find_map(|((name, before), (_, after))| {
        skeleton(before, after).is_none().then(|| Finding::Skeleton { field: name.to_string() })
    })
}

/// The counts that must hold, whatever happened.
fn finish(out: Translated, read: usize, options: &Options) -> Result<Translated, Error> {
    let (emitted, missed) = (out.examples.len(), out.missed.len());
    let dropped = out.stats.dropped;
    if emitted + missed + dropped != read {
        return Err(Error::RowsLost { read, emitted, missed, dropped });
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
