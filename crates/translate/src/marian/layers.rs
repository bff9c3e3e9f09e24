//! The encoder over a batch of sentences, and the decoder one token at a time.
//!
//! Sentences are laid end to end without padding; a decoder step is a row per hypothesis. Keys and
//! values are only ever appended: a hypothesis is a list of rows, so that beams that fork, fall out
//! or finish move no memory. Every row of every product is computed alike whatever the rows around
//! it, so a translation does not depend on the batch it is in.

use super::model::{CrossAttention, Embedding, FeedForward, LayerNorm, Linear, Model, SelfAttention};
use std::ops::Range;
use tolmach_engine::cpu::infer::{Attend, Gate, Rows, Scores, add, add_layer_norm, attend, gate, layer_norm};

const EPS: f32 = 1e-5;

/// Buffers of one thread, kept from step to step.
#[derive(Default)]
pub struct Workspace {
    rows: Rows,
    normed: Vec<f32>,
    projected: Vec<f32>,
    attended: Vec<f32>,
    branch: Vec<f32>,
    scores: Scores,
}

/// What the decoder looks at in the encoded sentences of a batch.
pub struct Encoded {
    /// For each decoder layer, keys and values `[T, 2C]` of all tokens.
    cross: Vec<Vec<f32>>,
    /// The rows of each sentence.
    sentences: Vec<Vec<u32>>,
}

/// The decoder's state for one batch.
pub struct Decoding<'a> {
    model: &'a Model,
    encoded: &'a Encoded,
    /// For each layer, keys and values `[rows, 2C]` of all tokens written so far.
    caches: Vec<Vec<f32>>,
    /// Rows in each cache.
    rows: u32,
    hidden: Vec<f32>,
}

/// One row of a decoder step.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    pub token: u32,
    /// Cache rows of the tokens before and of this one, oldest first: see [`Decoding::next_row`].
    pub seen: &'a [u32],
    /// Index of its sentence in the batch.
    pub sentence: usize,
}

impl Model {
    /// Run the encoder over sentences of token ids, and the decoder's keys and values over its result.
    pub fn encode(&self, sentences: &[&[u32]], work: &mut Workspace) -> Encoded {
        let hidden_size = self.shape.hidden_size;
        let ranges = ranges(sentences);
        let mut hidden = Vec::with_capacity(ranges.last().map_or(0, |r| r.end) * hidden_size);
        for sentence in sentences {
            for (position, &token) in sentence.iter().enumerate() {
                self.encoder.embedding.push(token, position, self.shape.embedding_scale, &mut hidden);
            }
        }
        let rows: Vec<Vec<u32>> = ranges.iter().map(|r| (r.start as u32..r.end as u32).collect()).collect();
        for layer in &self.encoder.layers {
            layer.attention.encode(&mut hidden, &ranges, &rows, self.shape.encoder.heads, work);
            layer.feed_forward.run(&mut hidden, self.shape.gate, work);
        }
        if let Some(norm) = &self.encoder.norm {
            norm.run(&mut hidden);
        }
        let cross = self.decoder.layers.iter().map(|layer| {
            let mut kv = Vec::new();
            layer.cross.kv.run(&hidden, &mut work.rows, &mut kv);
            kv
        });
        Encoded { cross: cross.collect(), sentences: rows }
    }
}

fn ranges(sentences: &[&[u32]]) -> Vec<Range<usize>> {
    let mut end = 0;
    let range = |sentence: &&[u32]| {
        let start = end;
        end += sentence.len();
        start..end
    };
    sentences.iter().map(range).collect()
}

impl<'a> Decoding<'a> {
    pub fn new(model: &'a Model, encoded: &'a Encoded) -> Self {
        let caches = vec![Vec::new(); model.decoder.layers.len()];
        Decoding { model, encoded, caches, rows: 0, hidden: Vec::new() }
    }

    /// The cache row of the next step's first query; its others follow.
    pub fn next_row(&self) -> u32 {
        self.rows
    }

    /// One token for each query. Returns `[queries, C]`, what the head reads.
    pub fn step(&mut self, queries: &[Query<'_>], work: &mut Workspace) -> &[f32] {
        let model = self.model;
        let heads = model.shape.decoder.heads;
        self.hidden.clear();
        for query in queries {
            let position = query.seen.len() - 1;
            model.decoder.embedding.push(
                query.token,
                position,
                model.shape.embedding_scale,
                &mut self.hidden,
            );
        }
        for (layer, (cache, cross)) in
            model.decoder.layers.iter().zip(self.caches.iter_mut().zip(&self.encoded.cross))
        {
            layer.attention.step(&mut self.hidden, queries, cache, heads, work);
            let sentences = &self.encoded.sentences;
            layer.cross.step(&mut self.hidden, queries, cross, sentences, heads, work);
            layer.feed_forward.run(&mut self.hidden, model.shape.gate, work);
        }
        if let Some(norm) = &model.decoder.norm {
            norm.run(&mut self.hidden);
        }
        self.rows += queries.len() as u32;
        &self.hidden
    }
}

impl Embedding {
    /// Append the row of one token at one position.
    fn push(&self, token: u32, position: usize, scale: f32, hidden: &mut Vec<f32>) {
        let width = self.tokens.cols();
        let start = hidden.len();
        hidden.resize(start + width, 0.0);
        self.tokens.row(token as usize, &mut hidden[start..]);
        for (h, p) in hidden[start..].iter_mut().zip(&self.positions[position * width..]) {
            *h = *h * scale + p;
        }
    }
}

impl Linear {
    /// `out = x · weightᵀ + bias`
    fn run(&self, x: &[f32], rows: &mut Rows, out: &mut Vec<f32>) {
        let count = x.len() / self.weight.cols();
        out.resize(count * self.weight.rows(), 0.0);
        self.weight.take(x, rows);
        self.weight.product(rows, 0..self.weight.rows(), &self.bias, out);
    }
}

impl LayerNorm {
    fn run(&self, hidden: &mut [f32]) {
        layer_norm(hidden, &self.weight, &self.bias, EPS);
    }

