//! What a target holds that belongs to no translation: marks and separators of ours, and the source once more
//! in brackets.

use super::Finding;
use crate::join::SEPARATORS;

/// Brackets of marks; `[` and `{` are too common in texts to tell anything.
const MARKS: [char; 6] = ['⟦', '⟧', '〚', '〛', '【', '】'];

/// A mark or a separator that the source does not have. One that stood between two segments may have come to
/// lie within one, with a part of its neighbour.
pub(super) fn mark(source: &str, target: &str) -> Option<Finding> {
    let more = |core: &[char], least: usize| {
        let count = |text: &str| text.matches(core).count();
        let (found, expected) = (count(target), count(source));
        found > expected && found >= least
    };
    let first = |core: &[char]| target.chars().find(|c| core.contains(c));
    let mut all = [(&MARKS[..], 1)].into_iter().chain(SEPARATORS.iter().enumerate().map(|(i, separator)| {
        // `~5` and `#1` may come of `about 5` and `No. 1`; a bar comes of nothing.
        (separator.core, if i == 0 { 1 } else { 2 })
    }));
    let (core, _) = all.find(|&(core, least)| more(core, least))?;
    first(core).map(|mark| Finding::Mark { mark })
}

/// A bracket that the source does not have, with words of the source in it: `стул (chair)`.
pub(super) fn gloss(source: &str, target: &str) -> Option<Finding> {
    if target.matches('(').count() <= source.matches('(').count() {
        return None;
    }
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        words.map(str::to_lowercase).collect()
    };
    let of_source = words(source);
    let is_gloss = |inside: &&str| {
        let all = words(inside);
        let known = all.iter().filter(|word| of_source.contains(word)).count();
        known > 0 && 2 * known >= all.len() && !source.contains(&format!("({inside}"))
    };
    let inside = target.split('(').skip(1).map(|rest| rest.split(')').next().unwrap_or(rest).trim());
    inside.into_iter().find(is_gloss).map(|text| Finding::Gloss { text: text.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_separators_of_ours_do_not_stay() {
        for (source, target, expected) in [
            ("One", "Один || лишнее", Some('|')),
            ("One", "Один ｜", Some('｜')),
            ("One", "Один ## лишнее", Some('#')),
            ("One", "Один ⟦А⟧", Some('⟦')),
            ("a | b", "а | б", None),
            ("No. 1 of about 5", "#1 из ~5", None),
        ] {
            assert_eq!(mark(source, target), expected.map(|mark| Finding::Mark { mark }), "{target}");
        }
    }

    #[test]
    fn the_source_does_not_come_along_in_brackets() {
        let found = |source, target| gloss(source, target).is_some();
        assert!(found("Chair: Furniture", "Стул: мебель (перевод: Chair: Furniture)"));
        assert!(found("The sky above, the earth", "Небо вверху, земля (перевод: The sky above, the e)"));
        assert!(found("the chair", "стул (chair"));
        assert!(!found("The WHO (World Health Organization)", "ВОЗ (World Health Organization)"));
        assert!(!found("a chair", "стул (с подлокотниками)"));
        assert!(!found("a chair", "стул"));
    }
}
