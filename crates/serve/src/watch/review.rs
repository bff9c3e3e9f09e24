//! The review page: translations that were set aside, and a sample of those that were not; what a person
//! decides about them, and its way into the data set.
//!
//! Decisions are kept in the review file (`OUT.jsonl.review.jsonl`), which `tolmach translate` reads and keeps;
//! *apply* puts them into the data set at once. Both files are only ever replaced whole, and only if they are
//! still what the page has shown: otherwise the answer is 409 and the page reads anew.

use super::found::{Found, review_file, translations};
use super::{Watch, reading};
use crate::api::body;
use crate::api::error::ApiError;
use crate::state::AppState;
use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, PoisonError};
use tolmach_corpus::{Example, read_examples, write_examples};
use tolmach_translate::{OpenSegment, Review, Why};

/// Translations of a data set that are shown beside those that were set aside.
const SAMPLED: usize = 40;
/// The reason of a review that a person has begun unasked.
const SAMPLE_REASON: &str = "sampled";

/// A translation that can be decided on.
#[derive(Serialize)]
struct Item {
    id: String,
    /// Set aside by the checks, not sampled.
    set_aside: bool,
    /// In English; `why` is the same as data, where there is some.
    reason: String,
    why: Option<Why>,
    fields: Vec<Field>,
    /// What failed: sources of segments, each with the target that failed and why.
    segments: Vec<OpenSegment>,
    engine: Option<String>,
    /// `accepted` or `dropped`.
    decision: Option<&'static str>,
}

/// A text of an example in both languages.
#[derive(Serialize)]
struct Field {
    name: String,
    source: String,
    target: String,
}

/// A review file, as it is now, and its data set, which is read where it is needed.
struct Files {
    data_set: PathBuf,
    reviewed: Vec<Example>,
    /// Another one after any change of the two files.
    version: String,
}

/// What a person decides: by the id of an example.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// As [`Files::version`] was when it was decided.
    version: String,
    example: String,
    action: Action,
    /// The translation, field by field in the order shown; for `accept` only.
    #[serde(default)]
    targets: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Accept,
    Drop,
    /// Undecided again, with the draft given.
    Reopen,
}

/// `GET /ui/reviews`: the data sets there are.
pub async fn list(State(state): State<Arc<AppState>>) -> Result<Json<Value>, ApiError> {
    reading(move || {
        let all = translations(&state.options.reviews, &state.options.runs);
        let entry = |found: &Found| json!({"id": found.id, "name": found.name, "left": left(found)});
        Ok(Json(json!({"reviews": all.iter().map(entry).collect::<Vec<_>>()})))
    })
    .await
}

/// How many were set aside and are not decided on; none where the file cannot be read, which its own page tells.
fn left(found: &Found) -> usize {
    let reviewed = read_examples(&review_file(&found.path)).unwrap_or_default();
    let reviews = reviewed.iter().filter_map(Review::of);
    reviews.filter(|review| review.reason != SAMPLE_REASON && !review.is_decided()).count()
}

#[derive(Deserialize)]
pub struct Seed {
    /// Another number, another sample.
    #[serde(default)]
    seed: u64,
}

/// `GET /ui/reviews/{id}?seed=N`: what is to be decided on, set-aside examples first.
pub async fn read(
    State(state): State<Arc<AppState>>,
    Path(id): Path<String>,
    Query(Seed { seed }): Query<Seed>,
) -> Result<Json<Value>, ApiError> {
    reading(move || {
        let files = Files::read(&find(&state, &id)?.path)?;
        let data_set = files.examples()?;
        let items = files.items(&data_set, seed);
        Ok(Json(json!({"version": files.version, "examples": data_set.len(), "items": items})))
    })
    .await
}