    /// What the sub-layer reads.
    fn begin<'a>(&self, hidden: &'a [f32], normed: &'a mut Vec<f32>) -> &'a [f32] {
        if !self.first {
            return hidden;
        }
        normed.clear();
        normed.extend_from_slice(hidden);
        self.run(normed);
        normed
    }

    /// What the sub-layer makes of `hidden`, given what it adds.
    fn end(&self, hidden: &mut [f32], branch: &[f32]) {
        if self.first {
            add(hidden, branch);
        } else {
            add_layer_norm(hidden, branch, &self.weight, &self.bias, EPS);
        }
    }
}

impl FeedForward {
    fn run(&self, hidden: &mut [f32], kind: Gate, work: &mut Workspace) {
        let input = self.norm.begin(hidden, &mut work.normed);
        self.fc1.run(input, &mut work.rows, &mut work.projected);
        gate(kind, &mut work.projected);
        self.fc2.run(&work.projected, &mut work.rows, &mut work.branch);
        self.norm.end(hidden, &work.branch);
    }
}

impl SelfAttention {
    /// Every token of a sentence sees the whole sentence.
    fn encode(
        &self,
        hidden: &mut [f32],
        ranges: &[Range<usize>],
        rows: &[Vec<u32>],
        heads: usize,
        work: &mut Workspace,
    ) {
        let width = self.norm.weight.len();
        let input = self.norm.begin(hidden, &mut work.normed);
        self.qkv.run(input, &mut work.rows, &mut work.projected);
        work.branch.clear();
        append_keys(&work.projected, width, &mut work.branch);
        work.attended.resize(hidden.len(), 0.0);
        for (range, rows) in ranges.iter().zip(rows) {
            for i in range.clone() {
                let seen = Attend { cache: &work.branch, rows, heads, scale: scale(width, heads) };
                let q = &work.projected[i * 3 * width..][..width];
                attend(q, seen, &mut work.scores, &mut work.attended[i * width..][..width]);
            }
        }
        self.out.run(&work.attended, &mut work.rows, &mut work.branch);
        self.norm.end(hidden, &work.branch);
    }

    /// The new keys and values join the cache, and every query sees its own past.
    fn step(
        &self,
        hidden: &mut [f32],
        queries: &[Query<'_>],
        cache: &mut Vec<f32>,
        heads: usize,
        work: &mut Workspace,
    ) {
        let width = self.norm.weight.len();
        let input = self.norm.begin(hidden, &mut work.normed);
        self.qkv.run(input, &mut work.rows, &mut work.projected);
        append_keys(&work.projected, width, cache);
        work.attended.resize(hidden.len(), 0.0);
        for (i, query) in queries.iter().enumerate() {
            let seen = Attend { cache, rows: query.seen, heads, scale: scale(width, heads) };
            let q = &work.projected[i * 3 * width..][..width];
            attend(q, seen, &mut work.scores, &mut work.attended[i * width..][..width]);
        }
        self.out.run(&work.attended, &mut work.rows, &mut work.branch);
        self.norm.end(hidden, &work.branch);
    }
}

/// Keys and values of `[T, 3C]` rows of queries, keys, values.
fn append_keys(qkv: &[f32], width: usize, cache: &mut Vec<f32>) {
    for row in qkv.chunks_exact(3 * width) {
        cache.extend_from_slice(&row[width..]);
    }
}

impl CrossAttention {
    fn step(
        &self,
        hidden: &mut [f32],
        queries: &[Query<'_>],
        cross: &[f32],
        sentences: &[Vec<u32>],
        heads: usize,
        work: &mut Workspace,
    ) {
        let width = self.norm.weight.len();
        let input = self.norm.begin(hidden, &mut work.normed);
        self.q.run(input, &mut work.rows, &mut work.projected);
        work.attended.resize(hidden.len(), 0.0);
        for (i, query) in queries.iter().enumerate() {
            let rows = &sentences[query.sentence];
            let seen = Attend { cache: cross, rows, heads, scale: scale(width, heads) };
            let q = &work.projected[i * width..][..width];
            attend(q, seen, &mut work.scores, &mut work.attended[i * width..][..width]);
        }
        self.out.run(&work.attended, &mut work.rows, &mut work.branch);
        self.norm.end(hidden, &work.branch);
    }
}

/// 1 / √D
fn scale(width: usize, heads: usize) -> f32 {
    ((width / heads) as f32).powf(-0.5)
}
