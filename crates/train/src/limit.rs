//! A bound on memory as people write it: `8GiB`, `6.5 GB`, or bytes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Bytes that a run may take at its peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemoryLimit(pub u64);

const UNITS: [(&str, f64); 11] = [
    ("kib", 1024.0),
    ("mib", 1048576.0),
    ("gib", 1073741824.0),
    ("kb", 1e3),
    ("mb", 1e6),
    ("gb", 1e9),
    ("k", 1024.0),
    ("m", 1048576.0),
    ("g", 1073741824.0),
    ("b", 1.0),
    ("", 1.0),
];

impl FromStr for MemoryLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = UNITS.iter().find(|(name, _)| *name == &lower[digits.len()..]);
        let number = digits.trim().parse::<f64>().ok().filter(|n| n.is_finite() && *n > 0.0);
        match (number, unit) {
            (Some(number), Some((_, factor))) => Ok(Self((number * factor) as u64)),
            _ => Err(format!("expected an amount of memory such as 8GiB or 6500MB, found `{text}`")),
        }
    }
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0 as f64;
        for (unit, factor) in [("GiB", 1073741824.0), ("MiB", 1048576.0), ("KiB", 1024.0)] {
            if bytes >= factor {
                return write!(f, "{:.2} {unit}", bytes / factor);
            }
        }
        write!(f, "{bytes} B")
    }
}

/// Bytes as people read them.
pub(crate) fn shown(bytes: u64) -> String {
    MemoryLimit(bytes).to_string()
}

impl Serialize for MemoryLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}B", self.0))
    }
}

impl<'de> Deserialize<'de> for MemoryLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_they_are_written() {
        let read = |text: &str| text.parse::<MemoryLimit>().map(|limit| limit.0);
        assert_eq!(read("8GiB"), Ok(8 << 30));
        assert_eq!(read(" 6.5 gb "), Ok(6_500_000_000));
        assert_eq!(read("512m"), Ok(512 << 20));
        assert_eq!(read("1000"), Ok(1000));
        for wrong in ["", "GiB", "8 potatoes", "-1GiB", "nan", "0"] {
            assert!(read(wrong).unwrap_err().contains("8GiB"), "{wrong}");
        }
        let limit = MemoryLimit(123_456_789);
        assert_eq!(
            serde_json::from_str::<MemoryLimit>(&serde_json::to_string(&limit).unwrap()).unwrap(),
            limit
        );
        assert_eq!(limit.to_string(), "117.74 MiB");
    }
}
