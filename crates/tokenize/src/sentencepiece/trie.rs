//! A read-only map from byte strings, walked one byte at a time.

use super::fast_hash::FastMap;
use std::collections::VecDeque;
use std::ops::Range;

const NONE: u32 = u32::MAX;

/// Nodes are numbered breadth first, so the children of a node lie side by side: node `n` has the
/// edges `edges[first_edge[n]..first_edge[n + 1]]`, sorted by label.
pub struct Trie {
    first_edge: Vec<u32>,
    labels: Vec<u8>,
    targets: Vec<u32>,
    values: Vec<u32>,
    /// The root has too many children to search.
    root: Box<[u32; 256]>,
}

impl Trie {
    pub const ROOT: u32 = 0;

    /// Keys must differ; an empty key is ignored.
    pub fn new<'a>(entries: impl IntoIterator<Item = (&'a str, u32)>) -> Self {
        let unique: FastMap<&str, u32> = entries.into_iter().collect();
        let mut keys: Vec<(&[u8], u32)> = unique.into_iter().map(|(k, v)| (k.as_bytes(), v)).collect();
        keys.sort_unstable();
        let mut trie = Trie {
            first_edge: Vec::new(),
            labels: Vec::new(),
            targets: Vec::new(),
            values: vec![NONE],
            root: Box::new([NONE; 256]),
        };
        // Each node waits with the keys below it and its depth.
        let mut waiting: VecDeque<(Range<usize>, usize)> = VecDeque::from([(0..keys.len(), 0)]);
        let mut node = 0;
        while let Some((mut range, depth)) = waiting.pop_front() {
            trie.first_edge.push(trie.labels.len() as u32);
            if keys.get(range.start).is_some_and(|(key, _)| key.len() == depth && !range.is_empty()) {
                trie.values[node] = if depth == 0 { NONE } else { keys[range.start].1 };
                range.start += 1;
            }
            while !range.is_empty() {
                let label = keys[range.start].0[depth];
                let same = keys[range.clone()].partition_point(|(key, _)| key[depth] == label);
                trie.labels.push(label);
                trie.targets.push(trie.values.len() as u32);
                trie.values.push(NONE);
                waiting.push_back((range.start..range.start + same, depth + 1));
                range.start += same;
            }
            node += 1;
        }
        trie.first_edge.push(trie.labels.len() as u32);
        for edge in 0..trie.first_edge[1] as usize {
            trie.root[trie.labels[edge] as usize] = trie.targets[edge];
        }
        trie
    }

    /// The node one byte further.
    pub fn step(&self, node: u32, byte: u8) -> Option<u32> {
        if node == Self::ROOT {
            let target = self.root[byte as usize];
            return (target != NONE).then_some(target);
        }
        let edges = self.first_edge[node as usize] as usize..self.first_edge[node as usize + 1] as usize;
        let at = self.labels[edges.clone()].iter().position(|&label| label == byte)?;
        Some(self.targets[edges.start + at])
    }

    /// The value of the key that ends at this node.
    pub fn value(&self, node: u32) -> Option<u32> {
        let value = self.values[node as usize];
        (value != NONE).then_some(value)
    }

    /// The longest key that the text begins with: its length in bytes and its value.
    pub fn longest_prefix(&self, text: &[u8]) -> Option<(usize, u32)> {
        let mut found = None;
        let mut node = Self::ROOT;
        for (at, &byte) in text.iter().enumerate() {
            let Some(next) = self.step(node, byte) else { break };
            node = next;
            if let Some(value) = self.value(node) {
                found = Some((at + 1, value));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_longest_key_is_found(keys in prop::collection::btree_set("[abя]{0,4}", 0..20), text in "[abя]{0,8}") {
            let trie = Trie::new(keys.iter().zip(0..).map(|(key, value)| (key.as_str(), value)));
            let expected = keys.iter().zip(0u32..).filter(|(key, _)| !key.is_empty() && text.starts_with(*key));
            let expected = expected.map(|(key, value)| (key.len(), value)).max();
            prop_assert_eq!(trie.longest_prefix(text.as_bytes()), expected);
        }
    }
}