/// `POST /ui/reviews/{id}`: a decision, written before it is answered. Answers the new version.
pub async fn decide(
    State(state): State<Arc<AppState>>,
    Extension(watch): Extension<Arc<Watch>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let decision: Decision = body::json(&state, request).await?;
    reading(move || {
        let found = find(&state, &id)?;
        let _alone = watch.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut files = Files::read(&found.path)?;
        files.check(&decision.version)?;
        files.decide(&decision)?;
        files.save(&state)?;
        Ok(Json(json!({"version": Files::read(&found.path)?.version})))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    version: String,
}

/// `POST /ui/reviews/{id}/apply`: put all decisions into the data set.
pub async fn apply(
    State(state): State<Arc<AppState>>,
    Extension(watch): Extension<Arc<Watch>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let Apply { version } = body::json(&state, request).await?;
    reading(move || {
        let found = find(&state, &id)?;
        let _alone = watch.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let files = Files::read(&found.path)?;
        files.check(&version)?;
        let data_set = files.examples()?;
        let Some(language) = data_set.iter().find_map(|example| example.language.clone()) else {
            let message =
                "The data set is not there or names no language: run `tolmach translate` again instead.";
            return Err(ApiError::new(StatusCode::CONFLICT, message).code("no_language"));
        };
        let before = data_set.len();
        let applied = Review::apply(data_set, files.reviewed, &language);
        write(&state, &found.path, &applied)?;
        let version = Files::read(&found.path)?.version;
        Ok(Json(json!({"version": version, "before": before, "examples": applied.len()})))
    })
    .await
}

fn find(state: &AppState, id: &str) -> Result<Found, ApiError> {
    let mut all = translations(&state.options.reviews, &state.options.runs).into_iter();
    let missing = || {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "There is no such review; GET /ui/reviews lists those there are.",
        )
    };
    all.find(|found| found.id == id).ok_or_else(missing)
}

fn write(state: &AppState, path: &FilePath, examples: &[Example]) -> Result<(), ApiError> {
    write_examples(path, examples).map_err(|e| {
        state.log(&format!("a review cannot be saved: {e}"));
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The decision cannot be saved: the file cannot be written.",
        )
        .code("not_saved")
    })
}

fn unreadable() -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "A file of this review cannot be read.")
        .code("unreadable")
}

impl Files {
    fn read(data_set: &FilePath) -> Result<Self, ApiError> {
        let path = review_file(data_set);
        let mut hasher = blake3::Hasher::new();
        let reviewed = match path.is_file() {
            true => {
                hasher.update(&std::fs::read(&path).map_err(|_| unreadable())?);
                read_examples(&path).map_err(|_| unreadable())?
            }
            false => Vec::new(),
        };
        if let Ok(facts) = std::fs::metadata(data_set) {
            // Its content may be long: a change of it is known by length and time.
            hasher.update(format!("{} {:?}", facts.len(), facts.modified().ok()).as_bytes());
        }
        let version = hasher.finalize().to_hex()[..16].to_string();
        Ok(Self { data_set: data_set.to_path_buf(), reviewed, version })
    }

    fn examples(&self) -> Result<Vec<Example>, ApiError> {
        if !self.data_set.is_file() {
            return Ok(Vec::new());
        }
        read_examples(&self.data_set).map_err(|_| unreadable())
    }

