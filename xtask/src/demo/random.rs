//! Reproducible choices: one seed, and a named ChaCha stream for each purpose, so that a change in
//! one part of the texts leaves the others byte for byte as they were.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The seed of all demo texts. Another seed gives other texts of the same kinds.
pub const SEED: u64 = 20_230_406;

/// A stream of random numbers that belongs to one purpose.
pub struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream called `name` under `seed`.
    pub fn named(seed: u64, name: &str) -> Self {
        let hash = blake3::hash(name.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(u64::from_le_bytes(first));
        Stream(rng)
    }

    /// A number below `n` (which is not 0), each equally likely: Lemire's multiplication, whose bias
    /// is under n / 2⁶⁴.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// One of `items`, which is not empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Fisher and Yates's shuffle.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(name: &str) -> Vec<usize> {
        let mut stream = Stream::named(1, name);
        (0..8).map(|_| stream.below(1000)).collect()
    }

    #[test]
    fn a_name_always_gives_the_same_stream_and_two_names_different_ones() {
        assert_eq!(draws("a"), draws("a"));
        assert_ne!(draws("a"), draws("b"));
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..100).collect();
        Stream::named(1, "shuffle").shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
