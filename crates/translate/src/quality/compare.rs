//! What is compared with what, and the figures that come of it.

use super::bleu::{Bleu, BleuCounts, BleuScore};
use super::chrf::{Chrf, ChrfCounts};
use serde::Serialize;
use std::collections::HashMap;
use thiserror::Error;
use tolmach_corpus::Example;

/// A translated segment (a line, or a field of an example) and what it is measured by: references, or its
/// own translation back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Where it is: `line 7`, or an example's id and field.
    pub id: String,
    pub source: Option<String>,
    pub translation: String,
    /// Translations that are known to be right.
    pub references: Vec<String>,
    /// A second engine's translation of `translation` into the language of `source`: if there is one,
    /// it is compared with the source.
    pub back: Option<String>,
}

impl Compared {
    /// The two sides of the comparison.
    fn sides(&self) -> (&str, Vec<&str>) {
        match &self.back {
            Some(back) => (back, self.source.as_deref().into_iter().collect()),
            None => (&self.translation, self.references.iter().map(String::as_str).collect()),
        }
    }
}

/// A figure with its name and its signature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    pub name: String,
    /// From 0 to 100, more is better.
    pub score: f64,
    pub signature: String,
}

/// The figures of a whole corpus, and of each segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    pub chrf_plus_plus: Figure,
    pub chrf: Figure,
    pub bleu: Figure,
    pub bleu_parts: BleuScore,
    /// Words of the compared segments and of their references, as BLEU counts them.
    pub words: (u64, u64),
    /// chrF2++ of each segment alone, in the order given.
    pub segments: Vec<f64>,
}

impl Scores {
    pub fn figures(&self) -> [&Figure; 3] {
        [&self.chrf_plus_plus, &self.chrf, &self.bleu]
    }
}

/// Why there are no figures.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QualityError {
    #[error("nothing to compare: there is not one segment")]
    Empty,
    #[error("{id} has no reference")]
    NoReference { id: String },
    #[error("{what} has {found} lines and the translation {expected}; each line needs its counterpart")]
    Lines { what: String, expected: usize, found: usize },
    #[error("not one of {examples} examples has a reference of the same id; the first is `{id}`")]
    NoCommonId { examples: usize, id: String },
}

/// Every figure over all segments.
///
/// # Errors
/// No segment, or one without a reference.
pub fn score(compared: &[Compared], bleu: Bleu) -> Result<Scores, QualityError> {
    let first = compared.first().ok_or(QualityError::Empty)?;
    let (mut chrf, mut plus_plus) = (ChrfCounts::default(), ChrfCounts::default());
    let mut bleu_counts = BleuCounts::default();
    let mut segments = Vec::with_capacity(compared.len());
    let mut references = first.sides().1.len().to_string();
    for segment in compared {
        let (hypothesis, others) = segment.sides();
        if others.is_empty() {
            return Err(QualityError::NoReference { id: segment.id.clone() });
        }
        if others.len().to_string() != references {
            references = "var".to_string();
        }
        let counts = Chrf::PLUS_PLUS.count(hypothesis, &others);
        segments.push(counts.score());
        plus_plus += counts;
        chrf += Chrf::CHRF.count(hypothesis, &others);
        bleu_counts += bleu.count(hypothesis, &others);
    }
    let family = |metric: Chrf, counts: ChrfCounts| Figure {
        name: metric.name(),
        score: counts.score(),
        signature: metric.signature(&references),
    };
    let bleu_parts = bleu_counts.score();
    Ok(Scores {
        chrf_plus_plus: family(Chrf::PLUS_PLUS, plus_plus),
        chrf: family(Chrf::CHRF, chrf),
        bleu: Figure {
            name: "BLEU".to_string(),
            score: bleu_parts.score,
            signature: bleu.signature(&references),
        },
        bleu_parts,
        words: (bleu_counts.hypothesis_words, bleu_counts.reference_words),
        segments,
    })
}