    /// Put the review file in place; one without a row goes away.
    fn save(&self, state: &AppState) -> Result<(), ApiError> {
        let path = review_file(&self.data_set);
        if !self.reviewed.is_empty() {
            return write(state, &path, &self.reviewed);
        }
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(unreadable()),
            _ => Ok(()),
        }
    }

    fn check(&self, version: &str) -> Result<(), ApiError> {
        if self.version == version {
            return Ok(());
        }
        let message = "The files have changed since this page read them; nothing was saved.";
        Err(ApiError::new(StatusCode::CONFLICT, message).code("conflict"))
    }

    /// First what was set aside, then a sample of the rest.
    fn items(&self, data_set: &[Example], seed: u64) -> Vec<Item> {
        let reviewed = self.reviewed.iter().filter_map(|example| Some(item(example, &Review::of(example)?)));
        let mut items: Vec<Item> = reviewed.collect();
        let known: std::collections::HashSet<&str> = self.reviewed.iter().map(|e| e.id.as_str()).collect();
        // By hash, so that the sample stays while the data set changes.
        let rank = |id: &str| *blake3::hash(format!("{seed} {id}").as_bytes()).as_bytes();
        let mut rest: Vec<&Example> = data_set
            .iter()
            .filter(|example| example.source.is_some() && !known.contains(example.id.as_str()))
            .collect();
        rest.sort_by_cached_key(|example| rank(&example.id));
        items.extend(rest.into_iter().take(SAMPLED).map(|example| item(example, &fresh(example))));
        items
    }

    fn decide(&mut self, decision: &Decision) -> Result<(), ApiError> {
        let id = &decision.example;
        let at = self.reviewed.iter().position(|example| example.id == *id);
        let (example, mut review) = match at {
            Some(at) => {
                let example = &self.reviewed[at];
                let review =
                    Review::of(example).ok_or_else(|| ApiError::bad("This example has no review."))?;
                (example.clone(), review)
            }
            None => {
                let is_it = |example: &Example| example.id == *id && example.source.is_some();
                let missing =
                    || ApiError::new(StatusCode::NOT_FOUND, "There is no such example.").param("example");
                let example = self.examples()?.into_iter().find(is_it).ok_or_else(missing)?;
                let review = fresh(&example);
                let mut source = Example::new(example.source_body().clone());
                (source.id, source.extra) = (example.id.clone(), example.extra.clone());
                (source, review)
            }
        };
        if decision.action != Action::Drop {
            let mut targets = decision.targets.iter();
            for (_, text) in review.draft.fields_mut() {
                let missing = || ApiError::bad("Each field needs its translation.").param("targets");
                *text = targets.next().ok_or_else(missing)?.clone();
            }
        }
        (review.accept, review.drop) = (decision.action == Action::Accept, decision.action == Action::Drop);
        if decision.action == Action::Accept && review.draft == example.body {
            return Err(ApiError::bad("The translation is the source itself: mend it, or drop the example.")
                .param("targets")
                .code("untranslated"));
        }
        let forget = decision.action == Action::Reopen && review.reason == SAMPLE_REASON;
        let example = review.put_into(example);
        match at {
            Some(at) if forget => drop(self.reviewed.remove(at)),
            Some(at) => self.reviewed[at] = example,
            None if forget => {}
            None => self.reviewed.push(example),
        }
        Ok(())
    }
}

/// What a translation of the data set would be decided on with.
fn fresh(example: &Example) -> Review {
    let draft = example.body.clone();
    let reason = SAMPLE_REASON.to_string();
    Review { reason, why: None, segments: Vec::new(), draft, accept: false, drop: false }
}

