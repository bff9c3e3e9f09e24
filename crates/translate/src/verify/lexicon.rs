//! Which target words answer which source words, learnt from the very pairs that are to be checked, and so
//! whose translation a text is.
//!
//! Checks that look at one pair cannot tell an answer from that to the next segment, where a service lost one
//! separator and made up another, or left the right order. Most pairs of a run are right, so its own words
//! tell: *garden* comes with *сад-*, and a target without any of its source's companions translates something
//! else. The score is the log-likelihood ratio of naive Bayes: is the pair a translation, or two texts that
//! met by chance? A word that was seen too seldom, or is everywhere, says nothing; small data sets are not judged.

use std::collections::HashMap;
use tolmach_corpus::Script;

/// Pairs that are learnt from; more would tell little more, and take memory.
const MOST_PAIRS: usize = 30_000;
/// Pairs in which a source word must be for its companions to be known.
const SEEN: usize = 6;
/// Pairs of a source word that are looked at.
const LOOKED_AT: usize = 300;
/// Companions of a source word: its translations, or some forms of them.
const COMPANIONS: usize = 4;
/// Letters of a word that count; what follows is mostly inflection.
const STEM: usize = 5;

/// Below this score a pair is no translation.
const UNRELATED: f64 = -5.0;
/// Above this score a pair is a translation.
const CLEAR: f64 = 2.0;
/// So much better another source must explain a target to be the likelier one.
const MARGIN: f64 = 4.0;
/// Above this score of what only the other source says, a target translates that as well.
const TOGETHER: f64 = 5.0;

/// Evidence of one source word.
#[derive(Clone, Debug)]
struct Entry {
    companions: Vec<u32>,
    /// What it adds to the score if one of them is there, and if none is.
    hit: f64,
    miss: f64,
}

/// What the pairs of a run have taught.
#[derive(Debug, Default)]
pub struct Lexicon {
    entries: HashMap<String, Entry>,
    targets: HashMap<String, u32>,
}

/// The words of one target, as the lexicon knows them.
struct Known(Vec<u32>);

impl Lexicon {
    /// Learn from (source, target) pairs, of which most must be right.
    pub fn learn(pairs: &[(&str, &str)]) -> Self {
        let stride = pairs.len().div_ceil(MOST_PAIRS).max(1);
        let pairs: Vec<&(&str, &str)> = pairs.iter().step_by(stride).collect();
        let (mut sources, mut targets) = (Interner::default(), Interner::default());
        let of_source: Vec<Vec<u32>> = pairs.iter().map(|(source, _)| sources.ids(source)).collect();
        let of_target: Vec<Vec<u32>> = pairs.iter().map(|(_, target)| targets.ids(target)).collect();
        let mut places: Vec<Vec<u32>> = vec![Vec::new(); sources.ids.len()];
        for (pair, words) in of_source.iter().enumerate() {
            words.iter().for_each(|&word| places[word as usize].push(pair as u32));
        }
        let mut spread = vec![0usize; targets.ids.len()];
        of_target.iter().flatten().for_each(|&word| spread[word as usize] += 1);

        let statistics = Statistics { of_target: &of_target, spread: &spread };
        let entry = |(word, id): (String, u32)| Some((word, statistics.entry(&places[id as usize])?));
        let entries: HashMap<String, Entry> = sources.ids.into_iter().filter_map(entry).collect();
        let mut used: Vec<u32> =
            entries.values().flat_map(|entry| entry.companions.iter().copied()).collect();
        used.sort_unstable();
        let targets = targets.ids.into_iter().filter(|(_, id)| used.binary_search(id).is_ok()).collect();
        Lexicon { entries, targets }
    }

    fn known(&self, target: &str) -> Known {
        let mut ids: Vec<u32> = words(target).filter_map(|word| self.targets.get(&word).copied()).collect();
        ids.sort_unstable();
        Known(ids)
    }

    /// The evidence of the words of `source`, without those in `without`, for `target` being its translation, in
    /// nats; 0 where nothing is known.
    fn score(&self, source: &str, without: &[String], target: &Known) -> f64 {
        let mut seen = Vec::new();
        let mut score = 0.0;
        for word in words(source) {
            if let Some(entry) =
                self.entries.get(&word).filter(|_| !seen.contains(&word) && !without.contains(&word))
            {
                let is_there = entry.companions.iter().any(|word| target.0.binary_search(word).is_ok());
                score += if is_there { entry.hit } else { entry.miss };
                seen.push(word);
            }
        }
        score
    }

    /// Whether the words of `target` tell of `other` rather than of `source`, or of both where it is long enough
    /// for both. What both sources say tells nothing.
    fn tells_of(&self, other: &str, source: &str, target: &str, known: &Known) -> bool {
        let (of_other, of_source): (Vec<String>, Vec<String>) =
            (words(other).collect(), words(source).collect());
        let evidence = self.score(other, &of_source, known);
        let length = |text: &str| text.chars().count();
        let holds_both = length(target) > length(source) + length(other) / 2;
        holds_both && evidence > TOGETHER || evidence > self.score(source, &of_other, known) + MARGIN
    }

    /// Whose translation `target` seems to be: that of `source`, or rather of anything else, such as one of `others`.
    pub fn judge<'a>(
        &self,
        source: &str,
        target: &str,
        others: impl IntoIterator<Item = &'a &'a str>,
    ) -> Relation {
        if self.entries.is_empty() {
            return Relation::Unknown;
        }
        let known = self.known(target);
        let own = self.score(source, &[], &known);
        if own < UNRELATED || others.into_iter().any(|other| self.tells_of(other, source, target, &known)) {
            Relation::Unrelated
        } else if own > CLEAR {
            Relation::Related
        } else {
            Relation::Unknown
        }
    }
}

