//! Nearly the same example again: a comma, an article, one word in a long answer.
//!
//! Candidates come from MinHash (A. Broder, "On the resemblance and containment of documents", 1997)
//! with banding: [`BANDS`] × [`ROWS`] minima over shingles of words; two examples that agree in a whole band
//! are compared. The comparison itself is exact and field by field: a long shared input does not make
//! two different questions alike, and different numbers never do.

use super::{Finding, Rule, RuleDescriptor};
use crate::example::{Body, Example};
use crate::text::{fold, tokens};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

pub(super) const DESCRIPTOR: RuleDescriptor = RuleDescriptor {
    rule: Rule::NearDuplicates,
    drops: "an example nearly equal to an earlier one in every field",
    defaults: "{ similarity = 0.8 }",
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Jaccard similarity of the words and word pairs of every field from which two examples count as one (0 to 1].
    pub similarity: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { similarity: 0.8 }
    }
}

/// 12 bands of 4 rows find a pair of similarity s with probability 1 - (1 - s^4)^12: 0.998 at 0.8.
const BANDS: usize = 12;
const ROWS: usize = 4;
/// A band shared by more examples than this is a common phrase; only the latest ones are compared.
const MAX_CHAIN: usize = 32;

/// For every example that `skip` does not name its finding, if an earlier one is nearly equal to it.
pub(crate) fn find(examples: &[Example], skip: &[bool], options: &Options) -> Vec<Option<Finding>> {
    let to_compare = examples.par_iter().zip(skip);
    let bands: Vec<_> = to_compare.map(|(example, skip)| (!skip).then(|| bands(&example.body))).collect();
    let mut index = Index::new(examples.len());
    let mut compared = HashSet::new();
    let mut find_one = |(at, bands): (usize, &Option<Bands>)| {
        let bands = bands.as_ref()?;
        compared.clear();
        let original =
            index.sharing_a_band(bands).filter(|&other| compared.insert(other)).find_map(|other| {
                let similarity = similarity(&examples[other].body, &examples[at].body);
                (similarity >= options.similarity).then_some((&examples[other], similarity))
            });
        let Some((original, similarity)) = original else {
            index.insert(at, bands);
            return None;
        };
        Some((Rule::NearDuplicates, format!("{:.0} % like example {}", 100.0 * similarity, original.id)))
    };
    bands.iter().enumerate().map(&mut find_one).collect()
}

/// One key per band of a MinHash signature.
type Bands = [u64; BANDS];

/// Which examples have a band's key: a chain per key, from the latest example to the first.
struct Index {
    latest: [HashMap<u64, u32>; BANDS],
    /// For each example the one before it in each of its chains.
    before: Vec<[Option<u32>; BANDS]>,
}

impl Index {
    fn new(examples: usize) -> Self {
        Self { latest: Default::default(), before: vec![[None; BANDS]; examples] }
    }

    fn insert(&mut self, example: usize, bands: &Bands) {
        for (band, &key) in bands.iter().enumerate() {
            self.before[example][band] = self.latest[band].insert(key, example as u32);
        }
    }

    /// With repetitions; at most [`MAX_CHAIN`] per band.
    fn sharing_a_band<'a>(&'a self, bands: &'a Bands) -> impl Iterator<Item = usize> + 'a {
        bands.iter().enumerate().flat_map(move |(band, key)| {
            let latest = self.latest[band].get(key).copied();
            let chain = std::iter::successors(latest, move |&example| self.before[example as usize][band]);
            chain.take(MAX_CHAIN).map(|example| example as usize)
        })
    }
}

