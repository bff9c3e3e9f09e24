//! Examples that are set aside for a person, and their way back.
//!
//! One that could not be translated whole carries, under the key `review`, the reason, the segments that
//! failed and a draft: its translation as far as it got. A person mends the draft and gives the example back,
//! as input or in the review file of the output; a draft that passes the checks is emitted. With
//! `"accept": true` it is emitted whatever the checks say.

use crate::structure::lines;
use crate::verify::{Checker, Verdict, skeleton};
use serde::{Deserialize, Serialize};
use tolmach_corpus::{Body, Example};

/// The key of an example that was set aside.
pub const REVIEW_KEY: &str = "review";

/// Who translated an example whose draft was accepted.
pub(crate) const PERSON: &str = "person";

/// What a person has to know and to mend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Review {
    pub reason: String,
    /// The segments without a translation that can be trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<OpenSegment>,
    /// The translation as far as it got; what has none is in the source language.
    pub draft: Body,
    /// Set by a person: take the draft as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept: bool,
}

/// A segment that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenSegment {
    pub source: String,
    /// The last target that failed the checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<String>,
    pub reason: String,
}

impl Review {
    /// The review that `example` carries. One that cannot be read is no review.
    pub fn of(example: &Example) -> Option<Review> {
        serde_json::from_value(example.extra.get(REVIEW_KEY)?.clone()).ok()
    }

    /// Give every example that is in `reviewed` too, with the same id and text, its review.
    pub fn attach(examples: &mut [Example], reviewed: Vec<Example>) {
        let mut reviews: std::collections::HashMap<String, Example> =
            reviewed.into_iter().map(|example| (example.id.clone(), example)).collect();
        for example in examples {
            if let Some(mut review) = reviews.remove(&example.id)
                && review.body == example.body
                && let Some(value) = review.extra.shift_remove(REVIEW_KEY)
            {
                example.extra.insert(REVIEW_KEY.to_string(), value);
            }
        }
    }

    /// Whether the draft is a translation of `source` now.
    pub(crate) fn is_mended(&self, source: &Body, checker: &Checker) -> bool {
        let same_shape = std::mem::discriminant(source) == std::mem::discriminant(&self.draft)
            && source.fields().map(|(name, _)| name).eq(self.draft.fields().map(|(name, _)| name));
        if !same_shape || self.draft == *source {
            return false;
        }
        let mut pairs = source.fields().zip(self.draft.fields());
        self.accept || pairs.all(|((_, source), (_, draft))| is_translation(source, draft, checker))
    }
}

/// Check a field as a person wrote it: its skeleton, and each segment by itself. A doubt is the person's
/// decision.
fn is_translation(source: &str, draft: &str, checker: &Checker) -> bool {
    let Some(targets) = skeleton(source, draft) else { return false };
    lines(source)
        .filter(|line| !line.segment.is_empty())
        .zip(targets)
        .all(|(line, target)| !matches!(checker.check(line.segment, target), Verdict::Fail(_)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LanguagePair;

    fn body(output: &str) -> Body {
        Body::Alpaca { instruction: "Say `x` 3 times".into(), input: String::new(), output: output.into() }
    }

    fn review(instruction: &str, output: &str, accept: bool) -> bool {
        let draft =
            Body::Alpaca { instruction: instruction.into(), input: String::new(), output: output.into() };
        let review = Review { reason: String::new(), segments: Vec::new(), draft, accept };
        let checker = Checker::new(&LanguagePair::new("en", "ru").unwrap());
        review.is_mended(&body("- One of them\n- Two of them\n"), &checker)
    }

    #[test]
    fn a_mended_draft_is_taken_and_an_unmended_one_is_not() {
        assert!(review("Скажи `x` 3 раза", "- Один из них\n- Два из них\n", false));
        assert!(!review("Скажи `x` 4 раза", "- Один из них\n- Два из них\n", false), "digits");
        assert!(!review("Скажи `x` 3 раза", "- Один из них\n- Two of them\n", false), "untranslated");
        assert!(!review("Скажи `x` 3 раза", "- Один из них, два из них\n", false), "lines");
        assert!(review("Скажи `икс` трижды", "Один, два", true), "a person has the last word");
        assert!(!review("Say `x` 3 times", "- One of them\n- Two of them\n", true), "nothing was done");
    }

    #[test]
    fn a_review_finds_its_example() {
        let mut examples = vec![Example::new(body("a")), Example::new(body("b"))];
        let mut reviewed = examples[1].clone();
        reviewed.extra.insert(REVIEW_KEY.into(), serde_json::json!({"reason": "r", "draft": {"text": "t"}}));
        let mut changed = examples[0].clone();
        changed.body = body("another");
        changed.extra = reviewed.extra.clone();
        Review::attach(&mut examples, vec![reviewed, changed]);
        assert!(Review::of(&examples[0]).is_none());
        assert_eq!(Review::of(&examples[1]).unwrap().draft, Body::Text { text: "t".into() });
    }
}