/// Line by line: translations, their references (one list for each file), and their sources if known.
///
/// # Errors
/// A file with another number of lines; `names` are the references' names for the message.
pub fn compare_lines(
    translations: &[String],
    references: &[(&str, Vec<String>)],
    sources: Option<&(&str, Vec<String>)>,
) -> Result<Vec<Compared>, QualityError> {
    let expected = translations.len();
    for (name, lines) in references.iter().chain(sources) {
        if lines.len() != expected {
            let (what, found) = (name.to_string(), lines.len());
            return Err(QualityError::Lines { what, expected, found });
        }
    }
    let compared = |(i, translation): (usize, &String)| Compared {
        id: format!("line {}", i + 1),
        source: sources.map(|(_, lines)| lines[i].clone()),
        translation: translation.clone(),
        references: references.iter().map(|(_, lines)| lines[i].clone()).collect(),
        back: None,
    };
    Ok(translations.iter().enumerate().map(compared).collect())
}

/// Field by field: translated examples and the references of the same id. Fields that are empty on one
/// side and examples without a reference are left out.
///
/// # Errors
/// Not one id is in both.
pub fn compare_examples(
    translated: &[Example],
    references: &[Vec<Example>],
) -> Result<Vec<Compared>, QualityError> {
    let by_id: Vec<HashMap<&str, &Example>> =
        references.iter().map(|all| all.iter().map(|e| (e.id.as_str(), e)).collect()).collect();
    let mut compared = Vec::new();
    for example in translated {
        let found: Vec<&Example> =
            by_id.iter().filter_map(|all| all.get(example.id.as_str()).copied()).collect();
        for (name, text) in example.body.fields().filter(|(_, text)| !text.trim().is_empty()) {
            let field = |of: &Example| field(&of.body, name).filter(|text| !text.trim().is_empty());
            let references: Vec<String> = found.iter().filter_map(|e| field(e)).collect();
            if !references.is_empty() {
                compared.push(Compared {
                    id: format!("{} · {name}", example.id),
                    source: example.source.as_ref().and_then(|source| self::field(source, name)),
                    translation: text.to_string(),
                    references,
                    back: None,
                });
            }
        }
    }
    match (compared.is_empty(), translated.first()) {
        (true, Some(first)) => {
            Err(QualityError::NoCommonId { examples: translated.len(), id: first.id.clone() })
        }
        _ => Ok(compared),
    }
}

/// The text of one field of a body, if it has that field.
pub(super) fn field(body: &tolmach_corpus::Body, name: tolmach_corpus::FieldName) -> Option<String> {
    body.fields().find(|(other, _)| *other == name).map(|(_, text)| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tolmach_corpus::Body;

    fn example(id: &str, instruction: &str, output: &str) -> Example {
        let (instruction, output) = (instruction.to_string(), output.to_string());
        let mut example = Example::new(Body::Alpaca { instruction, input: String::new(), output });
        example.id = id.to_string();
        example
    }

    fn lines(all: &[&str]) -> Vec<String> {
        all.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn lines_need_counterparts() {
        let references = [("human.ru", lines(&["а", "б"]))];
        let error = compare_lines(&lines(&["а"]), &references, None).unwrap_err().to_string();
        assert_eq!(error, "human.ru has 2 lines and the translation 1; each line needs its counterpart");
        let compared = compare_lines(&lines(&["а", "в"]), &references, None).unwrap();
        let scores = score(&compared, Bleu::default()).unwrap();
        assert_eq!(scores.segments, [100.0, 0.0]);
        assert_eq!(score(&[], Bleu::default()), Err(QualityError::Empty));
    }

    #[test]
    fn examples_meet_by_id_and_field() {
        let translated = [example("1", "Назови кота", "Мурзик"), example("2", "лишнее", "лишнее")];
        let references = vec![vec![example("1", "Назови кота", "Барсик"), example("3", "x", "y")]];
        let compared = compare_examples(&translated, &references).unwrap();
        let ids: Vec<_> = compared.iter().map(|c| c.id.as_str()).collect();
        assert_eq!(ids, ["1 · instruction", "1 · output"]);
        assert_eq!(compared[1].references, ["Барсик"]);
        let error = compare_examples(&translated, &[vec![example("9", "a", "b")]]).unwrap_err();
        assert!(error.to_string().contains("`1`"), "{error}");
    }

    #[test]
    fn a_round_trip_is_compared_with_the_source() {
        let segment = Compared {
            source: Some("The cat".into()),
            translation: "Кот".into(),
            back: Some("The cat".into()),
            ..Compared::default()
        };
        assert_eq!(score(&[segment], Bleu::default()).unwrap().segments, [100.0]);
    }
}