fn item(example: &Example, review: &Review) -> Item {
    let sources = example.source_body().fields().map(|(_, text)| text.to_string());
    let targets = review.draft.fields().map(|(_, text)| text.to_string());
    let names = example.body.fields().map(|(name, _)| name.to_string());
    let fields = names.zip(sources).zip(targets);
    let fields = fields.map(|((name, source), target)| Field { name, source, target });
    Item {
        id: example.id.clone(),
        set_aside: review.reason != SAMPLE_REASON,
        reason: if review.reason == SAMPLE_REASON { String::new() } else { review.reason.clone() },
        fields: fields.collect(),
        why: review.why.clone(),
        segments: review.segments.clone(),
        engine: example.translation.as_ref().map(|translation| translation.engine.clone()),
        decision: match (review.accept, review.drop) {
            (_, true) => Some("dropped"),
            (true, _) => Some("accepted"),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tolmach_corpus::Body;

    fn text(text: &str) -> Body {
        Body::Text { text: text.into() }
    }

    /// `a` set aside, `b` and `c` translated.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let example = |id: &str, body: Body| Example { id: id.into(), ..Example::new(body) };
        let reason = "the digits differ".to_string();
        let draft = text("семь");
        let review = Review { reason, why: None, segments: vec![], draft, accept: false, drop: false };
        write_examples(&review_file(&path), &[review.put_into(example("a", text("eight")))]).unwrap();
        let translated = |id: &str| {
            let (source, language) = (Some(text("word")), Some("ru".to_string()));
            Example { source, language, ..example(id, text("слово")) }
        };
        write_examples(&path, &[translated("b"), translated("c")]).unwrap();
        (dir, path)
    }

    fn decision(example: &str, action: Action, target: &str) -> Decision {
        let targets = vec![target.to_string()];
        Decision { version: String::new(), example: example.into(), action, targets }
    }

    #[test]
    fn set_aside_examples_come_first_and_a_sample_is_the_same_again() {
        let (_dir, path) = place();
        let files = Files::read(&path).unwrap();
        let ids = |seed| -> Vec<(String, bool)> {
            let items = files.items(&files.examples().unwrap(), seed);
            items.into_iter().map(|item| (item.id, item.set_aside)).collect()
        };
        assert_eq!(ids(0)[0], ("a".to_string(), true));
        assert!(ids(0).len() == 3 && !ids(0)[1].1);
        assert_eq!(ids(0), ids(0));
        assert!((1..20).any(|seed| ids(seed) != ids(0)));
    }

    #[test]
    fn a_decision_on_a_sampled_translation_is_kept_and_can_be_taken_back() {
        let (_dir, path) = place();
        let mut files = Files::read(&path).unwrap();
        files.decide(&decision("b", Action::Accept, "речь")).unwrap();
        let kept = files.reviewed.last().unwrap();
        assert_eq!(
            (kept.id.as_str(), &kept.body),
            ("b", &text("word")),
            "the source, as a new run would have it"
        );
        let review = Review::of(kept).unwrap();
        assert!(review.accept && review.draft == text("речь"));
        let items = files.items(&files.examples().unwrap(), 0);
        assert_eq!(items.iter().filter(|item| item.id == "b").count(), 1);
        files.decide(&decision("b", Action::Reopen, "слово")).unwrap();
        assert_eq!(files.reviewed.len(), 1, "nothing is left of it");
        files.decide(&decision("a", Action::Drop, "")).unwrap();
        files.decide(&decision("a", Action::Reopen, "семь")).unwrap();
        assert!(!Review::of(&files.reviewed[0]).unwrap().is_decided() && files.reviewed.len() == 1);
    }

    #[test]
    fn what_is_no_decision_is_refused() {
        let (_dir, path) = place();
        let mut files = Files::read(&path).unwrap();
        let mut refused = |decision: Decision| files.decide(&decision).unwrap_err();
        assert_eq!(refused(decision("a", Action::Accept, "eight")).code, Some("untranslated"));
        assert_eq!(refused(decision("nobody", Action::Drop, "")).status, StatusCode::NOT_FOUND);
        let nothing = Decision { targets: vec![], ..decision("a", Action::Accept, "") };
        assert_eq!(refused(nothing).param.as_deref(), Some("targets"));
    }

    #[test]
    fn any_change_of_either_file_is_another_version() {
        let (_dir, path) = place();
        let before = Files::read(&path).unwrap();
        assert!(before.check(&Files::read(&path).unwrap().version).is_ok());
        std::fs::write(&path, "{\"text\": \"another\"}\n").unwrap();
        let after = Files::read(&path).unwrap();
        assert_eq!(after.check(&before.version).unwrap_err().status, StatusCode::CONFLICT);
        std::fs::remove_file(review_file(&path)).unwrap();
        assert_ne!(Files::read(&path).unwrap().version, after.version);
    }
}
