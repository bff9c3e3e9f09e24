//! The whole measurement, top to bottom.

use crate::bits::{Bits, score};
use crate::card::{ReplyPair, ReportCard, SideCard, Skipped};
use crate::config::Settings;
use crate::control::{self, PROBE_TOKENS, PROBES};
use crate::error::Result;
use crate::prepare::{EvalSet, Prepared, Room, Text, prepare, spread};
use crate::replies::{Answer, Counts, Decoding, reply};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tolmach_corpus::{Body, Example, Language};
use tolmach_engine::Backend;
use tolmach_model::{Decoder, SamplingConfig, Side};
use tolmach_tokenize::{PromptTemplate, Tokenizer};

/// What is measured.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub base: &'a Path,
    pub adapter: Option<&'a Path>,
    pub tokenizer: &'a Tokenizer,
}

/// On what it is measured.
#[derive(Clone, Copy, Debug)]
pub struct EvalSets<'a> {
    pub target: EvalSet<'a>,
    pub source: Option<EvalSet<'a>>,
    /// Running text, for bits per byte alone; empty: none.
    pub text: &'a [Example],
    pub source_text: &'a [Example],
}

/// How far a part of the work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub side: Side,
    /// `target replies`, `source texts`, …
    pub what: &'static str,
    pub done: usize,
    pub of: usize,
}

/// The card, and every reply behind it.
pub struct Evaluation {
    pub card: ReportCard,
    pub replies: Vec<ReplyPair>,
}

/// Measure a base model and, side by side, what an adapter makes of it.
///
/// # Errors
/// A model or adapter that cannot be loaded, a tokenizer of another model, a set in which nothing can
/// be measured, a loss that is not a number. A failed control is no error: it is on the card.
pub fn evaluate<B: Backend>(
    backend: Arc<B>,
    subject: Subject,
    sets: &EvalSets,
    settings: &Settings,
    progress: &mut dyn FnMut(Progress),
) -> Result<Evaluation> {
    let start = Instant::now();
    let tokenizer = subject.tokenizer;
    let mut model = Decoder::load(backend, subject.base)?;
    tokenizer.check_vocab_size(model.config.vocab_size)?;
    let room = Room::new(model.config.max_position_embeddings, settings.max_new_tokens)?;
    let material = Material::prepare(sets, tokenizer, room, settings.limit)?;

    let control = control::attach(&mut model, subject.adapter, &material.probes())?;
    let run = Run {
        model: &model,
        tokenizer,
        decoding: Decoding {
            sampling: &settings.sampling,
            max_new_tokens: room.max_new_tokens,
            batch: settings.batch,
        },
        sets,
        material: &material,
    };
    let base = run.side(Side::Base, progress)?;
    let tuned = subject.adapter.map(|_| run.side(Side::Tuned, progress)).transpose()?;

    let replies = pairs(&material, &base, tuned.as_ref());
    let card = ReportCard {
        version: env!("CARGO_PKG_VERSION").to_string(),
        base_model: subject.base.display().to_string(),
        adapter: subject.adapter.map(|path| path.display().to_string()),
        base: base.card,
        tuned: tuned.map(|side| side.card),
        control,
        language: sets.target.language.map(|l| l.code.to_string()),
        source_language: sets.source.and_then(|s| s.language).map(|l| l.code.to_string()),
        template: template_name(&sets.target),
        source_template: sets.source.as_ref().map(template_name),
        decoding: describe(&settings.sampling),
        max_new_tokens: room.max_new_tokens,
        skipped: material.skipped(),
        samples: choose_samples(&replies, settings.samples),
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok(Evaluation { card, replies })
}

/// The language that all marked examples are marked with; `None` where they differ or none is marked.
pub fn marked_language(examples: &[Example]) -> Option<&'static Language> {
    let mut marks = examples.iter().filter_map(|e| e.language.as_deref());
    let first = marks.next()?;
    marks.all(|mark| mark == first).then(|| Language::find(first)).flatten()
}

/// Everything that is asked and scored, as tokens.
struct Material {
    target: Prepared,
    source: Option<Prepared>,
    text: Vec<Text>,
    source_text: Vec<Text>,
}

impl Material {
    fn prepare(sets: &EvalSets, tokenizer: &Tokenizer, room: Room, limit: usize) -> Result<Material> {
        let plain = PromptTemplate::default();
        let texts = |examples: &[Example], name| -> Result<Vec<Text>> {
            if examples.is_empty() {
                return Ok(Vec::new());
            }
            let set = EvalSet { examples, template: &plain, language: None };
            Ok(prepare(&set, name, tokenizer, room, limit)?.texts)
        };
        Ok(Material {
            target: prepare(&sets.target, "target", tokenizer, room, limit)?,
            source: sets.source.map(|s| prepare(&s, "source", tokenizer, room, limit)).transpose()?,
            text: texts(sets.text, "text")?,
            source_text: texts(sets.source_text, "source text")?,
        })
    }

