//! What a user may believe of a translated data set, whatever the service does.

use crate::hostile::Hostile;
use crate::support::{example, translation};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tolmach_corpus::Example;
use tolmach_translate::{
    Answer, Engine, EngineError, Journal, LanguagePair, Limits, Options, Progress, RetryPolicy,
    TranslateConfig, Translated, translate_examples,
};

pub fn options() -> Options {
    let config = TranslateConfig { to: "ru".to_string(), ..TranslateConfig::default() };
    let retry = RetryPolicy {
        attempts: 6,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(5),
        longest_retry_after: Duration::from_secs(1),
        ..RetryPolicy::default()
    };
    Options { retry, ..config.options().unwrap() }
}

pub fn run(examples: &[Example], engines: &[&dyn Engine], journal: Option<&mut Journal>) -> Translated {
    let mut ignore = |_: Progress<'_>| {};
    translate_examples(examples, engines, journal, &options(), &mut ignore, &AtomicBool::new(false)).unwrap()
}

/// Records as instruction data sets have them: lists, code, placeholders, figures, several sentences.
pub fn records(count: usize) -> Vec<Example> {
    let subjects =
        ["The river", "A teacher", "My old neighbour", "The committee", "Every engine", "Her sister"];
    let verbs = ["crosses", "explains", "remembers", "measures", "forgets", "repairs", "describes"];
    let objects = ["the garden", "a long letter", "the broken clock", "an empty house", "the second chapter"];
    let sentence = |n: usize| {
        let (s, v, o) = (subjects[n % 6], verbs[n / 6 % 7], objects[n / 42 % 5]);
        format!("{s} {v} {o} near house {}.", n / 7)
    };
    (0..count)
        .map(|i| {
            let instruction = match i % 4 {
                0 => format!("Explain to [name] why {} people came in {}.", i % 90 + 10, 1900 + i % 100),
                1 => format!("Write about {}. Use `item_{i}` and {{key}} once!", objects[i % 5]),
                2 => format!("What does the figure {}.{} mean?", i % 50, i % 9 + 1),
                _ => format!("Read https://example.com/page/{i} and tell me what it says."),
            };
            let output = match i % 3 {
                0 => format!("{} {} {}", sentence(i), sentence(i * 3 + 1), sentence(i * 5 + 2)),
                1 => format!("1. {}\n2. {}\n\n   - {}\n", sentence(i), sentence(i + 7), sentence(i * 2)),
                _ => format!("{}\n```\nprint('hello {i}')\n```\n{}", sentence(i + 3), sentence(i + 11)),
            };
            example(&i.to_string(), &instruction, &output)
        })
        .collect()
}

/// What the figures of the hostile run are.
pub fn hostile_figures(records: &[Example], characters: usize) -> String {
    let honest = Hostile::new(characters, 0.0);
    let honestly = run(records, &[&honest], None);
    let aside: Vec<&str> = honestly.missed.iter().map(|m| m.reason.as_str()).collect();
    println!("set aside of an honest service: {aside:#?}");
    assert!(aside.len() * 500 <= records.len(), "an honest service translates nearly everything");
    let right: BTreeMap<String, Example> = honestly.examples.into_iter().map(|e| (e.id.clone(), e)).collect();
    let least = honest.answered.load(SeqCst);

    let hostile = Hostile::new(characters, 1.0);
    let out = run(records, &[&hostile], None);
    // Every record leaves by exactly one door, in order.
    let (mut emitted, mut aside) = (out.examples.iter().peekable(), out.missed.iter().peekable());
    for record in records {
        if emitted.peek().is_some_and(|e| e.id == record.id) {
            let example = emitted.next().unwrap();
            if let Some(right) = right.get(&record.id) {
                // A word with a number in it (`num2`) may have been behind a mark, and so be in Latin letters.
                let same = |a: &str, b: &str| translation(a) == translation(b);
                let all_same =
                    example.body.fields().zip(right.body.fields()).all(|((_, a), (_, b))| same(a, b));
                assert!(all_same, "emitted, but wrong: {example:#?}\nright: {:#?}", right.body);
            }
            assert!(!example.translation.as_ref().unwrap().checked.is_empty());
        } else {
            let missed = aside.next().expect("every record is in one of the two files");
            assert_eq!((&missed.example.id, missed.reason.is_empty()), (&record.id, false));
        }
    }
    assert!(emitted.next().is_none() && aside.next().is_none(), "nothing twice");
    let answered = hostile.answered.load(SeqCst);
    assert_eq!(answered, out.stats.answered_requests);
    let ratio = answered as f64 / least as f64;
    assert!(ratio <= 1.5, "{answered} answered requests where {least} are possible: {ratio:.2}");
    format!(
        "{} records: {} emitted ({} repaired), {} in review; {answered} answered requests, {ratio:.2} x the least ({least}), {} failed",
        records.len(),
        out.examples.len(),
        out.stats.repaired,
        out.missed.len(),
        hostile.failed.load(SeqCst)
    )
}

