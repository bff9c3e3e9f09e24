//! The rules together: order, counts, files, independence of threads.

use super::*;
use crate::example::Body;

fn example(instruction: &str, output: &str) -> Example {
    let (instruction, output) = (instruction.to_string(), output.to_string());
    Example::new(Body::Alpaca { instruction, input: String::new(), output })
}

fn dirty() -> Vec<Example> {
    vec![
        example("Name a bee.", "Maya."),
        example("Name a cat.\r\n", "Tom."),
        example("Draw a cat.", "<nooutput>"),
        example("Translate 'cat' into French.", "Chat."),
        example("Spell cat.", "C-A-T"),
        example("Find the verb: she runs", "runs"),
        example("name a  BEE.", "Maya."),
        example("Say nothing.", ""),
    ]
}

fn dropped(cleaned: &Cleaned) -> Vec<(Rule, &str)> {
    cleaned.dropped.iter().map(|d| (d.rule, d.example.body.fields().next().unwrap().1)).collect()
}

#[test]
fn every_example_is_kept_or_dropped_with_one_rule() {
    let cleaned = clean(dirty(), &CleanConfig::default(), "en", |_| ());
    let expected = [
        (Rule::Markers, "Draw a cat."),
        (Rule::MentionsTranslation, "Translate 'cat' into French."),
        (Rule::AboutLanguage, "Find the verb: she runs"),
        (Rule::Duplicates, "name a  BEE."),
        (Rule::Empty, "Say nothing."),
    ];
    assert_eq!(dropped(&cleaned), expected);
    assert_eq!(cleaned.kept[1].body.prompt_text(), "Name a cat.", "line end mended");
    let report = &cleaned.report;
    assert_eq!((report.total, report.kept, report.dropped), (8, 3, 5));
    assert_eq!(report.rules.iter().map(|r| r.dropped).sum::<usize>(), report.dropped);
    assert_eq!((report.repairs.line_ends, report.repairs.trimmed), (1, 1));
    let markers = report.rules.iter().find(|r| r.rule == Rule::Markers).unwrap();
    assert_eq!(markers.examples[0].text, "Draw a cat. ⏵ <nooutput>");
    assert_eq!(markers.share, 1.0 / 8.0);
}

/// Rows went missing between the files of LLaMa2lang (issue 15): here every id of the input is in one of
/// the two output files, once.
#[test]
fn llama2lang_15_no_row_is_lost_between_files() {
    let rows: String = dirty()
        .iter()
        .map(|e| serde_json::to_string(&json!({"text": e.body.prompt_text()})).unwrap() + "\n")
        .collect();
    let read = |bytes: &[u8]| crate::read_examples_from(bytes, "rows.jsonl").unwrap();
    let examples = read((rows.clone() + &rows).as_bytes());
    let mut expected: Vec<_> = examples.iter().map(|e| e.id.clone()).collect();
    let cleaned = clean(examples, &CleanConfig::default(), "en", |_| ());
    let mut files = Vec::new();
    crate::write_jsonl_to(&mut files, &cleaned.kept).unwrap();
    crate::write_jsonl_to(&mut files, &cleaned.dropped).unwrap();
    let mut found: Vec<_> = read(&files).into_iter().map(|e| e.id).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert!(!cleaned.kept.is_empty() && !cleaned.dropped.is_empty());
}

#[test]
fn a_rule_that_is_off_drops_nothing() {
    let mut config = CleanConfig { repair: false, ..CleanConfig::default() };
    for descriptor in RULES {
        config.set(descriptor.rule, false);
    }
    let cleaned = clean(dirty(), &config, "en", |_| ());
    assert_eq!(cleaned.kept, dirty());
    assert!(cleaned.report.rules.iter().all(|rule| !rule.on && rule.dropped == 0));
}

#[test]
fn dropped_rows_carry_the_rule_and_can_be_cleaned_again() {
    let cleaned = clean(dirty(), &CleanConfig::default(), "en", |_| ());
    let line = serde_json::to_string(&cleaned.dropped[0]).unwrap();
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["dropped"], json!({"rule": "markers", "reason": "output holds `nooutput`"}));
    let again: Example = serde_json::from_str(&line).unwrap();
    let again = clean(vec![again], &CleanConfig::default(), "en", |_| ());
    let line = serde_json::to_string(&again.dropped[0]).unwrap();
    assert_eq!(line.matches("\"dropped\"").count(), 1, "{line}");
}

#[test]
fn the_source_language_decides_what_is_wrong() {
    let russian = vec![example("Назови пчелу.", "Пчелу зовут Майя.")];
    let config = CleanConfig::default();
    assert_eq!(clean(russian.clone(), &config, "ru", |_| ()).kept.len(), 1);
    assert_eq!(clean(russian.clone(), &config, "en", |_| ()).dropped[0].rule, Rule::WrongLanguage);
    assert_eq!(clean(russian, &config, "xx", |_| ()).kept.len(), 1, "nothing is known of the language");
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let many = || -> Vec<Example> {
        (0..600)
            .flat_map(|i| {
                dirty().into_iter().map(move |mut e| {
                    e.id = format!("{i}-{}", e.id);
                    e
                })
            })
            .collect()
    };
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut heard = Vec::new();
        let cleaned = pool.install(|| {
            let heard = std::sync::Mutex::new(&mut heard);
            clean(many(), &CleanConfig::default(), "en", |n| heard.lock().unwrap().push(n))
        });
        (
            serde_json::to_string(&cleaned.kept).unwrap(),
            serde_json::to_string(&cleaned.dropped).unwrap(),
            heard,
        )
    };
    let one = run(1);
    assert_eq!(one, run(3));
    assert_eq!(one.2.last(), Some(&4800), "progress reaches the end");
}
