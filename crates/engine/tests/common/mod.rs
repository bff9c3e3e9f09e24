//! What the engine's tests share: random numbers, random attention layouts, norm-wise comparison.
#![allow(dead_code)] // each test binary uses its own part

use std::ops::Range;
use tolmach_engine::{Segment, random};

pub mod scenarios;

/// A stream of random numbers that depends on its name only.
pub struct Random {
    key: u64,
    next: u64,
}

impl Random {
    pub fn new(name: &str) -> Self {
        let purpose: Vec<u64> = name.bytes().map(u64::from).collect();
        Self { key: random::key(7, &purpose), next: 0 }
    }

    fn bits(&mut self) -> u64 {
        self.next += 1;
        random::mix(self.key ^ random::mix(self.next))
    }

    /// Uniform in −1..1.
    pub fn value(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    pub fn values(&mut self, len: usize) -> Vec<f64> {
        (0..len).map(|_| self.value()).collect()
    }

    pub fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value() as f32).collect()
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    pub fn within(&mut self, range: Range<usize>) -> usize {
        range.start + self.below(range.len())
    }

    pub fn ids(&mut self, len: usize, end: usize) -> Vec<u32> {
        (0..len).map(|_| self.below(end) as u32).collect()
    }
}

/// Segments laid end to end, as in training.
pub fn packed(lengths: &[usize]) -> Vec<Segment> {
    let mut start = 0;
    lengths
        .iter()
        .map(|len| {
            let rows = start..start + len;
            start += len;
            Segment::whole(rows)
        })
        .collect()
}

/// Segments whose queries are the last of their keys, as with a KV cache: `(queries, keys)` each.
pub fn cached(lengths: &[(usize, usize)]) -> Vec<Segment> {
    let (mut q, mut kv) = (0, 0);
    lengths
        .iter()
        .map(|&(queries, keys)| {
            let segment = Segment::new(q..q + queries, kv..kv + keys);
            (q, kv) = (q + queries, kv + keys);
            segment
        })
        .collect()
}

/// Prefixes, each followed by the segments that share it: `(prefix, lengths)` each.
pub fn shared(groups: &[(usize, &[usize])]) -> Vec<Segment> {
    let mut segments = Vec::new();
    let mut start = 0;
    for (prefix, lengths) in groups {
        let prefix = start..start + prefix;
        start = prefix.end;
        segments.push(Segment::whole(prefix.clone()));
        for len in *lengths {
            segments.push(Segment::after(prefix.clone(), start..start + len));
            start += len;
        }
    }
    segments
}

/// ‖got − want‖ / ‖want‖ is below `tolerance`.
pub fn assert_close(what: &str, got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let size = norm(&mut want.iter().copied());
    let error = norm(&mut got.iter().zip(want).map(|(g, w)| g - w));
    // Written so that a NaN fails.
    let close = error <= tolerance * size;
    assert!(close, "{what}: ‖difference‖ {error:e}, ‖expected‖ {size:e}, tolerance {tolerance:e}");
}
