//! Words as numbers, so that n-grams of words pack like n-grams of characters.

use std::collections::HashMap;

/// Numbers the different words of a segment and its references.
#[derive(Default)]
pub(super) struct WordIds<'a> {
    ids: HashMap<&'a str, u32>,
}

impl<'a> WordIds<'a> {
    pub(super) fn id(&mut self, word: &'a str) -> u32 {
        let next = self.ids.len() as u32;
        *self.ids.entry(word).or_insert(next)
    }
}
