//! The round trip: some of the translated examples, back into their own language.

use super::compare::{Compared, field};
use std::collections::HashMap;
use tolmach_corpus::Example;

/// `count` of the translated examples, in their order. Which ones follows from their ids and `seed`
/// alone: the same whatever else the data set holds.
pub fn sample(examples: &[Example], count: usize, seed: u64) -> Vec<&Example> {
    let translated = examples.iter().filter(|e| e.source.is_some());
    let mut drawn: Vec<(u64, usize, &Example)> =
        translated.enumerate().map(|(i, e)| (draw(&e.id, seed), i, e)).collect();
    drawn.sort_unstable_by_key(|&(number, i, _)| (number, i));
    drawn.truncate(count);
    drawn.sort_unstable_by_key(|&(_, i, _)| i);
    drawn.into_iter().map(|(_, _, example)| example).collect()
}

fn draw(id: &str, seed: u64) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"round trip").update(&seed.to_le_bytes()).update(id.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// What a second engine is to translate back: the translations as if they were originals.
pub fn to_translate_back(sample: &[&Example]) -> Vec<Example> {
    let original = |example: &&Example| {
        let mut original = Example::new(example.body.clone());
        original.id = example.id.clone();
        original
    };
    sample.iter().map(original).collect()
}

/// Each field of the sample beside its translation back; examples that did not come back are left out.
pub fn back_translations(sample: &[&Example], back: &[Example]) -> Vec<Compared> {
    let back: HashMap<&str, &Example> = back.iter().map(|e| (e.id.as_str(), e)).collect();
    let mut compared = Vec::new();
    for example in sample {
        let (Some(source), Some(back)) = (&example.source, back.get(example.id.as_str())) else { continue };
        for (name, text) in source.fields().filter(|(_, text)| !text.trim().is_empty()) {
            compared.push(Compared {
                id: format!("{} · {name}", example.id),
                source: Some(text.to_string()),
                translation: field(&example.body, name).unwrap_or_default(),
                references: Vec::new(),
                back: Some(field(&back.body, name).unwrap_or_default()),
            });
        }
    }
    compared
}

#[cfg(test)]
mod tests {
    use super::*;
    use tolmach_corpus::Body;

    fn translated(n: usize) -> Vec<Example> {
        let text = |text: String| Body::Text { text };
        let one = |i: usize| {
            let mut example = Example::new(text(format!("перевод {i}")));
            example.id = i.to_string();
            example.source = Some(text(format!("source {i}")));
            example
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn the_sample_depends_on_ids_and_seed_alone() {
        let examples = translated(1000);
        let ids = |sample: Vec<&Example>| sample.iter().map(|e| e.id.clone()).collect::<Vec<_>>();
        let drawn = ids(sample(&examples, 50, 1));
        assert_eq!(drawn.len(), 50);
        assert_ne!(drawn, ids(sample(&examples, 50, 2)));
        let numbers: Vec<usize> = drawn.iter().map(|id| id.parse().unwrap()).collect();
        assert!(numbers.is_sorted() && numbers[49] > 800, "spread, in order: {numbers:?}");
        // Without those that were not drawn, the others are drawn still.
        let fewer: Vec<Example> =
            examples.iter().filter(|e| drawn.contains(&e.id) || e.id.as_str() < "5").cloned().collect();
        assert_eq!(ids(sample(&fewer, 50, 1)), drawn);
        assert_eq!(sample(&examples, 5000, 1).len(), 1000);
    }

    #[test]
    fn what_did_not_come_back_is_left_out() {
        let examples = translated(3);
        let sample = sample(&examples, 3, 0);
        let mut back = to_translate_back(&sample);
        assert_eq!(back[0].body, examples[0].body);
        assert_eq!(back[0].source, None);
        back.remove(1);
        back[0].body = Body::Text { text: "source 0".into() };
        let compared = back_translations(&sample, &back);
        let ids: Vec<_> = compared.iter().map(|c| c.id.as_str()).collect();
        assert_eq!(ids, ["0 · text", "2 · text"]);
        assert_eq!(compared[0].back, compared[0].source);
    }
}
