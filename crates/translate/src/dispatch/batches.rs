//! Which segments go into one request.

use crate::engine::{Engine, Limits};
use crate::join;
use std::ops::Range;

/// The limits of `engine`, with room for the separators that join its segments.
pub(crate) fn request_limits(engine: &dyn Engine) -> Limits {
    let joint = if engine.takes_one_text() { join::OVERHEAD } else { 0 };
    Limits { joint, ..engine.limits() }
}

/// Cut `segments` into runs that respect `limits`; a segment over the limit is a run of its own.
pub(crate) fn batches(segments: &[&str], limits: Limits) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let (mut start, mut characters) = (0, 0usize);
    for (i, segment) in segments.iter().enumerate() {
        let length = segment.chars().count();
        let joint = if i > start { limits.joint } else { 0 };
        let total = characters.saturating_add(joint).saturating_add(length);
        if i > start && (i - start >= limits.segments.max(1) || total > limits.characters) {
            out.push(start..i);
            (start, characters) = (i, length);
        } else {
            characters = total;
        }
    }
    if start < segments.len() {
        out.push(start..segments.len());
    }
    out
}

/// The characters that a request of these segments sends.
pub(crate) fn characters(segments: &[&str], limits: &Limits) -> usize {
    let own: usize = segments.iter().map(|s| s.chars().count()).sum();
    own + limits.joint * segments.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(characters: usize, segments: usize, joint: usize) -> Limits {
        Limits { characters, segments, joint, ..Limits::UNLIMITED }
    }

    #[test]
    fn a_batch_keeps_every_limit_and_no_segment_is_left_out() {
        let segments = ["ab", "cd", "ef", "привет мир!", "gh", "i"];
        assert_eq!(batches(&segments, limits(4, 50, 0)), [0..2, 2..3, 3..4, 4..6]);
        assert_eq!(batches(&segments, limits(4, 1, 0)).len(), 6);
        assert_eq!(batches(&segments, limits(5, 50, 3)), [0..1, 1..2, 2..3, 3..4, 4..5, 5..6]);
        assert_eq!(batches(&segments, limits(7, 50, 3)), [0..2, 2..3, 3..4, 4..6]);
        assert_eq!(characters(&segments[..2], &limits(7, 50, 3)), 7);
        assert!(batches(&[], limits(5, 5, 0)).is_empty());
    }
}
