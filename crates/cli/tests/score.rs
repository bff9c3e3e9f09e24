//! `tolmach score` and `tolmach dataset` as a user runs them.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use tolmach_corpus::read_examples;

struct Work {
    dir: tempfile::TempDir,
}

impl Work {
    fn new() -> Self {
        Work { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Exit code, standard output, messages.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("tolmach"));
        let output = command.current_dir(self.dir.path()).args(args).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, args: &[&str]) -> Value {
        let (code, stdout, stderr) = self.run(&[args, &["--json"]].concat());
        assert_eq!(code, 0, "{stderr}");
        serde_json::from_str(&stdout).unwrap()
    }

    /// `count` translated examples in `russian.jsonl`.
    fn translated(&self, count: usize) {
        let row = |i: usize| {
            json!({"id": format!("r{i}"), "instruction": format!("Спроси про число {i}"), "input": "", "output": "Сорок два",
                   "source": {"instruction": format!("Ask about number {i}"), "input": "", "output": "Forty two"},
                   "language": "ru", "translation": {"engine": "memory"}})
        };
        self.write("russian.jsonl", (0..count).map(|i| row(i).to_string() + "\n").collect::<String>());
    }
}

#[test]
fn text_files_are_scored_line_by_line_with_signatures() {
    let work = Work::new();
    work.write("engine.ru", "Кошка сидит на ковре.\r\nВ году двенадцать месяцев.\n");
    work.write("human.ru", "Кошка сидела на ковре.\nВ году двенадцать месяцев.\n");
    work.write("english.en", "The cat sat on the mat.\nA year has <twelve> months.\n");
    let (code, stdout, stderr) = work.run(&["score", "engine.ru", "--ref", "human.ru"]);
    assert_eq!(code, 0, "{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("chrF2++|nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:2.6.0 = "));
    assert!(lines[2].starts_with("BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0 = "));

    let page = ["score", "engine.ru", "--ref", "human.ru", "--source", "english.en", "--report", "q.html"];
    let scored = work.json(&page);
    assert_eq!(scored["segments"], 2);
    assert!(scored["scores"][0]["score"].as_f64().unwrap() > 70.0, "{scored}");
    let html = work.read("q.html");
    assert!(
        html.contains("A year has &lt;twelve&gt; months.") && html.contains("<mark>сидит</mark>"),
        "{html}"
    );
    let (code, _, stderr) = work.run(&page);
    assert!(code == 2 && stderr.contains("q.html exists") && stderr.contains("--force"), "{stderr}");
}

#[test]
fn what_cannot_be_compared_is_named() {
    let work = Work::new();
    work.write("one.ru", "раз\n");
    work.write("two.ru", "раз\nдва\n");
    work.write("bad.ru", b"\xd0\xb0\n\xff\n");
    work.write("empty.ru", "");
    work.translated(1);
    for (args, code, words) in [
        (["one.ru", "two.ru"], 3, "two.ru has 2 lines and the translation 1"),
        (["two.ru", "bad.ru"], 3, "bad.ru:2: not UTF-8"),
        (["empty.ru", "empty.ru"], 3, "not one segment"),
        (["one.ru", "missing.ru"], 3, "cannot read missing.ru"),
        (["one.ru", "russian.jsonl"], 2, "of different forms"),
    ] {
        let (found, _, stderr) = work.run(&["score", args[0], "--ref", args[1]]);
        assert!(found == code && stderr.contains(words), "{found}: {stderr}");
    }
    let (code, _, stderr) = work.run(&["score", "one.ru"]);
    assert!(code == 2 && stderr.contains("--ref"), "{stderr}");
}

#[test]
fn data_sets_are_compared_by_id() {
    let work = Work::new();
    work.translated(3);
    let row = json!({"id": "r1", "instruction": "Спроси про число 1", "input": "", "output": "42"});
    work.write("human.jsonl", format!("{row}\n"));
    let scored = work.json(&["score", "russian.jsonl", "--ref", "human.jsonl", "--report", "q.html"]);
    assert_eq!(scored["segments"], 2);
    assert_eq!(scored["facts"]["examples by engine"], "3 memory");
    let html = work.read("q.html");
    assert!(html.contains("r1 · output") && html.contains("Forty two"), "{html}");
}

#[test]
fn a_round_trip_compares_with_the_sources() {
    let work = Work::new();
    work.translated(30);
    let pair = |s: String, t: String| json!({"source": s, "target": t}).to_string() + "\n";
    let back = (0..29).map(|i| pair(format!("Спроси про число {i}"), format!("Ask about number {i}")));
    let back = back.collect::<String>() + &pair("Сорок два".into(), "Forty one".into());
    work.write("back.jsonl", back);
    work.write("back.toml", "[translate]\nengine = \"memory\"\nmemory = \"back.jsonl\"\n");
    let args =
        ["score", "russian.jsonl", "--round-trip", "back.toml", "--sample", "30", "--report", "q.html"];
    let scored = work.json(&args);
    assert_eq!(scored["segments"], 58, "{scored}");
    assert_eq!(scored["facts"]["of these without a way back"], "1");
    assert_eq!(scored["facts"]["translated back by"], "memory");
    let score = scored["scores"][0]["score"].as_f64().unwrap();
    assert!((70.0..100.0).contains(&score), "{score}");
    let html = work.read("q.html");
    assert!(html.contains("translated back") && html.contains("Forty <mark>one</mark>"), "{html}");
    assert!(!work.path("russian.jsonl.round-trip.in.jsonl").exists());

    work.write("same.toml", "[translate]\nengine = \"memory\"\nmemroy = \"back.jsonl\"\n");
    let (code, _, stderr) = work.run(&["score", "russian.jsonl", "--round-trip", "same.toml"]);
    assert!(code == 2 && stderr.contains("same.toml:3") && stderr.contains("`memory`"), "{stderr}");
    work.write("plain.jsonl", "{\"text\": \"a\"}\n");
    let (code, _, stderr) = work.run(&["score", "plain.jsonl", "--round-trip", "back.toml"]);
    assert!(code == 3 && stderr.contains("holds no translated example"), "{stderr}");
}

#[test]
fn a_data_set_has_three_sides_a_card_and_every_example_once() {
    let work = Work::new();
    work.translated(300);
    work.write("russian.jsonl.review.jsonl", "{\"id\": \"r999\", \"text\": \"aside\"}\n");
    work.write("raw.jsonl", "{\"text\": \"A sentence that stays.\"}\n{\"text\": \" \"}\n");
    let (code, _, stderr) = work.run(&["clean", "raw.jsonl", "-o", "clean.jsonl", "--report", "clean.json"]);
    assert_eq!(code, 0, "{stderr}");
    let mut args = vec!["dataset", "russian.jsonl", "-o", "out", "--name", "Числа", "--license", "cc-by-4.0"];
    args.extend(["--source", "org/numbers", "--filters", "clean.json", "--format", "parquet,jsonl"]);
    let written = work.json(&args);
    assert_eq!(written["set_aside"], 1);
    let mut count = 0;
    for split in ["train", "validation", "test"] {
        let examples = read_examples(&work.path(&format!("out/data/{split}.parquet"))).unwrap();
        assert_eq!(examples, read_examples(&work.path(&format!("out/data/{split}.jsonl"))).unwrap());
        count += examples.len();
    }
    assert_eq!(count, 300);
    let card = work.read("out/README.md");
    for line in
        ["license: cc-by-4.0", "org/numbers", "1 of 2 examples were kept", "1 examples whose translation"]
    {
        assert!(card.contains(line), "{line} in\n{card}");
    }
    let (code, _, stderr) = work.run(&args);
    assert!(code == 2 && stderr.contains("exists") && stderr.contains("--force"), "{stderr}");
    args.push("--force");
    assert_eq!(work.run(&args).0, 0);
}

#[test]
fn wrong_shares_and_reports_are_refused_before_anything_is_written() {
    let work = Work::new();
    work.translated(3);
    work.write("no.json", "{\"a\": 1}");
    let base = ["dataset", "russian.jsonl", "-o", "out", "--name", "n", "--license", "mit"];
    for (more, code, words) in [
        (["--test-share", "1.5"], 2, "expected a share from 0 to 1"),
        (["--validation-share", "0.99"], 2, "leave nothing for training"),
        (["--filters", "no.json"], 3, "no.json is no report of a cleaning"),
        (["--review", "missing.jsonl"], 3, "missing.jsonl"),
    ] {
        let (found, _, stderr) = work.run(&[&base[..], &more[..]].concat());
        assert!(found == code && stderr.contains(words), "{found}: {stderr}");
        assert!(!work.path("out").exists());
    }
    let (code, _, stderr) = work.run(&["dataset", "russian.jsonl", "-o", "out", "--name", "n"]);
    assert!(code == 2 && stderr.contains("--license"), "{stderr}");
}