#[test]
fn a_hostile_service_is_seen_through() {
    let figures = hostile_figures(&records(3000), 2000);
    println!("{figures}");
}

/// Records whose words come from one vocabulary, without anything else that tells them apart.
fn plain_records(count: usize) -> Vec<Example> {
    let (starts, ends) = (["g", "m", "t", "p", "s", "v"], ["rd", "lk", "nt", "sk", "mp", "ft", "st"]);
    let word =
        |n: usize| format!("{}{}{}", starts[n % 6], ["a", "e", "i", "o", "u"][n / 6 % 5], ends[n / 30 % 7]);
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let mut sentence = || {
        let words: Vec<String> = (0..8).map(|_| word(next() % 210)).collect();
        let sentence = words.join(" ");
        format!("{}{}.", sentence[..1].to_uppercase(), &sentence[1..])
    };
    (0..count).map(|i| example(&i.to_string(), &sentence(), &sentence())).collect()
}

/// Translates well, and puts answers into the wrong place: two change places, or a separator is lost and another
/// one made up, so that their number is right.
struct Displacing {
    honest: Hostile,
    displaced: AtomicUsize,
}

impl Engine for Displacing {
    fn name(&self) -> &str {
        "displacing"
    }

    fn limits(&self) -> Limits {
        self.honest.limits
    }

    fn takes_one_text(&self) -> bool {
        true
    }

    fn translate(&self, segments: &[&str], _pair: &LanguagePair) -> Result<Vec<Answer>, EngineError> {
        let mut pieces: Vec<String> = segments[0].split(" || ").map(translation).collect();
        let dice = segments[0].bytes().map(usize::from).sum::<usize>() % 10;
        if pieces.len() > 2 && dice < 2 {
            self.displaced.fetch_add(1, SeqCst);
            match dice {
                0 => pieces.swap(0, 1),
                _ => {
                    let second = pieces.remove(1);
                    pieces[0] = format!("{} {second}", pieces[0]);
                    pieces.push(translation("Something else."));
                }
            }
        }
        Ok(vec![Ok(pieces.join(" || "))])
    }
}

#[test]
fn answers_in_the_wrong_place_are_noticed_by_their_words() {
    let records = plain_records(1500);
    let engine = Displacing { honest: Hostile::new(600, 0.0), displaced: AtomicUsize::new(0) };
    let out = run(&records, &[&engine], None);
    let displaced = engine.displaced.load(SeqCst);
    assert!(displaced > 40, "{displaced} requests came back displaced");
    assert!(out.stats.repaired >= displaced, "{:?}", out.stats);
    for example in &out.examples {
        let source = example.source.as_ref().unwrap();
        let mut pairs = source.fields().zip(example.body.fields());
        assert!(pairs.all(|((_, a), (_, b))| translation(a) == b), "emitted, but wrong: {example:#?}");
    }
    assert!(out.missed.len() * 100 <= records.len(), "{} in review", out.missed.len());
}

#[test]
fn what_the_first_engine_spoils_the_second_translates() {
    let records = records(600);
    let first = Hostile::new(2000, 4.0);
    let mut second = Hostile::new(2000, 0.0);
    second.name = "second";
    let alone = run(&records, &[&first], None);
    assert!(alone.missed.len() > 3, "{} in review without a second engine", alone.missed.len());

    let first = Hostile::new(2000, 4.0);
    let both = run(&records, &[&first, &second], None);
    assert!(both.missed.is_empty(), "{:?}", both.missed.first().map(|m| &m.reason));
    let by = |name: &str| {
        let engines = both.examples.iter().map(|e| e.translation.as_ref().unwrap().engine.as_str());
        engines.filter(|engine| *engine == name).count()
    };
    assert_eq!(by("hostile") + by("hostile, second") + by("second"), records.len());
    assert!(by("hostile, second") + by("second") >= alone.missed.len(), "each says who translated it");
    let (of_first, of_second) = (first.answered.load(SeqCst), second.answered.load(SeqCst));
    assert!(of_second * 2 < of_first, "{of_second} requests where the first engine answered {of_first}");
}