/// What the words of two texts tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// One translates the other.
    Related,
    /// Too few of the words are known.
    Unknown,
    /// One translates something else.
    Unrelated,
}

/// What is counted over all pairs.
struct Statistics<'a> {
    of_target: &'a [Vec<u32>],
    /// In how many pairs each target word is.
    spread: &'a [usize],
}

impl Statistics<'_> {
    /// What a source word in the pairs `places` tells, if anything.
    fn entry(&self, places: &[u32]) -> Option<Entry> {
        let all = self.of_target.len();
        if places.len() < SEEN || places.len() * 4 > all {
            return None;
        }
        let stride = places.len().div_ceil(LOOKED_AT);
        let looked_at: Vec<&[u32]> =
            places.iter().step_by(stride).map(|&pair| self.of_target[pair as usize].as_slice()).collect();
        let companions = self.companions(&looked_at);
        let hits =
            looked_at.iter().filter(|words| words.iter().any(|word| companions.contains(word))).count();
        // Laplace's rule keeps a word that never failed yet from being believed without end.
        let right = (hits as f64 + 0.5) / (looked_at.len() as f64 + 2.0);
        let by_chance: usize = companions.iter().map(|&word| self.spread[word as usize]).sum();
        let by_chance = ((by_chance as f64 + 0.5) / (all as f64 + 1.0)).min(0.9);
        (right > 0.4 && right > 3.0 * by_chance).then(|| Entry {
            companions,
            hit: (right / by_chance).ln(),
            miss: ((1.0 - right) / (1.0 - by_chance)).ln(),
        })
    }

    /// The target words that are much more often in these pairs than in others, the most frequent first.
    fn companions(&self, looked_at: &[&[u32]]) -> Vec<u32> {
        let mut counts: HashMap<u32, usize> = HashMap::new();
        looked_at.iter().copied().flatten().for_each(|&word| *counts.entry(word).or_default() += 1);
        let share = looked_at.len() as f64 / self.of_target.len() as f64;
        let is_companion = |&(word, count): &(u32, usize)| {
            count >= 3 && count as f64 > 5.0 * share * self.spread[word as usize] as f64
        };
        let mut found: Vec<(u32, usize)> = counts.into_iter().filter(is_companion).collect();
        found.sort_unstable_by_key(|&(word, count)| (std::cmp::Reverse(count), word));
        found.truncate(COMPANIONS);
        found.into_iter().map(|(word, _)| word).collect()
    }
}

#[derive(Default)]
struct Interner {
    ids: HashMap<String, u32>,
}

impl Interner {
    /// The different words of a text.
    fn ids(&mut self, text: &str) -> Vec<u32> {
        let mut all = Vec::new();
        for word in words(text) {
            let next = self.ids.len() as u32;
            all.push(*self.ids.entry(word).or_insert(next));
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// The beginnings of the words of a text in lower case; where words are not spaced, its characters.
fn words(text: &str) -> impl Iterator<Item = String> {
    let is_dense = |c: char| matches!(Script::of(c), Some(Script::Han | Script::Kana | Script::Hangul));
    let spaced = text.split(move |c: char| !c.is_alphabetic() || is_dense(c)).filter(|word| !word.is_empty());
    let stems = spaced.map(|word| word.chars().flat_map(char::to_lowercase).take(STEM).collect());
    stems.chain(text.chars().filter(move |&c| is_dense(c)).map(String::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of 40 words each way, in every order, as a data set has them.
    fn pairs() -> Vec<(String, String)> {
        let words: Vec<String> = (0..40u8)
            .map(|i| format!("{}{}word", (b'a' + i % 26) as char, (b'a' + i / 26) as char))
            .collect();
        let target = |word: &str| word.chars().take(2).chain("мир".chars()).collect::<String>();
        let sentence = |i: usize| {
            let picked = [i % 40, (i + 3 + i / 40) % 40, (i + 11 + i / 40) % 40, (i + 26) % 40];
            let source: Vec<&str> = picked.iter().map(|&at| words[at].as_str()).collect();
            let translated: Vec<String> = source.iter().rev().map(|word| target(word)).collect();
            (source.join(" "), translated.join(" "))
        };
        (0..400).map(sentence).collect()
    }

    #[test]
    fn the_translation_of_another_text_is_noticed_and_a_right_one_is_not() {
        let pairs = pairs();
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(s, t)| (s.as_str(), t.as_str())).collect();
        let lexicon = Lexicon::learn(&pairs);
        for window in pairs.windows(2) {
            let [(source, target), (next, of_next)] = window else { panic!("windows of 2") };
            assert_eq!(lexicon.judge(source, target, &[*next]), Relation::Related, "{source} → {target}");
            assert_eq!(lexicon.judge(source, of_next, &[*next]), Relation::Unrelated, "{source} → {of_next}");
        }
    }

    #[test]
    fn a_few_pairs_teach_nothing() {
        let pairs = [("a b c", "а б ц"), ("d e f", "д е ф")];
        let lexicon = Lexicon::learn(&pairs);
        assert_eq!(lexicon.judge("a b c", "д е ф", &["d e f"]), Relation::Unknown);
        assert_eq!(Lexicon::learn(&[]).judge("a", "б", &[]), Relation::Unknown);
    }

    #[test]
    fn words_are_stems_and_where_none_are_spaced_characters() {
        assert_eq!(words("Садовник-огородник, 2 дома").collect::<Vec<_>>(), ["садов", "огоро", "дома"]);
        assert_eq!(words("我爱 Rust").collect::<Vec<_>>(), ["rust", "我", "爱"]);
    }
}
