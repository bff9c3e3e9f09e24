//! Files as they come: formats, encodings, compressions, and the ways they are broken.

use super::*;
use crate::example::{Body, Role};
use crate::write::write_examples;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::io::Write;

const ALPACA: &str = r#"[
  {"instruction": "Say hi.", "input": "", "output": "Hi!", "topic": "talk"},
  {"id": 12, "instruction": "Add.", "input": "1 + 1", "output": "2"}
]"#;

fn read(bytes: impl AsRef<[u8]>) -> Result<Vec<Example>, Error> {
    read_examples_from(bytes.as_ref(), "data.json")
}

fn error(bytes: impl AsRef<[u8]>) -> String {
    read(bytes).unwrap_err().to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn array_and_jsonl_give_the_same_examples() {
    let array = read(ALPACA).unwrap();
    assert_eq!(array.len(), 2);
    assert_eq!(array[0].extra["topic"], "talk");
    assert_eq!(array[1].id, "12");
    let values: Vec<Value> = serde_json::from_str(ALPACA).unwrap();
    let lines: Vec<_> = values.iter().map(Value::to_string).collect();
    assert_eq!(read(lines.join("\n")).unwrap(), array);
    assert_eq!(read(format!("\u{feff}\n\n{}\r\n\r\n", lines.join("\r\n\r\n"))).unwrap(), array);
    assert_eq!(read(format!("\u{feff}\n {ALPACA}\n")).unwrap(), array);
}

#[test]
fn compressed_files_are_known_by_their_bytes() {
    let plain = read(ALPACA).unwrap();
    assert_eq!(read(gzip(ALPACA.as_bytes())).unwrap(), plain);
    assert_eq!(read(zstd::encode_all(ALPACA.as_bytes(), 3).unwrap()).unwrap(), plain);
    // Two gzip members one after the other, as `cat a.gz b.gz` makes them.
    let line = "{\"text\": \"a\"}\n";
    let two = [gzip(line.as_bytes()), gzip("{\"text\": \"b\"}\n".as_bytes())].concat();
    assert_eq!(read(two).unwrap().len(), 2);
}

#[test]
fn a_pattern_stands_for_all_files_that_match() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("train-1-of-2.jsonl", "{\"id\": \"b\", \"text\": \"two\"}\n{\"id\": \"c\", \"text\": \"three\"}");
    write("train-0-of-2.json", "[{\"id\": \"b\", \"text\": \"one\"}]");
    write("test.jsonl", "{\"text\": \"no\"}");
    std::fs::create_dir(dir.path().join("train-folder")).unwrap();
    let read = |name: &str| read_examples(&dir.path().join(name));
    let ids = |name: &str| read(name).unwrap().into_iter().map(|e| e.id).collect::<Vec<_>>();
    assert_eq!(ids("train-*"), ["b", "b-2", "c"], "in the order of the names, with unique ids");
    assert_eq!(ids("*-1-*.jsonl"), ["b", "c"]);
    assert!(read("valid*").unwrap_err().to_string().contains("no file matches"));
    // A file may be called so.
    write("train-*", "{\"id\": \"star\", \"text\": \"one\"}");
    assert_eq!(ids("train-*"), ["star"]);
    // A bad row is said to be in its own file.
    write("train-1-of-2.jsonl", "{}");
    assert!(read("*-of-2*").unwrap_err().to_string().contains("train-1-of-2.jsonl: row 1"));
}

#[test]
fn every_format_is_read() {
    let rows = [
        r#"{"instruction": "a", "output": "b"}"#,
        r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#,
        r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}"#,
        r#"{"text": "b"}"#,
    ];
    let examples = read(rows.join("\n")).unwrap();
    assert!(examples.iter().all(|e| e.body.answer() == Some("b")));
    let Body::Messages { messages } = &examples[2].body else { panic!("{:?}", examples[2]) };
    assert_eq!(messages[1].role, Role::Assistant);
}

