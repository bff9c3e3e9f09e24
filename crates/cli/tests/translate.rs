//! `tolmach translate` as a user runs it: the real binary, a small LibreTranslate server, signals.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use tolmach_translate::{Journal, LanguagePair, Scope};

/// Answers `POST /translate`, after a pause, and keeps the texts it was asked for.
struct Server {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

/// Whether a server means well. What a hostile one does wrong follows from the request, so that two runs with
/// the same requests see the same.
#[derive(Clone, Copy, PartialEq)]
enum Manners {
    Honest,
    Hostile,
}

impl Server {
    fn start(pause: Duration) -> Self {
        Self::with(Manners::Honest, pause)
    }

    fn with(manners: Manners, pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = log.clone();
                // A client that was killed cuts its connections; that is no concern of the server.
                thread::spawn(move || drop(serve(stream, &log, manners, pause)));
            }
        });
        Server { endpoint, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    log: &Mutex<Vec<String>>,
    manners: Manners,
    pause: Duration,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut line, mut length, mut is_post) = (String::new(), 0, false);
    while reader.read_line(&mut line)? > 2 {
        is_post |= line.starts_with("POST /translate");
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (status, answer) = match is_post {
        true => ("200 OK", answer(&serde_json::from_slice(&body)?, log, manners)),
        false => ("404 Not Found", json!({"error": "Not found"})),
    };
    thread::sleep(pause);
    let answer = answer.to_string();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}",
        answer.len()
    )
}

fn answer(request: &Value, log: &Mutex<Vec<String>>, manners: Manners) -> Value {
    // FNV-1a: the same in every process.
    let hash = |text: &str| {
        text.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
            >> 7
    };
    let whole = hash(&request["q"].to_string());
    let translate = |text: &Value| {
        let text = text.as_str().unwrap();
        log.lock().unwrap().push(text.to_string());
        let target = if request["target"] == "en" { back(text) } else { translation(text) };
        match (manners, (hash(text) ^ whole) % 12) {
            (Manners::Hostile, 0) => json!(target.replace(|c: char| c.is_ascii_digit(), "7")),
            (Manners::Hostile, 1) => json!(text),
            (Manners::Hostile, 2) => json!(format!("{target} {target} {target} {target}")),
            _ => json!(target),
        }
    };
    match &request["q"] {
        Value::Array(texts) => {
            let mut answers: Vec<Value> = texts.iter().map(translate).collect();
            if manners == Manners::Hostile && whole.is_multiple_of(10) {
                answers.pop();
            }
            json!({"translatedText": answers})
        }
        one => json!({"translatedText": translate(one)}),
    }
}

const LETTERS: &str = "абцдефгхижклмнопчрстувшщыз";

/// The same words in Cyrillic letters, everything else as it is.
fn translation(text: &str) -> String {
    let letter = |c: char| match c {
        'a'..='z' => LETTERS.chars().nth((c as u8 - b'a') as usize).unwrap(),
        'A'..='Z' => LETTERS.to_uppercase().chars().nth((c as u8 - b'A') as usize).unwrap(),
        other => other,
    };
    text.chars().map(letter).collect()
}

/// What [`translation`] was made of.
fn back(text: &str) -> String {
    let letter = |c: char| {
        let small = c.to_lowercase().next().unwrap_or(c);
        let Some(at) = LETTERS.chars().position(|l| l == small) else { return c };
        let latin = (b'a' + at as u8) as char;
        if small == c { latin } else { latin.to_ascii_uppercase() }
    };
    text.chars().map(letter).collect()
}

/// A folder with an input of `count` examples, each with two segments of its own and one in common.
struct Work {
    dir: tempfile::TempDir,
    count: usize,
}

impl Work {
    fn new(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let row = |i: usize| {
            json!({"id": format!("r{i}"), "instruction": format!("Ask number {i}"), "input": "The same for all",
                   "output": format!("1. Say number {i}\n\n2. 42\n")})
        };
        let rows: String = (0..count).map(|i| row(i).to_string() + "\n").collect();
        std::fs::write(dir.path().join("in.jsonl"), rows).unwrap();
        Work { dir, count }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, output: &str) -> Command {
        self.command_for("in.jsonl", output)
    }

