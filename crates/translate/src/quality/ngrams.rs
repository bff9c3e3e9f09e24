//! N-grams of a segment as sorted multisets: counting, matching and merging are then one walk each.

/// The bits of one symbol of an n-gram of characters: a code point needs 21, so six fit into 126.
pub(super) const CHARACTER_BITS: u32 = 21;
/// The bits of one symbol of an n-gram of words: four fit into 128.
pub(super) const WORD_BITS: u32 = 32;

/// Every run of `order` symbols, packed into one number, sorted; a run that occurs twice is there twice.
/// Exact, not a hash: `order` symbols of `bits` bits must fit into 128.
pub(super) fn sorted_ngrams(symbols: &[u32], order: usize, bits: u32) -> Vec<u128> {
    debug_assert!(order as u32 * bits <= u128::BITS);
    let pack = |run: &[u32]| run.iter().fold(0, |packed, &symbol| (packed << bits) | u128::from(symbol));
    let mut ngrams: Vec<u128> = symbols.windows(order).map(pack).collect();
    ngrams.sort_unstable();
    ngrams
}

/// How many members two sorted multisets have in common: Σ min(count in a, count in b).
pub(super) fn matches(a: &[u128], b: &[u128]) -> u64 {
    let (mut i, mut j, mut count) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                (i, j, count) = (i + 1, j + 1, count + 1);
            }
        }
    }
    count
}

/// The union of two sorted multisets: each member max(count in a, count in b) times.
pub(super) fn union(a: &[u128], b: &[u128]) -> Vec<u128> {
    let mut all = Vec::with_capacity(a.len().max(b.len()));
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        let smaller = a[i].min(b[j]);
        i += usize::from(a[i] == smaller);
        j += usize::from(b[j] == smaller);
        all.push(smaller);
    }
    all.extend_from_slice(&a[i..]);
    all.extend_from_slice(&b[j..]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn counts(ngrams: &[u128]) -> HashMap<u128, u64> {
        let mut counts = HashMap::new();
        for ngram in ngrams {
            *counts.entry(*ngram).or_insert(0) += 1;
        }
        counts
    }

    #[test]
    fn the_walks_agree_with_counting() {
        let text = |seed: u32| -> Vec<u32> { (0..60u32).map(|i| (i * i * seed + i) % 5).collect() };
        for (seed, order) in [(1, 1), (2, 2), (3, 3), (7, 4)] {
            let a = sorted_ngrams(&text(seed), order, WORD_BITS);
            let b = sorted_ngrams(&text(seed + 4), order, WORD_BITS);
            let (in_a, in_b) = (counts(&a), counts(&b));
            let count = |of: &HashMap<u128, u64>, ngram: &u128| of.get(ngram).copied().unwrap_or(0);
            assert_eq!(matches(&a, &b), in_a.iter().map(|(n, c)| count(&in_b, n).min(*c)).sum::<u64>());
            let both = union(&a, &b);
            assert!(both.is_sorted());
            for (ngram, c) in counts(&both) {
                assert_eq!(c, count(&in_a, &ngram).max(count(&in_b, &ngram)));
            }
        }
    }

    #[test]
    fn ngrams_longer_than_the_text_are_none_and_the_widest_do_not_collide() {
        assert!(sorted_ngrams(&[1, 2], 3, WORD_BITS).is_empty());
        let last = u32::from(char::MAX);
        let ngrams = sorted_ngrams(&[last, 0, last, last, last, last, 0], 6, CHARACTER_BITS);
        assert_eq!(ngrams.len(), 2);
        assert_ne!(ngrams[0], ngrams[1]);
    }
}
