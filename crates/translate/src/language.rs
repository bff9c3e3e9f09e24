//! Language tags, as far as translation needs them: what is asked for and what a memory offers.

use crate::Error;

/// From which language to which, as the engine names them (`en`, `ru`, `pt-BR`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanguagePair {
    pub from: String,
    pub to: String,
}

impl LanguagePair {
    /// # Errors
    /// A tag that is none, or twice the same language.
    pub fn new(from: &str, to: &str) -> Result<Self, Error> {
        for (key, tag) in [("from", from), ("to", to)] {
            if !is_tag(tag) {
                return Err(Error::Config(format!(
                    "`{key}`: {tag:?} is no language code; expected one like \"en\", \"ru\" or \"pt-BR\""
                )));
            }
        }
        if from.eq_ignore_ascii_case(to) {
            return Err(Error::Config(format!("`from` and `to` are both {from:?}: nothing to translate")));
        }
        Ok(Self { from: from.to_string(), to: to.to_string() })
    }
}

fn is_tag(tag: &str) -> bool {
    let mut parts = tag.split(['-', '_']);
    let primary = parts.next().unwrap_or_default();
    (2..=8).contains(&primary.len())
        && primary.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|p| (1..=8).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// How well `offered` serves who asked for `wanted`: `None` for another language or script,
/// more is better. `en-US` serves `en` and `en` serves `en-US`; `en-GB` serves `en-US` when nothing
/// closer is there; `sr-Latn` never serves `sr-Cyrl`.
pub(crate) fn affinity(wanted: &str, offered: &str) -> Option<u8> {
    let wanted = Tag::parse(wanted);
    let offered = Tag::parse(offered);
    if wanted.primary != offered.primary {
        return None;
    }
    match (&wanted.script, &offered.script) {
        (Some(a), Some(b)) if a != b => return None,
        _ => {}
    }
    let same_script = wanted.script == offered.script;
    Some(match (&wanted.region, &offered.region) {
        (a, b) if a == b && same_script => 3,
        (a, b) if a == b => 2,
        (None, _) | (_, None) => 2,
        _ => 1,
    })
}

struct Tag {
    primary: String,
    script: Option<String>,
    region: Option<String>,
}

impl Tag {
    fn parse(tag: &str) -> Self {
        let lower = tag.trim().to_ascii_lowercase();
        let mut parts = lower.split(['-', '_']);
        let primary = parts.next().unwrap_or_default().to_string();
        let (mut script, mut region) = (None, None);
        for part in parts {
            match part.len() {
                4 if script.is_none() => script = Some(part.to_string()),
                2 | 3 if region.is_none() => region = Some(part.to_string()),
                _ => {}
            }
        }
        Tag { primary, script, region }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_falls_back_to_its_language_and_a_script_does_not() {
        assert_eq!(affinity("en", "EN"), Some(3));
        assert_eq!(affinity("en", "en-US"), Some(2));
        assert_eq!(affinity("en-US", "en"), Some(2));
        assert_eq!(affinity("en-US", "en_us"), Some(3));
        assert_eq!(affinity("en-US", "en-GB"), Some(1));
        assert_eq!(affinity("zh-Hans", "zh-Hant"), None);
        assert_eq!(affinity("en", "enm"), None);
        assert_eq!(affinity("ru", "uk"), None);
    }

    #[test]
    fn a_pair_names_two_languages() {
        assert!(LanguagePair::new("en", "ru").is_ok());
        assert!(LanguagePair::new("en", "zh-Hans").is_ok());
        assert!(LanguagePair::new("en", "EN").is_err());
        assert!(LanguagePair::new("English language", "ru").is_err());
        assert!(LanguagePair::new("", "ru").is_err());
    }
}