/// One key per band of the example's MinHash signature.
fn bands(body: &Body) -> Bands {
    let mut seeds = [0; BANDS * ROWS];
    for (i, seed) in seeds.iter_mut().enumerate() {
        *seed = mix(i as u64 + 1);
    }
    let mut minima = [u64::MAX; BANDS * ROWS];
    for (_, text) in body.fields() {
        for shingle in shingles(&fold(text)) {
            for (minimum, seed) in minima.iter_mut().zip(seeds) {
                *minimum = (*minimum).min((shingle ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            }
        }
    }
    let mut keys = [0; BANDS];
    for (key, rows) in keys.iter_mut().zip(minima.chunks_exact(ROWS)) {
        *key = rows.iter().fold(0, |key, &row| mix(key ^ row));
    }
    keys
}

/// Hashes of the words and of the pairs of neighbouring words of a folded text: sorted, each once.
fn shingles(folded: &str) -> Vec<u64> {
    let mut all = Vec::with_capacity(folded.len() / 2);
    let mut previous = 0;
    tokens(folded, |word| {
        let hash = hash(word);
        all.push(hash);
        all.push(mix(previous ^ hash.rotate_left(17)));
        previous = hash;
    });
    all.sort_unstable();
    all.dedup();
    all
}

/// The least similarity over the fields of two examples; 0 where shapes or numbers differ.
fn similarity(a: &Body, b: &Body) -> f64 {
    let (mut a, mut b) = (a.fields(), b.fields());
    let mut least: f64 = 1.0;
    loop {
        match (a.next(), b.next()) {
            (None, None) => return least,
            (Some((name_a, a)), Some((name_b, b))) if name_a == name_b => {
                least = least.min(field_similarity(&fold(a), &fold(b)));
            }
            _ => return 0.0,
        }
    }
}

fn field_similarity(a: &str, b: &str) -> f64 {
    if a == b {
        return 1.0;
    }
    if numbers(a) != numbers(b) {
        return 0.0;
    }
    let (a, b) = (shingles(a), shingles(b));
    let shared = a.iter().filter(|shingle| b.binary_search(shingle).is_ok()).count();
    let all = a.len() + b.len() - shared;
    if all == 0 { 1.0 } else { shared as f64 / all as f64 }
}

/// The words with digits, and the signs between them, in order.
fn numbers(folded: &str) -> Vec<&str> {
    let mut all = Vec::new();
    tokens(folded, |word| {
        if word.contains(|c: char| c.is_numeric() || !c.is_alphabetic()) {
            all.push(word);
        }
    });
    all
}

/// FNV-1a with a final mix: stable across runs, machines and versions.
fn hash(word: &str) -> u64 {
    let fnv = |h: u64, b: u8| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
    mix(word.bytes().fold(0xcbf2_9ce4_8422_2325, fnv))
}

/// The finaliser of splitmix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::super::testing::alpaca;
    use super::*;

    const LONG: &str = "Bees visit flowers to collect nectar and pollen, and while they do so they carry \
        pollen from one flower to the next, which lets the plants make seeds and fruit for the next year.";

    fn dropped(rows: &[Body]) -> Vec<bool> {
        let examples: Vec<_> = rows.iter().cloned().map(Example::new).collect();
        let found = find(&examples, &vec![false; rows.len()], &Options::default());
        found.iter().map(Option::is_some).collect()
    }

    #[test]
    fn a_word_in_a_long_answer_makes_no_new_example() {
        let other = LONG.replace("while they do so they", "as they do so they");
        let rows =
            [alpaca("Why do bees visit flowers?", "", LONG), alpaca("why do bees visit flowers", "", &other)];
        assert_eq!(dropped(&rows), [false, true]);
    }

    #[test]
    fn another_question_about_the_same_input_stays() {
        let rows = [
            alpaca("Name the insect.", LONG, "The bee."),
            alpaca("What do plants make?", LONG, "Seeds and fruit."),
            alpaca("Name the insect.", LONG, "The bumblebee."),
        ];
        assert_eq!(dropped(&rows), [false, false, false]);
    }

    #[test]
    fn other_numbers_and_signs_stay() {
        let rows = [
            alpaca("Work out the sum of the two numbers that are given below.", "", "3 + 4 = 7"),
            alpaca("Work out the sum of the two numbers that are given below.", "", "3 + 5 = 8"),
            alpaca("Work out the sum of the two numbers that are given below.", "", "3 - 4 = 7"),
        ];
        assert_eq!(dropped(&rows), [false, false, false]);
    }

    #[test]
    fn what_another_rule_dropped_is_no_original() {
        let examples = [alpaca("Why?", "", LONG), alpaca("Why?", "", LONG)].map(Example::new);
        let found = find(&examples, &[true, false], &Options::default());
        assert!(found.iter().all(Option::is_none));
    }

    #[test]
    fn a_thousand_answers_with_one_beginning_are_compared_in_time() {
        let rows: Vec<_> = (0..1000).map(|i| alpaca("Why?", "", &format!("{LONG} {}", mix(i)))).collect();
        assert_eq!(dropped(&rows).iter().filter(|&&d| d).count(), 0);
    }

    /// The banding finds what comparing every pair finds.
    #[test]
    fn banding_agrees_with_all_pairs() {
        let words: Vec<&str> = LONG.split(' ').collect();
        let rows: Vec<_> = (0..150usize)
            .map(|i| {
                let skipped =
                    [mix(i as u64) as usize % words.len(), mix(i as u64 + 999) as usize % words.len()];
                let kept: Vec<_> =
                    (0..words.len()).filter(|w| !skipped.contains(w)).map(|w| words[w]).collect();
                alpaca("Why?", "", &kept.join(" "))
            })
            .collect();
        let mut kept: Vec<&Body> = Vec::new();
        let naive: Vec<_> = rows
            .iter()
            .map(|body| {
                let near =
                    kept.iter().any(|earlier| similarity(earlier, body) >= Options::default().similarity);
                if !near {
                    kept.push(body);
                }
                near
            })
            .collect();
        assert!(naive.iter().any(|&near| near) && kept.len() > 5);
        assert_eq!(dropped(&rows), naive);
    }
}
