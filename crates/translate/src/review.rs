//! Examples that are set aside for a person, and their way back.
//!
//! One that could not be translated whole carries, under the key `review`, the reason, the segments that
//! failed and a draft: its translation as far as it got. A person mends the draft and gives the example back,
//! as input or in the review file of the output; a draft that passes the checks is emitted. With
//! `"accept": true` it is emitted whatever the checks say; with `"drop": true` it is left out. What a person
//! has decided stays in the review file, so that it holds for every later run.

use crate::engine::Miss;
use crate::structure::lines;
use crate::verify::{Checker, Finding, Verdict, skeleton};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::HashMap;
use tolmach_corpus::{Body, Example, Translation};

/// The key of an example that was set aside.
pub const REVIEW_KEY: &str = "review";

/// Who translated an example whose draft was accepted.
pub(crate) const PERSON: &str = "person";
/// What is said to have been repaired in it.
pub(crate) const MENDED: &str = "mended by a person";

/// What a person has to know and to mend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Review {
    pub reason: String,
    /// The reason as data, where it is about the whole and not about segments.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// The segments without a translation that can be trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<OpenSegment>,
    /// The translation as far as it got; what has none is in the source language.
    pub draft: Body,
    /// Set by a person: take the draft as it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accept: bool,
    /// Set by a person: leave the example out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drop: bool,
}

/// A segment that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenSegment {
    pub source: String,
    /// The last target that failed the checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<String>,
    pub reason: String,
    /// The reason as data, where it is one of ours.
    #[serde(default, deserialize_with = "known", skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
}

/// Why something has no translation, as data: `{"check": "digits", …}`, `{"miss": "not_in_memory"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Why {
    Finding(Finding),
    Miss(Miss),
}

/// What a later version may have found is no reason to lose a review: its text says it too.
fn known<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Why>, D::Error> {
    Ok(serde_json::from_value(serde_json::Value::deserialize(from)?).ok())
}

impl Review {
    /// The review that `example` carries. One that cannot be read is no review.
    pub fn of(example: &Example) -> Option<Review> {
        serde_json::from_value(example.extra.get(REVIEW_KEY)?.clone()).ok()
    }

    /// Whether a person has the last word on it.
    pub fn is_decided(&self) -> bool {
        self.accept || self.drop
    }

    /// `example`, as it was before translation, with this review.
    pub fn put_into(self, mut example: Example) -> Example {
        if let Ok(review) = serde_json::to_value(self) {
            example.extra.insert(REVIEW_KEY.to_string(), review);
        }
        example
    }

    /// The data set with every decision in it: a dropped example is gone, an accepted draft is its
    /// translation; one that was set aside and has none yet comes to the end. The same as a new run, but for
    /// the order.
    pub fn apply(data_set: Vec<Example>, decided: Vec<Example>, to: &str) -> Vec<Example> {
        let order: Vec<String> = decided.iter().map(|example| example.id.clone()).collect();
        let mut decided: HashMap<String, (Review, Example)> = decided
            .into_iter()
            .filter_map(|example| Some((example.id.clone(), (Review::of(&example)?, example))))
            .filter(|(_, (review, _))| review.is_decided())
            .collect();
        let mut out = Vec::with_capacity(data_set.len());
        for example in data_set {
            let is_it = decided.get(&example.id).is_some_and(|(_, of)| of.body == *example.source_body());
            match decided.remove(&example.id).filter(|_| is_it) {
                Some((review, _)) if review.drop => {}
                Some((review, _)) if review.draft != example.body => out.push(review.accepted(example, to)),
                _ => out.push(example),
            }
        }
        let left = order.iter().filter_map(|id| decided.remove(id)).filter(|(review, _)| !review.drop);
        out.extend(left.map(|(review, example)| review.accepted(example, to)));
        out
    }

    /// `example`, translated or not, with the draft as its translation.
    fn accepted(self, mut example: Example, to: &str) -> Example {
        let source = example.source_body().clone();
        example.extra.shift_remove(REVIEW_KEY);
        let checked = example.translation.take().map_or_else(String::new, |translation| translation.checked);
        let repairs = vec![MENDED.to_string()];
        example.translation = Some(Translation { engine: PERSON.to_string(), checked, repairs });
        Example { source: Some(source), body: self.draft, language: Some(to.to_string()), ..example }
    }

    /// Give every example that is in `reviewed` too, with the same id and text, its review.
    pub fn attach(examples: &mut [Example], reviewed: Vec<Example>) {
        let mut reviews: HashMap<String, Example> =
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
        let review =
            Review { reason: String::new(), why: None, segments: Vec::new(), draft, accept, drop: false };
        let checker = Checker::new(&LanguagePair::new("en", "ru").unwrap());
        review.is_mended(&body("- One of them\n- Two of them\n"), &checker)
    }

    #[test]
    fn a_reason_is_data_too_and_an_unknown_one_loses_nothing() {
        let row = |why: &str| {
            let segment = format!(r#"{{"source": "1969", "proposal": "1996", "reason": "r", "why": {why}}}"#);
            let review = format!(r#"{{"reason": "r", "segments": [{segment}], "draft": {{"text": "x"}}}}"#);
            serde_json::from_str::<Review>(&review).unwrap()
        };
        let digits = r#"{"check":"digits","missing":["1969"],"added":["1996"]}"#;
        for why in [
            digits,
            r#"{"check":"torn"}"#,
            r#"{"miss":"not_in_memory"}"#,
            r#"{"miss":"refused","message":"no"}"#,
        ] {
            let review = row(why);
            assert_eq!(serde_json::to_string(review.segments[0].why.as_ref().unwrap()).unwrap(), why);
            let again = serde_json::to_string(&review).unwrap();
            assert_eq!(serde_json::from_str::<Review>(&again).unwrap(), review);
        }
        assert_eq!(row(r#"{"check": "of a later version"}"#).segments[0].why, None);
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

    #[test]
    fn decisions_reach_a_data_set_as_a_new_run_would_have_it() {
        let translated = |id: &str, text: &str, target: &str| {
            let mut example = Example::new(Body::Text { text: target.into() });
            example.id = id.into();
            example.source = Some(Body::Text { text: text.into() });
            example.language = Some("ru".into());
            example
        };
        let decided = |id: &str, text: &str, draft: &str, drop: bool| {
            let mut example = Example::new(Body::Text { text: text.into() });
            example.id = id.into();
            let draft = Body::Text { text: draft.into() };
            let review =
                Review { reason: "r".into(), why: None, segments: vec![], draft, accept: !drop, drop };
            review.put_into(example)
        };
        let data_set = ["a", "b", "c"].map(|id| translated(id, id, "перевод")).to_vec();
        let decisions = vec![
            decided("a", "a", "лучше", false),
            decided("b", "b", "", true),
            decided("c", "another text of that id", "чужой", false),
            decided("d", "d", "новый", false),
        ];
        let out = Review::apply(data_set, decisions, "ru");
        let seen: Vec<_> = out.iter().map(|e| (e.id.as_str(), e.body.fields().next().unwrap().1)).collect();
        assert_eq!(seen, [("a", "лучше"), ("c", "перевод"), ("d", "новый")]);
        assert_eq!(out[0].translation.as_ref().unwrap().engine, "person");
        assert_eq!(out[2].source, Some(Body::Text { text: "d".into() }));
        assert!(out.iter().all(|e| Review::of(e).is_none() && e.language.as_deref() == Some("ru")));
    }
}
