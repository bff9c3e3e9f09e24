use super::{Columns, rows};
use crate::{Body, Example, Message, Role, Translation, read_examples, write_examples};
use serde_json::{Value, json};

fn write(values: &[Value]) -> Vec<u8> {
    let columns = Columns::of(values.iter().cloned()).unwrap();
    columns.write(Vec::new(), values.iter().cloned()).unwrap()
}

fn round_trip(values: &[Value]) -> Vec<Value> {
    rows(write(values)).unwrap()
}

fn examples() -> Vec<Example> {
    let alpaca = |i: usize| Body::Alpaca {
        instruction: format!("Вопрос {i}"),
        input: if i.is_multiple_of(2) { String::new() } else { "a\nb\t\u{1}🙂".into() },
        output: "ответ".repeat(i),
    };
    let message = |role, content: &str| Message { role, content: content.into() };
    let mut all: Vec<Example> = (0..50).map(|i| Example::new(alpaca(i))).collect();
    all.push(Example::new(Body::Messages {
        messages: vec![message(Role::User, "Hi"), message(Role::Assistant, ""), message(Role::User, "?")],
    }));
    all.push(Example::new(Body::Messages { messages: Vec::new() }));
    all.push(Example::new(Body::Text { text: "просто текст".into() }));
    for (i, example) in all.iter_mut().enumerate().skip(1) {
        example.source = Some(alpaca(i + 1));
        example.language = Some("ru".into());
        let repairs = (0..i % 3).map(|r| format!("repair {r}")).collect();
        example.translation =
            Some(Translation { engine: "memory".into(), repairs, ..Translation::default() });
    }
    all[3].extra = json!({"score": 4.5, "tags": ["a", "b"], "meta": {"by": {"name": "x"}}, "any": 1})
        .as_object()
        .unwrap()
        .clone();
    all[7].extra = json!({"score": 3.25, "tags": [], "meta": {"year": 1999}, "any": "one", "big": u64::MAX})
        .as_object()
        .unwrap()
        .clone();
    all
}

#[test]
fn examples_read_back_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.parquet");
    let examples = examples();
    write_examples(&path, &examples).unwrap();
    assert_eq!(std::fs::read(&path).unwrap()[..4], *b"PAR1");
    assert_eq!(read_examples(&path).unwrap(), examples);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file may stay");
}

#[test]
fn many_row_groups_are_one_file() {
    let long = "длинный текст ".repeat(100_000);
    let row = |i: usize| json!({"id": i.to_string(), "list": vec![i.to_string(); i % 4], "text": format!("{i}{long}")});
    let rows: Vec<Value> = (0..60).map(row).collect(); // 150 MB
    assert!(round_trip(&rows) == rows);
}

#[test]
fn every_shape_of_value_survives() {
    let rows = vec![
        json!({"b": true, "i": -5, "d": 1.5, "t": "", "l": [1, 2], "ll": [[1], [], [2, 3]], "g": {"a": {"b": [{"c": 1}]}}}),
        json!({"b": false, "i": i64::MAX, "d": 1e300, "t": "\u{0}", "l": [], "ll": [], "g": {"a": {"b": []}}}),
        json!({"l": [null, 3], "ll": [[null]], "g": {"a": {"b": [{"c": 2}, {"c": 3}]}}}),
        json!({}),
        json!({"mixed": 1, "wide": u64::MAX, "empty": {}, "big_or_fraction": i64::MAX}),
        json!({"mixed": "one", "wide": 1, "empty": {}, "big_or_fraction": 0.5}),
        json!({"mixed": {"a": [null, {"b": null}]}}),
    ];
    assert_eq!(round_trip(&rows), rows);
}

#[test]
fn nulls_read_back_as_absent_and_whole_numbers_among_fractions_as_fractions() {
    let rows = [json!({"a": null, "b": 1, "c": {"x": 1, "y": null}}), json!({"a": null, "b": 0.5})];
    assert_eq!(round_trip(&rows), [json!({"b": 1.0, "c": {"x": 1}}), json!({"b": 0.5})]);
}

#[test]
fn a_dictionary_does_not_become_hundreds_of_columns() {
    let row = |i: usize| json!({"id": i, "counts": {format!("key {i}"): i}});
    let rows: Vec<Value> = (0..300).map(row).collect();
    assert_eq!(round_trip(&rows), rows);
}

#[test]
fn damaged_files_are_named_and_never_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("all.parquet");
    write_examples(&path, &examples()).unwrap();
    let good = std::fs::read(&path).unwrap();
    for cut in [5, 100, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..cut]).unwrap();
        let error = read_examples(&path).unwrap_err().to_string();
        assert!(error.contains("all.parquet: the Parquet file cannot be read"), "{error}");
    }
    for at in (4..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        std::fs::write(&path, &bad).unwrap();
        // Without check sums some damage goes unseen; what counts is an error or examples, no panic.
        drop(read_examples(&path));
    }
}

#[test]
fn rows_that_are_no_examples_are_named_by_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("other.parquet");
    let values = [json!({"text": "a"}), json!({"prompt": "b"})];
    std::fs::write(&path, write(&values)).unwrap();
    let error = read_examples(&path).unwrap_err().to_string();
    assert!(
        error.contains("other.parquet: row 2: no `instruction`") && error.contains("`prompt`"),
        "{error}"
    );
    std::fs::write(&path, write(&[])).unwrap();
    assert!(read_examples(&path).unwrap_err().to_string().contains("holds no examples"));
}