    /// Beginnings of a few prompts, or of texts where nothing is asked.
    fn probes(&self) -> Vec<&[u32]> {
        let questions: Vec<&[u32]> = self.target.questions.iter().map(|q| q.prompt.as_slice()).collect();
        let texts: Vec<&[u32]> = self.target.texts.iter().map(|t| t.ids.as_slice()).collect();
        let all = if questions.is_empty() { texts } else { questions };
        spread(&all, PROBES).map(|ids| &ids[..ids.len().min(PROBE_TOKENS)]).collect()
    }

    fn skipped(&self) -> Skipped {
        let mut skipped = Skipped::default();
        for set in std::iter::once(&self.target).chain(&self.source) {
            skipped.too_long_prompts += set.too_long;
            skipped.unusable += set.unusable;
            skipped.cut_texts += set.cut;
        }
        skipped
    }
}

/// One model measured on one material.
struct Run<'a, B: Backend> {
    model: &'a Decoder<B>,
    tokenizer: &'a Tokenizer,
    decoding: Decoding<'a>,
    sets: &'a EvalSets<'a>,
    material: &'a Material,
}

/// One side's figures and replies.
struct Measured {
    card: SideCard,
    target: Vec<Answer>,
    source: Vec<Answer>,
}

impl<B: Backend> Run<'_, B> {
    fn side(&self, side: Side, progress: &mut dyn FnMut(Progress)) -> Result<Measured> {
        let material = self.material;
        let mut card = SideCard::default();
        let bits = self.score(side, &material.target.texts, "target texts", progress)?;
        let target = self.reply(side, &material.target, "target replies", progress)?;
        card.set_target(&Counts::new(&material.target.questions, &target, self.sets.target.language), bits);
        let mut source = Vec::new();
        if let (Some(prepared), Some(set)) = (&material.source, &self.sets.source) {
            let bits = self.score(side, &prepared.texts, "source texts", progress)?;
            source = self.reply(side, prepared, "source replies", progress)?;
            card.set_source(&Counts::new(&prepared.questions, &source, set.language), bits);
        }
        card.text_bits_per_byte = self.score(side, &material.text, "running text", progress)?.per_byte();
        card.source_text_bits_per_byte =
            self.score(side, &material.source_text, "source running text", progress)?.per_byte();
        Ok(Measured { card, target, source })
    }

    fn score(
        &self,
        side: Side,
        texts: &[Text],
        what: &'static str,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Bits> {
        score(self.model, side, texts, |done| progress(Progress { side, what, done, of: texts.len() }))
    }

    fn reply(
        &self,
        side: Side,
        prepared: &Prepared,
        what: &'static str,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Vec<Answer>> {
        let (questions, of) = (&prepared.questions, prepared.questions.len());
        reply(self.model, side, self.tokenizer, questions, &self.decoding, |done| {
            progress(Progress { side, what, done, of });
        })
    }
}

fn pairs(material: &Material, base: &Measured, tuned: Option<&Measured>) -> Vec<ReplyPair> {
    let mut pairs = Vec::new();
    let sets = [
        ("target", Some(&material.target), &base.target, tuned.map(|t| &t.target)),
        ("source", material.source.as_ref(), &base.source, tuned.map(|t| &t.source)),
    ];
    for (set, prepared, before, after) in sets {
        for (i, question) in prepared.into_iter().flat_map(|p| &p.questions).enumerate() {
            pairs.push(ReplyPair {
                set: set.to_string(),
                id: question.id.clone(),
                prompt: question.asked.clone(),
                reference: question.reference.clone(),
                base: before[i].text.clone(),
                tuned: after.map(|answers| answers[i].text.clone()),
            });
        }
    }
    pairs
}

/// Plain texts go through no template.
fn template_name(set: &EvalSet) -> String {
    let plain = set.examples.iter().all(|e| matches!(e.body, Body::Text { .. }));
    if plain { "none" } else { set.template.name() }.to_string()
}

/// Three quarters from the target set, the rest from the source set, evenly spread over each.
fn choose_samples(replies: &[ReplyPair], count: usize) -> Vec<ReplyPair> {
    let (target, source): (Vec<&ReplyPair>, Vec<&ReplyPair>) =
        replies.iter().partition(|r| r.set == "target");
    let of_source = (count / 4).min(source.len());
    let chosen = spread(&target, count - of_source).chain(spread(&source, of_source));
    chosen.map(|r| (*r).clone()).collect()
}

fn describe(sampling: &SamplingConfig) -> String {
    let SamplingConfig { temperature, top_p, top_k, repetition_penalty, seed } = sampling;
    let mut words = match temperature {
        0.0 => "greedy".to_string(),
        t => format!("temperature {t}, top-p {top_p}, top-k {top_k}, seed {seed}"),
    };
    if *repetition_penalty != 1.0 {
        words += &format!(", repetition penalty {repetition_penalty}");
    }
    words
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
