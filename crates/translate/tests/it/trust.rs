//! What a user may believe of a translated data set, whatever the service does.

use crate::hostile::Hostile;
use crate::support::{example, translation};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;
use tolmach_corpus::Example;
use tolmach_translate::{
    Engine, Journal, Options, Progress, RetryPolicy, TranslateConfig, Translated, translate_examples,
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
