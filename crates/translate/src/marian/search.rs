//! Greedy and beam search over a batch of sentences, with the answers that transformers' `generate`
//! gives (5.23, `_sample` and `_beam_search`).

use super::config::{EarlyStopping, Generation};
use super::head::{HeadWorkspace, Top};
use super::layers::{Decoding, Query, Workspace};
use super::model::Model;

/// Buffers of one thread.
#[derive(Default)]
pub struct SearchWorkspace {
    layers: Workspace,
    head: HeadWorkspace,
}

/// The answer to each sentence of token ids (its EOS included): tokens without the first one, with EOS.
pub fn search(
    model: &Model,
    generation: &Generation,
    sentences: &[&[u32]],
    work: &mut SearchWorkspace,
) -> Vec<Vec<u32>> {
    if generation.num_beams == 1 {
        greedy(model, generation, sentences, work)
    } else {
        beams(model, generation, sentences, work)
    }
}

/// A hypothesis: what was written, and where its keys and values lie.
#[derive(Clone, Debug)]
struct Hypothesis {
    /// With the decoder's first token.
    tokens: Vec<u32>,
    rows: Vec<u32>,
    /// Sum of log probabilities.
    score: f32,
}

impl Hypothesis {
    fn new(start: u32) -> Self {
        Hypothesis { tokens: vec![start], rows: Vec::new(), score: 0.0 }
    }

    fn query(&self, sentence: usize) -> Query<'_> {
        let token = self.tokens.last().copied().unwrap_or_default();
        Query { token, seen: &self.rows, sentence }
    }
}

/// What the search knows of one sentence.
struct Running {
    /// Index of the sentence in the batch.
    sentence: usize,
    /// The best first.
    hypotheses: Vec<Hypothesis>,
    /// Answers with their scores, the best first; as many as there are beams at most.
    finished: Vec<(f32, Vec<u32>)>,
}

/// Hidden rows of one step over the hypotheses of all sentences.
fn step<'a>(decoding: &'a mut Decoding<'_>, running: &mut [Running], work: &mut Workspace) -> &'a [f32] {
    let hypotheses = running.iter_mut().flat_map(|r| &mut r.hypotheses);
    for (row, hypothesis) in (decoding.next_row()..).zip(hypotheses) {
        hypothesis.rows.push(row);
    }
    let queries: Vec<Query<'_>> =
        running.iter().flat_map(|r| r.hypotheses.iter().map(|h| h.query(r.sentence))).collect();
    decoding.step(&queries, work)
}

fn start(generation: &Generation, sentences: usize) -> Vec<Running> {
    let start = |sentence| Running {
        sentence,
        hypotheses: vec![Hypothesis::new(generation.decoder_start)],
        finished: Vec::new(),
    };
    (0..sentences).map(start).collect()
}

fn greedy(
    model: &Model,
    generation: &Generation,
    sentences: &[&[u32]],
    work: &mut SearchWorkspace,
) -> Vec<Vec<u32>> {
    let encoded = model.encode(sentences, &mut work.layers);
    let mut decoding = Decoding::new(model, &encoded);
    let mut running = start(generation, sentences.len());
    let mut answers = vec![Vec::new(); sentences.len()];
    for length in 2..=generation.max_length {
        let hidden = step(&mut decoding, &mut running, &mut work.layers);
        let tokens = match generation.forced(length) {
            Some(token) => vec![token; running.len()],
            None => model.best_tokens(hidden, &generation.banned, &mut work.head),
        };
        for (r, token) in running.iter_mut().zip(tokens) {
            r.hypotheses[0].tokens.push(token);
        }
        running.retain_mut(|r| {
            let tokens = &mut r.hypotheses[0].tokens;
            let ends = length == generation.max_length
                || tokens.last().is_some_and(|token| generation.eos.contains(token));
            if ends {
                answers[r.sentence] = tokens.split_off(1);
            }
            !ends
        });
        if running.is_empty() {
            break;
        }
    }
    answers
}

