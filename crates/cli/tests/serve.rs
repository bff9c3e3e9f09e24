//! `tolmach serve` as an operator starts and stops it: what it says, what it refuses, how it ends.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

#[allow(dead_code, reason = "the other tests of the binary use the rest")]
mod tiny;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than a stopping server lets replies go on.
const PATIENCE: Duration = Duration::from_secs(30);

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tolmach"));
    command.current_dir(folder).arg("serve").args(args).env_remove("TOLMACH_API_KEY");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A start that must be refused: exit code and what was said.
fn refused(command: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(stdout.is_empty(), "nothing belongs on standard output");
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

/// A server that listens; the address that it has said, `127.0.0.1:PORT`.
fn start(command: &mut Command) -> (Running, String) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = lines.by_ref().find_map(|line| {
        let word = line.split_whitespace().find_map(|word| word.strip_prefix("http://"))?;
        Some(word.to_string())
    });
    std::thread::spawn(move || lines.for_each(drop));
    (Running(child), address.unwrap())
}

/// Killed where a test fails before it has ended by itself.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Exit code and standard output of one that ends by itself.
    fn end(&mut self) -> (i32, String) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it goes on");
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut said = String::new();
        self.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        (status.code().unwrap(), said)
    }
}

fn request(address: &str, method: &str, path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    let length = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{length}{body}").as_bytes()).unwrap();
    stream
}

fn answer(address: &str, path: &str) -> String {
    let mut text = String::new();
    request(address, "GET", path, "").read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_port_that_the_system_chose_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, address) = start(&mut command(folder.path(), &["--runs", ".", "--listen", "127.0.0.1:0"]));
    assert!(!address.ends_with(":0"), "{address}");
    assert!(answer(&address, "/health").contains("\"status\":\"ok\""));
    // Without a model the pages are there all the same.
    assert!(answer(&address, "/").starts_with("HTTP/1.1 200"));
    assert!(answer(&address, "/v1/models").contains("\"data\":[]"));
}

#[test]
fn an_address_that_is_taken_is_told_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let (code, said) = refused(&mut command(folder.path(), &["--runs", ".", "--listen", &taken]));
    assert_eq!(code, 4, "{said}");
    assert!(said.contains(&format!("cannot listen on {taken}")) && said.contains("hint: --listen"), "{said}");
}

#[test]
fn other_machines_need_a_key_and_a_key_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let runs = ["--runs", ".", "--listen"];
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.7:8080"] {
        let (code, said) = refused(&mut command(folder.path(), &[&runs[..], &[address]].concat()));
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("needs an API key") && said.contains("hint: --api-key"), "{said}");
    }
    for (key, problem) in [
        ("", "empty"),
        ("ключ", "beyond ASCII"),
        ("two words", "a space"),
        ("secret\n", "a space or a character"),
        ("sécret", "beyond ASCII"),
    ] {
        for by_variable in [false, true] {
            let local = [&runs[..], &["127.0.0.1:0"]].concat();
            let mut command = command(folder.path(), &local);
            if by_variable {
                command.env("TOLMACH_API_KEY", key);
            } else {
                command.args(["--api-key", key]);
            }
            let (code, said) = refused(&mut command);
            assert_eq!(code, 2, "{key:?}: {said}");
            assert!(said.contains(problem) && said.contains("hint:"), "{key:?}: {said}");
            assert!(key.is_empty() || !said.contains(key), "a key is not repeated: {said}");
        }
    }
    let with_key = [&runs[..], &["0.0.0.0:0", "--api-key", "K-7!~"]].concat();
    let (_server, address) = start(&mut command(folder.path(), &with_key));
    let address = address.replace("0.0.0.0", "127.0.0.1");
    assert!(answer(&address, "/v1/models").starts_with("HTTP/1.1 401"));
}

#[test]
fn sigterm_ends_it_while_streams_run() {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_models(folder.path());
    let args =
        ["--model", "base=base", "--runs", ".", "--listen", "127.0.0.1:0", "--parallel", "1", "--json"];
    let (mut server, address) = start(&mut command(folder.path(), &args));
    let body = json!({"model": "base", "messages": [{"role": "user", "content": "Кот?"}], "n": 16,
        "stream": true, "ignore_eos": true, "max_tokens": 250});
    let mut replies = BufReader::new(request(&address, "POST", "/v1/chat/completions", &body.to_string()));
    let mut watched = request(&address, "GET", "/ui/runs/events", "");
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        assert!(replies.read_line(&mut line).unwrap() > 0, "it ended before it began");
    }
    server.signal("TERM");
    // What runs may end; what would never end is ended.
    let mut rest = String::new();
    replies.read_to_string(&mut rest).unwrap();
    assert!(
        rest.contains("[DONE]") || rest.contains("stopping"),
        "{}",
        &rest[rest.len().saturating_sub(300)..]
    );
    let mut events = String::new();
    watched.read_to_string(&mut events).unwrap();
    let (code, said) = server.end();
    assert_eq!(code, 0);
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), json!({"stopped": true}));
    assert!(TcpStream::connect(&address).is_err(), "nobody listens any more");
}
