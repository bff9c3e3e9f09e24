//! The same example again, letter case and spacing aside.

use super::{Finding, Rule, RuleDescriptor};
use crate::example::Example;
use crate::text::fold;
use rayon::prelude::*;
use std::collections::HashMap;

pub(super) const DESCRIPTOR: RuleDescriptor = RuleDescriptor {
    rule: Rule::Duplicates,
    drops: "an example equal to an earlier one, letter case and spacing aside",
    defaults: "true",
};

/// For every example its finding, if an earlier one is equal to it.
pub(crate) fn find(examples: &[Example]) -> Vec<Option<Finding>> {
    let keys: Vec<blake3::Hash> = examples.par_iter().map(key).collect();
    let mut first: HashMap<blake3::Hash, usize> = HashMap::with_capacity(examples.len());
    let is_repeated = |(at, key)| {
        let original = *first.entry(key).or_insert(at);
        (original != at).then(|| (Rule::Duplicates, format!("same as example {}", examples[original].id)))
    };
    keys.into_iter().enumerate().map(is_repeated).collect()
}

fn key(example: &Example) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for (name, text) in example.body.fields() {
        let folded = fold(text);
        // The length keeps the border between fields; who speaks matters, which shape does not.
        hasher.update(&[u8::from(name.is_answer())]).update(&(folded.len() as u64).to_le_bytes());
        hasher.update(folded.as_bytes());
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::super::testing::alpaca;
    use super::*;

    #[test]
    fn the_first_stays_and_is_named() {
        let rows = [
            alpaca("Add.", "1 + 1", "2"),
            alpaca("add. ", "1 +\n1", "2"),
            alpaca("Add.", "1 - 1", "2"),
            alpaca("Add.", "", "1 + 12"),
            alpaca("Add.", "1 + 1", "2"),
        ];
        let examples: Vec<_> = rows.into_iter().map(Example::new).collect();
        let found = find(&examples);
        let dropped: Vec<_> = found.iter().map(Option::is_some).collect();
        assert_eq!(dropped, [false, true, false, false, true]);
        assert_eq!(found[4].as_ref().unwrap().1, format!("same as example {}", examples[0].id));
    }
}