#[test]
fn ids_are_unique_even_where_rows_repeat() {
    let rows =
        [r#"{"id": "x", "text": "a"}"#, r#"{"id": "x-2", "text": "b"}"#, r#"{"id": "x", "text": "c"}"#];
    let ids: Vec<_> = read(rows.join("\n")).unwrap().into_iter().map(|e| e.id).collect();
    assert_eq!(ids, ["x", "x-2", "x-3"]);
    let twins = read("{\"text\": \"a\"}\n{\"text\": \"a\"}").unwrap();
    assert_eq!(twins[1].id, format!("{}-2", twins[0].id));
}

#[test]
fn a_missing_file_is_named() {
    let error = read_examples(Path::new("no/such.json")).unwrap_err().to_string();
    assert!(error.starts_with("cannot open no/such.json: "), "{error}");
}

#[test]
fn an_empty_file_is_no_data_set() {
    for bytes in ["", "\n \n", "[]", " [ ] "] {
        assert_eq!(error(bytes), "data.json holds no examples: it is empty");
    }
}

#[test]
fn malformed_json_is_placed_by_line_and_column() {
    assert_eq!(
        error("[\n  {\"text\": \"a\"},\n  {\"text\" \"b\"}\n]"),
        "data.json: line 3, column 11: expected `:`"
    );
    assert_eq!(
        error("{\"text\": \"a\"}\n\n{\"text\": \"b\",}\n"),
        "data.json: line 3, column 14: trailing comma"
    );
    assert!(error("{\n  \"text\": \"a\"\n}").contains("each line is one whole object"));
    assert!(error("[{\"text\": \"a\"}").contains("EOF"), "a file cut off is no file");
    assert!(error("[{\"text\": \"a\"}] {}").contains("trailing characters"));
    assert!(error(r#"{"text": "\ud800"}"#).contains("line 1, column 17"), "half a surrogate pair");
}

#[test]
fn a_bad_row_is_numbered() {
    assert!(
        error("[{\"text\": \"a\"}, {\"prompt\": \"b\"}]").starts_with("data.json: row 2: no `instruction`")
    );
    assert!(error("{\"text\": \"a\"}\n\n{\"txt\": 1}").starts_with("data.json: row 3: no "));
    assert!(error("[1]").contains("row 1: expected an object, found a number"));
}

#[test]
fn truncated_archives_say_so() {
    let rows: String = (0..500).map(|i| format!("{{\"text\": \"number {i}\"}}\n")).collect();
    let gz = gzip(rows.as_bytes());
    let zst = zstd::encode_all(rows.as_bytes(), 3).unwrap();
    for bytes in [&gz[..gz.len() - 20], &gz[..gz.len() - 4], &gz[..9], &zst[..zst.len() - 20]] {
        let error = error(bytes);
        assert!(error.contains("truncated"), "{error}");
    }
}

#[test]
fn wrong_encodings_are_named() {
    assert_eq!(
        error(b"{\"text\": \"a\"}\n{\"text\": \"caf\xe9\"}\n"),
        "data.json: line 2: byte 14 is not UTF-8; convert the file to UTF-8 (for example with iconv)"
    );
    assert!(error(b"[\n{\"text\": \"\xff\"}]").contains("line 2: byte 11 is not UTF-8"));
    assert!(error(b"\xff\xfe[\0").contains("UTF-16"));
    assert!(error(b"PAR1\0\0").contains("Parquet"));
    assert!(error("instruction,output\n").contains("begins with `instruction,output`"));
}

proptest! {
    /// Any text in any field goes through our own format unchanged, in each compression.
    #[test]
    fn written_examples_read_back(texts in prop::collection::vec((".*", ".*", ".*"), 1..8), kind in 0..3usize) {
        let examples: Vec<_> = texts.into_iter().enumerate().map(|(i, (instruction, input, output))| {
            let mut example = Example::new(Body::Alpaca { instruction, input, output });
            example.id = i.to_string();
            example
        }).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(["a.jsonl", "a.jsonl.gz", "a.jsonl.zst"][kind]);
        write_examples(&path, &examples).unwrap();
        prop_assert_eq!(read_examples(&path).unwrap(), examples);
    }
}