fn beams(
    model: &Model,
    generation: &Generation,
    sentences: &[&[u32]],
    work: &mut SearchWorkspace,
) -> Vec<Vec<u32>> {
    let encoded = model.encode(sentences, &mut work.layers);
    let mut decoding = Decoding::new(model, &encoded);
    // All beams of a sentence start alike, so that the first step is one row.
    let mut running = start(generation, sentences.len());
    let mut answers = vec![Vec::new(); sentences.len()];
    let keep = generation.candidates();
    for length in 2..=generation.max_length {
        let hidden = step(&mut decoding, &mut running, &mut work.layers);
        let tops = match generation.forced(length) {
            Some(token) => {
                let rows: usize = running.iter().map(|r| r.hypotheses.len()).sum();
                vec![Top { tokens: vec![(0.0, token)] }; rows]
            }
            None => {
                let renormalize = generation.renormalize_logits;
                model.top_tokens(hidden, keep, &generation.banned, renormalize, &mut work.head)
            }
        };
        let mut tops = tops.iter();
        running.retain_mut(|r| {
            let own: Vec<&Top> = tops.by_ref().take(r.hypotheses.len()).collect();
            let goes_on = r.advance(&own, length, generation);
            if !goes_on {
                answers[r.sentence] = r.answer();
            }
            goes_on
        });
        if running.is_empty() {
            break;
        }
    }
    answers
}

/// A possible next step: total score, parent, token.
#[derive(Clone, Copy)]
struct Candidate {
    score: f32,
    parent: usize,
    token: u32,
}

impl Running {
    /// Take one token more, so that hypotheses are `length` long. Whether the search goes on.
    fn advance(&mut self, tops: &[&Top], length: usize, generation: &Generation) -> bool {
        let beams = generation.num_beams;
        let candidates = self.candidates(tops, generation.candidates());
        let ends = |c: &Candidate| length >= generation.max_length || generation.eos.contains(&c.token);
        let written = (length - 1) as f64;
        // Only the best `num_beams` candidates may become answers; the others are there to go on with.
        for candidate in candidates.iter().take(beams).filter(|c| ends(c)) {
            let score = candidate.score / written.powf(generation.length_penalty) as f32;
            let mut tokens = self.hypotheses[candidate.parent].tokens[1..].to_vec();
            tokens.push(candidate.token);
            self.finish(score, tokens, beams);
        }
        let next: Vec<Hypothesis> = candidates
            .iter()
            .filter(|c| !ends(c))
            .take(beams)
            .map(|c| {
                let mut hypothesis = self.hypotheses[c.parent].clone();
                hypothesis.tokens.push(c.token);
                hypothesis.score = c.score;
                hypothesis
            })
            .collect();
        self.hypotheses = next;
        self.may_improve(length, generation)
    }

    fn candidates(&self, tops: &[&Top], keep: usize) -> Vec<Candidate> {
        let mut candidates: Vec<Candidate> = Vec::with_capacity(tops.len() * keep);
        for (parent, (hypothesis, top)) in self.hypotheses.iter().zip(tops).enumerate() {
            for (score, token) in &top.tokens {
                candidates.push(Candidate { score: score + hypothesis.score, parent, token: *token });
            }
        }
        candidates.sort_by(|a, b| b.score.total_cmp(&a.score));
        candidates.truncate(keep);
        candidates
    }

    fn finish(&mut self, score: f32, tokens: Vec<u32>, beams: usize) {
        let at = self.finished.partition_point(|(other, _)| *other >= score);
        self.finished.insert(at, (score, tokens));
        self.finished.truncate(beams);
    }

    fn may_improve(&self, length: usize, generation: &Generation) -> bool {
        let Some(best) = self.hypotheses.first() else { return false };
        if self.finished.len() < generation.num_beams {
            return true;
        }
        let penalty = generation.length_penalty;
        let reached = match generation.early_stopping {
            EarlyStopping::Always => return false,
            EarlyStopping::Never if penalty > 0.0 => generation.max_length - 1,
            EarlyStopping::Heuristic | EarlyStopping::Never => length - 1,
        };
        let hoped = best.score / (reached as f64).powf(penalty) as f32;
        self.finished.last().is_none_or(|(worst, _)| hoped > *worst)
    }

    /// The best answer.
    fn answer(&mut self) -> Vec<u32> {
        let best = self.finished.first_mut().map(|(_, tokens)| std::mem::take(tokens));
        best.unwrap_or_default()
    }
}

impl Generation {
    /// The token that makes answers `length` long, if it is not the model's to choose.
    fn forced(&self, length: usize) -> Option<u32> {
        let last = self.forced_eos.filter(|_| length == self.max_length);
        last.or(self.forced_bos.filter(|_| length == 2))
    }

    /// Candidates per sentence and step: enough that `num_beams` of them do not end.
    fn candidates(&self) -> usize {
        (1 + self.eos.len()).max(2) * self.num_beams
    }
}
