use super::*;
use crate::{Body, Translation, read_examples};

fn examples(n: usize) -> Vec<Example> {
    let body = |question: String, output: &str| Body::Alpaca {
        instruction: question,
        input: String::new(),
        output: output.into(),
    };
    let one = |i: usize| {
        let mut example = Example::new(body(format!("Вопрос {i}?"), "```\n---\nответ"));
        example.source = Some(body(format!("Question {i}?"), "answer"));
        example.language = Some("ru".into());
        let repairs = if i.is_multiple_of(4) { vec![format!("digits: {i}")] } else { Vec::new() };
        let engine = if i.is_multiple_of(10) { "second" } else { "first" };
        example.translation =
            Some(Translation { engine: engine.into(), repairs, checked: "digits loops".into() });
        example
    };
    (0..n).map(one).collect()
}

fn facts() -> DataSetFacts {
    DataSetFacts {
        name: "Альпака: \"по-русски\"\n".into(),
        license: "cc-by-nc-4.0".into(),
        sources: vec!["yahma/alpaca-cleaned".into()],
        shares: Shares { validation: 0.1, test: 0.1 },
        split_seed: 3,
        filters: None,
        set_aside: Some(7),
    }
}

#[test]
fn every_example_is_in_one_file_of_each_format() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("new/folder");
    let report = write_data_set(&folder, examples(500), &DataFormat::ALL, &facts()).unwrap();
    let names: Vec<_> = report.splits.iter().map(|s| s.name).collect();
    assert_eq!(names, ["train", "validation", "test"]);
    let mut ids = Vec::new();
    for split in &report.splits {
        let read = |file: &DataSetFile| read_examples(&folder.join(&file.path)).unwrap();
        let (parquet, jsonl) = (read(&split.files[0]), read(&split.files[1]));
        assert_eq!(parquet, jsonl);
        assert_eq!(parquet.len(), split.examples);
        ids.extend(parquet.into_iter().map(|e| e.id));
    }
    let mut expected: Vec<_> = examples(500).into_iter().map(|e| e.id).collect();
    ids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ids, expected);
}

#[test]
fn the_card_tells_licence_provenance_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let report = write_data_set(dir.path(), examples(200), &[DataFormat::Parquet], &facts()).unwrap();
    let card = fs::read_to_string(&report.card).unwrap();
    let (front, text) = card.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    for line in [
        r#"pretty_name: "Альпака: \"по-русски\"\n""#,
        "language:\n- \"ru\"",
        "license: cc-by-nc-4.0",
        "size_categories:\n- n<1K",
        "source_datasets:\n- \"yahma/alpaca-cleaned\"",
        "  - split: validation\n    path: data/validation.parquet",
    ] {
        assert!(front.contains(line), "{line} in\n{front}");
    }
    for line in [
        "# Альпака: \"по-русски\"\n",
        "200 examples, by engine: 180 `first`, 20 `second`",
        "checked in 200 of them: digits loops",
        "7 examples whose translation was set aside",
        "50 examples were repaired",
        "| digits | 50 |",
        "seed 3, validation 0.1, test 0.1",
        &report.splits[0].files[0].blake3,
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[test]
fn the_card_tells_the_terms_of_local_engines() {
    let dir = tempfile::tempdir().unwrap();
    let mut translated = examples(3);
    for (example, engine) in translated.iter_mut().zip(["marian, nllb", "marian", "deepl"]) {
        example.translation.as_mut().unwrap().engine = engine.into();
    }
    let report = write_data_set(dir.path(), translated, &[DataFormat::Jsonl], &facts()).unwrap();
    let card = fs::read_to_string(report.card).unwrap();
    assert!(card.contains("- terms of `nllb`: NLLB's weights are CC-BY-NC-4.0: not for commercial use\n"));
    assert!(card.contains("- terms of `marian`: "));
    assert!(!card.contains("m2m100"), "{card}");
}

#[test]
fn a_licence_without_an_id_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let facts = DataSetFacts { license: "Our own terms".into(), ..facts() };
    let report = write_data_set(dir.path(), examples(3), &[DataFormat::Jsonl], &facts).unwrap();
    let card = fs::read_to_string(report.card).unwrap();
    assert!(card.contains("license: other\nlicense_name: \"Our own terms\"\n"));
}

#[test]
fn the_filters_are_listed_by_rule() {
    let mut many = examples(20);
    many.extend((0..5).map(|_| Example::new(Body::Text { text: " ".into() })));
    let cleaned = crate::clean(many, &crate::CleanConfig::default(), "ru", |_| {});
    let dir = tempfile::tempdir().unwrap();
    let facts = DataSetFacts { filters: Some(cleaned.report), ..facts() };
    let report = write_data_set(dir.path(), examples(20), &[DataFormat::Jsonl], &facts).unwrap();
    let card = fs::read_to_string(report.card).unwrap();
    let line = card.lines().find(|line| line.starts_with("| empty |")).unwrap();
    assert!(line.ends_with("| 5 |"), "{line}");
    assert!(card.contains("of 25 examples were kept"));
}

#[test]
fn a_second_data_set_leaves_nothing_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    write_data_set(dir.path(), examples(100), &DataFormat::ALL, &facts()).unwrap();
    let all_train = DataSetFacts { shares: Shares::default(), ..facts() };
    write_data_set(dir.path(), examples(100), &[DataFormat::Jsonl], &all_train).unwrap();
    let left: Vec<_> = data_set_files(dir.path()).filter(|path| path.exists()).collect();
    assert_eq!(left, [dir.path().join("README.md"), dir.path().join("data/train.jsonl")]);
    write_data_set(dir.path(), examples(100), &[DataFormat::Jsonl], &all_train).unwrap();
}
