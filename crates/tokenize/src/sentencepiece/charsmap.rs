//! Normalisation rules as SentencePiece compiles them (`precompiled_charsmap`).
//!
//! Layout: the length of the trie in bytes (u32), the trie (little-endian u32 units), then the
//! replacement texts, each ended by NUL. The trie is a *double array* as the library darts-clone
//! writes it: unit `u` holds a label in bits 0–7 and 31, "a value is here" in bit 8, and the
//! distance to its children in bits 10–30, eight bits further left if bit 9 is set.

use super::proto::Reason;

pub struct Charsmap {
    units: Vec<u32>,
    replacements: String,
}

impl Charsmap {
    /// # Errors
    /// The lengths do not fit, or the replacements are no UTF-8.
    pub fn parse(blob: &[u8]) -> Result<Self, Reason> {
        let broken = |what: &str| format!("its normalisation rules are broken: {what}");
        let (length, rest) = blob.split_first_chunk::<4>().ok_or_else(|| broken("they have no length"))?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > rest.len() || !length.is_multiple_of(4) {
            return Err(broken(&format!("a trie of {length} bytes in a block of {}", rest.len())));
        }
        let (trie, replacements) = rest.split_at(length);
        let units = trie.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        let replacements = std::str::from_utf8(replacements).map_err(|_| broken("a text is not UTF-8"))?;
        Ok(Charsmap { units, replacements: replacements.to_string() })
    }

    /// The longest rule that `text` begins with: how many bytes it replaces, and by what.
    pub fn longest_rule(&self, text: &str) -> Option<(usize, &str)> {
        let mut found = None;
        let mut at = children(*self.units.first()?);
        for (i, &byte) in text.as_bytes().iter().enumerate() {
            at ^= byte as usize;
            let Some(&unit) = self.units.get(at) else { break };
            if unit & 0x8000_00FF != u32::from(byte) {
                break;
            }
            at ^= children(unit);
            if unit & 0x100 != 0 {
                found = self.units.get(at).map(|leaf| (i + 1, (leaf & 0x7FFF_FFFF) as usize));
            }
        }
        let (length, start) = found?;
        // A rule that ends inside a character can only come from a damaged file.
        let text_is_whole = text.is_char_boundary(length);
        let replacement = self.replacements.get(start..).filter(|_| text_is_whole)?;
        Some((length, replacement.split('\0').next().unwrap_or_default()))
    }
}

/// The distance from a unit to its children.
fn children(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 0x200) >> 6)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn broken_blocks_are_refused() {
        let error = |blob: &[u8]| Charsmap::parse(blob).err().unwrap();
        assert!(error(b"abc").contains("no length"));
        assert!(error(&[8, 0, 0, 0, 1, 2, 3, 4]).contains("trie of 8 bytes in a block of 4"));
        assert!(error(&[0, 0, 0, 0, 0xFF]).contains("not UTF-8"));
    }

    proptest! {
        #[test]
        fn any_block_is_walked_without_a_fault(units in prop::collection::vec(any::<u32>(), 0..64), text in ".{0,8}") {
            let mut blob = (units.len() as u32 * 4).to_le_bytes().to_vec();
            blob.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
            blob.extend("я\0ю".as_bytes());
            let _ = Charsmap::parse(&blob).unwrap().longest_rule(&text);
        }
    }
}