    fn command_for(&self, input: &str, output: &str) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("tolmach"));
        command.current_dir(self.dir.path());
        command.args(["translate", input, "-o", output, "--from", "en", "--to", "ru", "--json"]);
        command
    }

    fn libretranslate(&self, output: &str, server: &Server) -> Command {
        let mut command = self.command(output);
        command.args(["--engine", "libretranslate", "--endpoint", &server.endpoint]);
        command.args(["--max-segments", "5", "--concurrency", "2", "--attempts", "2"]);
        command
    }

    fn memory(&self, output: &str, known: usize) -> Command {
        let pair = |s: String| json!({"source": s, "target": format!("перевод: {s}")}).to_string() + "\n";
        let rows = (0..known).map(|i| pair(format!("Ask number {i}")) + &pair(format!("Say number {i}")));
        let rows = rows.collect::<String>() + &pair("The same for all".to_string());
        std::fs::write(self.path("memory.jsonl"), rows).unwrap();
        let mut command = self.command(output);
        command.args(["--engine", "memory", "--memory", "memory.jsonl"]);
        command
    }

    /// Which of all segments the journal of `output` holds.
    fn stored(&self, output: &str) -> Vec<String> {
        let own = (0..self.count).flat_map(|i| [format!("Ask number {i}"), format!("Say number {i}")]);
        let all: Vec<String> = own.chain(["The same for all".to_string()]).collect();
        let sources: Vec<&str> = all.iter().map(String::as_str).collect();
        let journal = Journal::open(&self.path(&format!("{output}.journal.sqlite"))).unwrap();
        let pair = LanguagePair::new("en", "ru").unwrap();
        let targets =
            journal.targets(&Scope { engine: "libretranslate".to_string(), pair }, &sources).unwrap();
        all.iter().zip(targets).filter(|(_, t)| t.is_some()).map(|(s, _)| s.clone()).collect()
    }
}

/// The result of a run that must end with `code`: its JSON (null without) and its messages.
fn finish(output: &Output, code: i32) -> (Value, String) {
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{messages}");
    (serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), messages)
}

fn start(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn rows(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn killed_at_any_moment_it_goes_on_and_asks_for_nothing_again() {
    let work = Work::new(200);
    let server = Server::start(Duration::from_millis(10));
    finish(&work.libretranslate("whole.jsonl", &server).output().unwrap(), 0);
    let whole = server.asked().len();
    assert_eq!(whole, 401);

    let server = Server::start(Duration::from_millis(10));
    let mut snapshots = Vec::new();
    // The moment of a kill is a number of segments asked for, so that a slow machine sees the same.
    for segments in [1, 41, 66, 23, 88] {
        let before = server.asked().len();
        let mut child = start(work.libretranslate("killed.jsonl", &server));
        while server.asked().len() < before + segments {
            thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!work.path("killed.jsonl").exists(), "nothing is emitted before the end");
        // What was under way at the kill may still be written down by the server.
        thread::sleep(Duration::from_millis(50));
        snapshots.push((work.stored("killed.jsonl"), server.asked().len()));
    }
    let stored: Vec<usize> = snapshots.iter().map(|(stored, _)| stored.len()).collect();
    assert!(stored.is_sorted() && stored[4] > 0 && stored[4] < whole, "kills in the middle: {stored:?}");
    finish(&work.libretranslate("killed.jsonl", &server).output().unwrap(), 0);

    let asked = server.asked();
    for (stored, moment) in snapshots {
        let again: Vec<_> = asked[moment..].iter().filter(|text| stored.contains(text)).collect();
        assert!(again.is_empty(), "stored, and asked again: {again:?}");
    }
    // Per kill, the answers on their way: two workers and a queue of four requests of five segments.
    assert!(asked.len() <= whole + 5 * 8 * 5, "{} segments asked", asked.len());
    assert_eq!(
        std::fs::read(work.path("killed.jsonl")).unwrap(),
        std::fs::read(work.path("whole.jsonl")).unwrap(),
        "byte for byte the uninterrupted run"
    );
    let left: Vec<_> = std::fs::read_dir(work.dir.path()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");
}

/// Moments at which a run is killed, as numbers of segments asked for: any, but the same in every run.
fn moments(count: usize, below: usize) -> Vec<usize> {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        1 + (state >> 33) as usize % below
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn killed_twenty_times_under_a_hostile_service_it_emits_the_same_bytes() {
    let work = Work::new(300);
    let server = Server::with(Manners::Hostile, Duration::from_millis(2));
    let (report, _) = finish(&work.libretranslate("whole.jsonl", &server).output().unwrap(), 0);
    assert!(report["repaired"].as_u64().unwrap() > 50, "{report}");
    let whole = server.asked().len();

    let server = Server::with(Manners::Hostile, Duration::from_millis(2));
    let mut kills = 0;
    for segments in moments(20, 60) {
        let before = server.asked().len();
        let mut child = start(work.libretranslate("killed.jsonl", &server));
        let ended = loop {
            if child.try_wait().unwrap().is_some() {
                break true;
            }
            if server.asked().len() >= before + segments {
                break false;
            }
            thread::sleep(Duration::from_millis(1));
        };
        if ended {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert_eq!(kills, 20, "the run must be longer than its kills");
    finish(&work.libretranslate("killed.jsonl", &server).output().unwrap(), 0);
    for suffix in ["", ".review.jsonl"] {
        let read = |name: &str| std::fs::read(work.path(&format!("{name}{suffix}"))).ok();
        assert_eq!(read("killed.jsonl"), read("whole.jsonl"), "byte for byte the uninterrupted run{suffix}");
    }
    // Per kill, the answers on their way: two workers and a queue of four requests of five segments.
    let asked = server.asked().len();
    assert!(asked <= whole + kills * 6 * 5, "{asked} segments asked where {whole} are enough");
}

#[test]
fn what_a_person_mends_is_taken_up() {
    let work = Work::new(10);
    finish(&work.memory("out.jsonl", 8).output().unwrap(), 0);
    let path = work.path("out.jsonl.review.jsonl");
    let mut review = rows(&path);
    assert_eq!(review[0]["review"]["segments"][0]["source"], "Ask number 8");
    // The first is mended, the second only begun.
    review[0]["review"]["draft"] = json!({"instruction": "Спроси номер 8", "input": "Одно на всех", "output": "1. Скажи номер 8\n\n2. 42\n"});
    review[1]["review"]["draft"]["instruction"] = json!("Спроси номер 7");
    let lines: String = review.iter().map(|row| row.to_string() + "\n").collect();
    std::fs::write(&path, lines).unwrap();

    let (report, _) = finish(&work.memory("out.jsonl", 8).arg("--force").output().unwrap(), 0);
    assert_eq!((report["mended"].as_u64(), report["missed"].as_u64()), (Some(1), Some(1)));
    let out = rows(&work.path("out.jsonl"));
    assert_eq!(out[8]["id"], "r8");
    assert_eq!(out[8]["output"], "1. Скажи номер 8\n\n2. 42\n");
    assert_eq!(out[8]["translation"]["engine"], "person");
    assert!(out[8].get("review").is_none());
    let review = rows(&path);
    assert_eq!(review.len(), 2);
    assert_eq!(review[0]["review"]["draft"]["instruction"], "Спроси номер 7", "begun work is kept");
    assert_eq!((&review[1]["id"], &review[1]["review"]["accept"]), (&json!("r8"), &json!(true)));

    // A later run asks for nothing again: what was mended stays mended, what is dropped stays away.
    let mut review = review;
    review[0]["review"]["drop"] = json!(true);
    let lines: String = review.iter().map(|row| row.to_string() + "\n").collect();
    std::fs::write(&path, lines).unwrap();
    for _ in 0..2 {
        let (report, messages) = finish(&work.memory("out.jsonl", 8).arg("--force").output().unwrap(), 0);
        let count = |key: &str| report[key].as_u64();
        assert_eq!((count("mended"), count("dropped"), count("missed")), (Some(1), Some(1), Some(0)));
        assert!(messages.contains("1 were dropped by a person"), "{messages}");
        assert_eq!(rows(&work.path("out.jsonl")).len(), 9);
        assert_eq!(rows(&path).len(), 2);
    }
    let mut review = rows(&path);
    review.retain(|row| row["review"].get("drop").is_some());
    review[0]["review"].as_object_mut().unwrap().remove("drop");

    // A mended review file is good input by itself, too.
    let mut mended = review;
    mended[0]["review"]["accept"] = json!(true);
    std::fs::write(work.path("mended.jsonl"), mended[0].to_string() + "\n").unwrap();
    let mut command = work.command_for("mended.jsonl", "more.jsonl");
    command.args(["--engine", "memory", "--memory", "memory.jsonl"]);
    let (report, _) = finish(&command.output().unwrap(), 0);
    assert_eq!(report["mended"], 1);
}

#[test]
fn ctrl_c_saves_and_exits_130() {
    let work = Work::new(200);
    let server = Server::start(Duration::from_millis(10));
    let child = start(work.libretranslate("out.jsonl", &server));
    while server.asked().len() < 100 {
        thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let (_, messages) = finish(&child.wait_with_output().unwrap(), 130);
    assert!(messages.contains("stored") && messages.contains("run the same command again"), "{messages}");
    let asked = server.asked();
    assert_eq!(work.stored("out.jsonl").len(), asked.len(), "every answer that arrived is stored");

    let (report, _) = finish(&work.libretranslate("out.jsonl", &server).output().unwrap(), 0);
    assert_eq!(report["journal_hits"], asked.len());
    assert_eq!(server.asked().len(), 401);
}

#[test]
fn a_memory_translates_what_it_knows_and_sets_the_rest_aside() {
    let work = Work::new(10);
    let (report, messages) = finish(&work.memory("out.jsonl", 8).output().unwrap(), 0);
    for (key, value) in [
        ("examples", 10),
        ("segments", 30),
        ("unique_segments", 21),
        ("translated", 8),
        ("missed", 2),
        ("missing_segments", 4),
    ] {
        assert_eq!(report[key], value, "{key} in {report}");
    }
    assert!(messages.contains("out.jsonl.review.jsonl"), "{messages}");
    let out = rows(&work.path("out.jsonl"));
    assert_eq!(out.len(), 8);
    assert_eq!(out[3]["id"], "r3");
    assert_eq!(out[3]["output"], "1. перевод: Say number 3\n\n2. 42\n");
    assert_eq!(out[3]["source"]["output"], "1. Say number 3\n\n2. 42\n");
    assert_eq!(out[3]["language"], "ru");
    assert_eq!(out[3]["translation"]["engine"], "memory");
    let missed = rows(&work.path("out.jsonl.review.jsonl"));
    let ids: Vec<_> = missed.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["r8", "r9"]);
    assert!(missed[0]["review"]["reason"].as_str().unwrap().contains("Ask number 8"), "{}", missed[0]);

    // With a better memory nothing is set aside any more, and no stale file says otherwise.
    let (messages, code) = (work.memory("out.jsonl", 10).output().unwrap(), 2);
    assert!(finish(&messages, code).1.contains("--force"));
    let (report, _) = finish(&work.memory("out.jsonl", 10).arg("--force").output().unwrap(), 0);
    assert_eq!(report["missed"], 0);
    assert!(!work.path("out.jsonl.review.jsonl").exists());
    assert!(!work.path("out.jsonl.journal.sqlite").exists(), "a memory needs no journal");
}

#[test]
fn a_dry_run_sends_nothing_and_writes_nothing() {
    let work = Work::new(10);
    let server = Server::start(Duration::ZERO);
    let (report, _) =
        finish(&work.libretranslate("out.jsonl", &server).arg("--dry-run").output().unwrap(), 0);
    assert_eq!(report["unique_segments"], 21);
    assert_eq!(report["requests_to_send"], 5);
    assert_eq!(server.asked().len(), 0);
    assert_eq!(std::fs::read_dir(work.dir.path()).unwrap().count(), 1);

    // What a paid service would cost is to be known before one has its key.
    for engine in ["deepl", "google", "yandex"] {
        let mut command = work.command("out.jsonl");
        command.args(["--engine", engine, "--dry-run"]);
        command.env_remove("DEEPL_API_KEY").env_remove("GOOGLE_API_KEY").env_remove("YANDEX_API_KEY");
        let (report, messages) = finish(&command.output().unwrap(), 0);
        assert!(report["estimated_cost"].as_f64().unwrap() > 0.0, "{report}");
        assert!(messages.contains("(list price)"), "{messages}");
    }
    assert_eq!(std::fs::read_dir(work.dir.path()).unwrap().count(), 1);
}

#[test]
fn a_round_trip_goes_through_a_second_service() {
    let work = Work::new(30);
    let server = Server::start(Duration::ZERO);
    finish(&work.libretranslate("out.jsonl", &server).output().unwrap(), 0);
    let score = |server: &Server| {
        let recipe =
            format!("[translate]\nengine = \"libretranslate\"\nendpoint = \"{}\"\n", server.endpoint);
        std::fs::write(work.path("back.toml"), recipe).unwrap();
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("tolmach"));
        command.current_dir(work.dir.path()).args(["score", "out.jsonl", "--round-trip", "back.toml"]);
        command.args(["--sample", "20", "--json"]);
        finish(&command.output().unwrap(), 0).0
    };
    let second = Server::start(Duration::ZERO);
    let scored = score(&second);
    assert_eq!(scored["scores"][0]["score"], 100.0, "the way back is exact: {scored}");
    assert_eq!(scored["facts"]["translated back by"], "libretranslate");
    assert!(second.asked().iter().all(|text| !text.contains(|c: char| c.is_ascii_lowercase())));
    let asked = second.asked().len();
    assert!((30..=41).contains(&asked), "20 examples of two segments each, one of them common: {asked}");
    score(&second);
    assert_eq!(second.asked().len(), asked, "nothing is asked twice");
}

#[test]
fn what_goes_wrong_is_named_and_has_its_exit_code() {
    let work = Work::new(3);
    let closed = Server { endpoint: "http://127.0.0.1:1".to_string(), asked: Arc::default() };
    let (_, messages) = finish(&work.libretranslate("out.jsonl", &closed).output().unwrap(), 4);
    assert!(messages.contains("127.0.0.1:1") && messages.contains("hint:"), "{messages}");
    assert!(!work.path("out.jsonl").exists());

    let mut no_key = work.libretranslate("out.jsonl", &closed);
    no_key.args(["--api-key-env", "TOLMACH_TEST_NO_SUCH_KEY"]);
    assert!(finish(&no_key.output().unwrap(), 2).1.contains("TOLMACH_TEST_NO_SUCH_KEY"));

    let mut missing = work.command("out.jsonl");
    missing.args(["--engine", "memory", "--memory", "nowhere.tmx"]);
    assert!(finish(&missing.output().unwrap(), 3).1.contains("nowhere.tmx"));
    let mut unnamed = work.command("out.jsonl");
    unnamed.args(["--engine", "memory"]);
    assert!(finish(&unnamed.output().unwrap(), 2).1.contains("--memory"));

    let (_, messages) = finish(&work.memory("in.jsonl", 3).arg("--force").output().unwrap(), 2);
    assert!(messages.contains("is the input"), "{messages}");
    std::fs::write(work.path("empty.jsonl"), "{\"source\": \"x\", \"target\": \"y\"}\n").unwrap();
    let mut useless = work.command("out.jsonl");
    useless.args(["--engine", "memory", "--memory", "empty.jsonl"]);
    let (_, messages) = finish(&useless.output().unwrap(), 3);
    assert!(messages.contains("not one of 3 examples"), "{messages}");
    assert!(!work.path("out.jsonl").exists());
}

#[test]
fn two_runs_on_one_journal_are_refused() {
    let work = Work::new(200);
    let server = Server::start(Duration::from_millis(20));
    let shared = |output| {
        let mut command = work.libretranslate(output, &server);
        command.args(["--journal", "shared.sqlite"]);
        command
    };
    let mut first = start(shared("a.jsonl"));
    while !work.path("shared.sqlite-wal").exists() {
        thread::sleep(Duration::from_millis(5));
    }
    let (_, messages) = finish(&shared("b.jsonl").output().unwrap(), 3);
    assert!(messages.contains("shared.sqlite") && messages.contains("another process"), "{messages}");
    first.kill().unwrap();
    first.wait().unwrap();
}

/// A service that answers every request with the same.
fn always(status: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = format!(
                "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut reader = BufReader::new(stream);
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            drop(reader.read_exact(&mut vec![0; length]));
            drop(reader.into_inner().write_all(answer.as_bytes()));
        }
    });
    endpoint
}

#[test]
fn a_journal_of_another_recipe_is_left_as_it_is() {
    let work = Work::new(5);
    let server = Server::start(Duration::ZERO);
    finish(&work.libretranslate("out.jsonl", &server).output().unwrap(), 0);
    let asked = server.asked().len();

    let into_german = |more: &[&str]| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("tolmach"));
        command.current_dir(work.dir.path()).args([
            "translate",
            "in.jsonl",
            "-o",
            "german.jsonl",
            "--to",
            "de",
        ]);
        command.args(["--engine", "libretranslate", "--endpoint", &server.endpoint, "--json"]);
        command.args(["--journal", "out.jsonl.journal.sqlite"]).args(more);
        command.output().unwrap()
    };
    let (_, messages) = finish(&into_german(&[]), 3);
    assert!(messages.contains("of another recipe") && messages.contains("from en to ru"), "{messages}");
    assert!(messages.contains("hint:") && messages.contains("--share-journal"), "{messages}");
    assert_eq!(server.asked().len(), asked, "nothing is sent");

    let (report, _) = finish(&work.libretranslate("out.jsonl", &server).arg("--force").output().unwrap(), 0);
    assert_eq!(report["requests"], 0, "the journal is whole: {report}");
    let shared = into_german(&["--share-journal", "--dry-run"]);
    assert_eq!(finish(&shared, 0).0["journal_hits"], 0);
}

#[test]
fn a_journal_of_a_newer_program_is_left_as_it_is() {
    let work = Work::new(5);
    let server = Server::start(Duration::ZERO);
    finish(&work.libretranslate("out.jsonl", &server).output().unwrap(), 0);
    let path = work.path("out.jsonl.journal.sqlite");
    // The header of an SQLite file holds its user version at byte 60.
    let mut newer = std::fs::read(&path).unwrap();
    newer[60..64].copy_from_slice(&99u32.to_be_bytes());
    std::fs::write(&path, &newer).unwrap();
    let (_, messages) =
        finish(&work.libretranslate("out.jsonl", &server).arg("--force").output().unwrap(), 3);
    assert!(messages.contains("version 99") && messages.contains("hint:"), "{messages}");
    assert_eq!(std::fs::read(&path).unwrap(), newer);
}

#[test]
fn money_is_estimated_before_and_never_exceeded() {
    let work = Work::new(50);
    let server = Server::start(Duration::ZERO);
    let with = |more: &[&str]| {
        let mut command = work.libretranslate("out.jsonl", &server);
        command.args(["--price-per-million", "1000", "--currency", "EUR", "--requests-per-second", "500"]);
        command.args(more).output().unwrap()
    };
    let (estimate, messages) = finish(&with(&["--dry-run"]), 0);
    let cost = estimate["estimated_cost"].as_f64().unwrap();
    assert!((cost - estimate["characters_to_send"].as_f64().unwrap() / 1000.0).abs() < 1e-9, "{estimate}");
    assert_eq!(estimate["currency"], "EUR");
    assert!(
        messages.contains(&format!("about {cost:.2} EUR")) && messages.contains("rate limit"),
        "{messages}"
    );

    let (_, messages) = finish(&with(&["--max-cost", "0.01"]), 2);
    assert!(messages.contains("max_cost") && messages.contains("hint:"), "{messages}");
    assert_eq!(server.asked().len(), 0, "nothing is sent");
    let (report, messages) = finish(&with(&["--max-cost", &format!("{}", cost * 1.01)]), 0);
    assert!((report["cost"].as_f64().unwrap() - cost).abs() < 1e-9, "{report}");
    assert!(messages.contains("EUR"), "{messages}");
    let (_, messages) = finish(&with(&["--max-cost=-1", "--force"]), 2);
    assert!(messages.contains("max_cost") || messages.contains("max-cost"), "{messages}");
}

#[test]
fn a_service_that_refuses_is_told_apart() {
    let work = Work::new(3);
    let ask = |engine: &str, endpoint: &str, key: &str| {
        let mut command = work.command("out.jsonl");
        command.args(["--engine", engine, "--endpoint", endpoint, "--attempts", "1"]);
        command.args(["--model", "m", "--body", "{\"q\": \"{text}\"}", "--answer", "text"]);
        command.env("DEEPL_API_KEY", key).env("YANDEX_API_KEY", key);
        command.output().unwrap()
    };
    let (_, messages) = finish(&ask("deepl", "http://127.0.0.1:1", ""), 2);
    assert!(messages.contains("DEEPL_API_KEY"), "no key: {messages}");
    for (engine, status, body, said) in [
        ("deepl", "403 Forbidden", r#"{"message": "Invalid auth key"}"#, "DEEPL_API_KEY right"),
        ("deepl", "456 Quota Exceeded", r#"{"message": "Quota Exceeded"}"#, "next month"),
        ("yandex", "401 Unauthorized", r#"{"code": 16, "message": "Unknown api key"}"#, "Unknown api key"),
        ("yandex", "200 OK", r#"{"languages": [{"code": "en"}]}"#, "does not know the language `ru`"),
        ("openai", "200 OK", "<html>sign in</html>", "no JSON"),
        ("http", "200 OK", r#"{"error": "no text"}"#, "`answer`"),
        ("libretranslate", "200 OK", r#"[{"code": "en", "targets": ["de"]}]"#, "from `en` to `ru`"),
    ] {
        let (_, messages) = finish(&ask(engine, &always(status, body), "SECRET"), 4);
        assert!(messages.contains(said) && messages.contains("hint:"), "{engine} {status}: {messages}");
        assert!(!messages.contains("SECRET"), "{messages}");
        assert!(!work.path("out.jsonl").exists());
    }
}

#[test]
fn another_engine_is_asked_for_what_the_first_cannot_do() {
    let work = Work::new(10);
    let server = Server::start(Duration::ZERO);
    std::fs::write(
        work.path("behind.toml"),
        format!("engine = \"libretranslate\"\nendpoint = \"{}\"\n", server.endpoint),
    )
    .unwrap();
    let mut command = work.memory("out.jsonl", 8);
    let (report, _) = finish(&command.args(["--fallback", "behind.toml"]).output().unwrap(), 0);
    assert_eq!((report["translated"].as_u64(), report["missed"].as_u64()), (Some(10), Some(0)));
    let out = rows(&work.path("out.jsonl"));
    assert_eq!(out[3]["translation"]["engine"], "memory");
    assert!(out[9]["translation"]["engine"].as_str().unwrap().contains("libretranslate"), "{}", out[9]);
    assert_eq!(server.asked().len(), 4, "only what the memory does not know: {:?}", server.asked());

    let spends = format!("engine = \"libretranslate\"\nendpoint = \"{}\"\nmax_cost = 5\n", server.endpoint);
    std::fs::write(work.path("behind.toml"), spends).unwrap();
    let mut command = work.memory("out.jsonl", 8);
    let (_, messages) = finish(&command.args(["--fallback", "behind.toml", "--force"]).output().unwrap(), 2);
    assert!(messages.contains("`max_cost`") && messages.contains("whole translation"), "{messages}");
    let dear = "engine = \"deepl\"\nprice_per_million = 20\ncurrency = \"EUR\"\n";
    std::fs::write(work.path("behind.toml"), dear).unwrap();
    let mut command = work.libretranslate("out.jsonl", &server);
    command.args(["--fallback", "behind.toml", "--force", "--price-per-million", "20", "--max-cost", "1"]);
    let (_, messages) = finish(&command.output().unwrap(), 2);
    assert!(messages.contains("two currencies") && messages.contains("EUR"), "{messages}");

    std::fs::write(work.path("behind.toml"), "engin = \"libretranslate\"\n").unwrap();
    let mut command = work.memory("out.jsonl", 8);
    let (_, messages) = finish(&command.args(["--fallback", "behind.toml", "--force"]).output().unwrap(), 2);
    assert!(messages.contains("behind.toml") && messages.contains("engin"), "{messages}");
}
