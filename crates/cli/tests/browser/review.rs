//! The review page by keyboard alone, on files as `tolmach translate` writes them.

use crate::server::Server;
use crate::tab::{DESKTOP, Looks, Tab, in_browser};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use thirtyfour::Key;

fn aside(id: &str, source: &str, draft: &str) -> Value {
    json!({"id": id, "instruction": "Repeat.", "input": "", "output": source, "review": {
        "reason": format!("1 of 2 segments have no translation; {source:?}: the digits differ"),
        "segments": [{"source": source, "proposal": draft, "reason": "the digits differ"}],
        "draft": {"instruction": "Повтори.", "input": "", "output": draft}}})
}

fn translated(id: &str, target: &str) -> Value {
    json!({"id": id, "instruction": "Скажи.", "input": "", "output": target, "language": "ru",
        "source": {"instruction": "Say.", "input": "", "output": "A word."},
        "translation": {"engine": "memory"}})
}

fn write(path: &Path, rows: &[Value]) {
    fs::write(path, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
}

fn rows(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Two set aside, one translated.
fn files(folder: &Path) {
    write(
        &folder.join("out.jsonl.review.jsonl"),
        &[aside("r1", "The year 1969.", "Год 1996."), aside("r2", "Ten <b>cats</b>.", "Девять котов.")],
    );
    write(&folder.join("out.jsonl"), &[translated("t1", "Слово.")]);
}

async fn open(tab: &Tab, server: &Server) {
    tab.goto(&format!("{}/review", server.address)).await;
    at(tab, "r1").await;
}

async fn at(tab: &Tab, id: &str) {
    tab.until(&format!("document.querySelector('#place')?.innerText.endsWith(': {id}')")).await;
}

/// A key of the page, not in a field.
async fn key(tab: &Tab, key: &str) {
    tab.press(key).await;
}

#[test]
fn translations_are_decided_by_keys_and_reach_the_data_set() {
    in_browser(DESKTOP, async |tab| {
        let folder = tempfile::tempdir().unwrap();
        files(folder.path());
        let (review, data_set) =
            (folder.path().join("out.jsonl.review.jsonl"), folder.path().join("out.jsonl"));
        let server = Server::start(folder.path(), &["--review", "out.jsonl"]);
        open(tab, &server).await;
        assert_eq!(
            tab.eval("[...document.querySelectorAll('mark')].map((n) => n.innerText)").await,
            json!(["The year 1969.", "Год 1996."])
        );
        tab.picture("review").await;
        assert_eq!(tab.axe().await, Vec::<String>::new());

        // Mend the first; the cursor is in the first translation, the second is the answer's.
        key(tab, "e").await;
        tab.until("document.activeElement.tagName === 'TEXTAREA'").await;
        tab.press(Key::Tab).await;
        tab.eval("document.activeElement.select()").await;
        tab.press("Год 1969. ajk".to_string()).await; // keys of the page are letters here
        tab.picture("review-mending").await;
        tab.press(Key::Control + Key::Enter).await;
        at(tab, "r2").await;
        let saved = rows(&review);
        assert_eq!(saved[0]["review"]["draft"]["output"], "Год 1969. ajk");
        assert_eq!(saved[0]["review"]["accept"], true);

        // Begun and left: nothing is saved. Then dropped, undone, dropped again.
        key(tab, "e").await;
        tab.until("document.activeElement.tagName === 'TEXTAREA'").await;
        tab.press("nonsense".to_string()).await;
        tab.press(Key::Escape).await;
        tab.until("!document.querySelector('textarea')").await;
        assert!(rows(&review)[1]["review"]["draft"]["instruction"] == "Повтори.");
        key(tab, "d").await;
        at(tab, "t1").await;
        key(tab, "u").await;
        at(tab, "r2").await;
        tab.until("document.querySelector('#decision').hidden").await;
        assert!(rows(&review)[1]["review"].get("drop").is_none());
        key(tab, "d").await;
        at(tab, "t1").await;
        assert_eq!(rows(&review)[1]["review"]["drop"], true);
        key(tab, "k").await;
        at(tab, "r2").await;
        assert!(tab.text("#fields").await.contains("<b>cats</b>"), "text stays text");
        key(tab, "j").await;
        at(tab, "t1").await;
        key(tab, "a").await;
        tab.until("document.querySelector('#left').innerText.startsWith('0 ')").await;

        // Help, and the data set.
        key(tab, "?").await;
        tab.until("document.querySelector('#keys').open").await;
        tab.press(Key::Escape).await;
        tab.until("!document.querySelector('#keys').open").await;
        key(tab, "w").await;
        tab.until("document.querySelector('#left').innerText.includes('2 examples')").await;
        let out = rows(&data_set);
        assert_eq!(out.iter().map(|row| row["id"].as_str().unwrap()).collect::<Vec<_>>(), ["t1", "r1"]);
        assert_eq!(out[1]["output"], "Год 1969. ajk");
        assert_eq!(out[1]["translation"]["engine"], "person");
        assert_eq!(tab.complaints().await, Vec::<String>::new());
    });
}

#[test]
fn a_file_that_another_program_changed_is_not_overwritten() {
    in_browser(DESKTOP, async |tab| {
        let folder = tempfile::tempdir().unwrap();
        files(folder.path());
        let review = folder.path().join("out.jsonl.review.jsonl");
        let server = Server::start(folder.path(), &["--review", "out.jsonl.review.jsonl"]);
        open(tab, &server).await;
        let others = [aside("r1", "The year 1969.", "Чужая правка.")];
        write(&review, &others);
        key(tab, "a").await;
        tab.until("document.querySelector('#banner p')?.innerText.includes('Nothing was saved')").await;
        assert_eq!(rows(&review), others);
        // What is there now is shown, and can be decided.
        assert!(tab.text("#fields").await.contains("Чужая правка."));
        key(tab, "a").await;
        tab.until("document.querySelector('#left').innerText.startsWith('1 of 2')").await;
        assert_eq!(rows(&review)[0]["review"]["accept"], true);
    });
}

#[test]
fn review_on_a_phone_in_russian() {
    let phone = Looks { language: "ru", dark: true, width: 360, height: 740 };
    in_browser(phone, async |tab| {
        let folder = tempfile::tempdir().unwrap();
        files(folder.path());
        let server = Server::start(folder.path(), &["--review", "out.jsonl"]);
        open(tab, &server).await;
        assert!(tab.text("#accept").await.contains("Принять"));
        let fits = tab.eval("document.documentElement.scrollWidth <= window.innerWidth").await;
        assert_eq!(fits, Value::Bool(true), "the page scrolls sideways");
        tab.picture("review-phone-dark-ru").await;
        tab.click("#accept").await;
        at(tab, "r2").await;
        assert_eq!(tab.axe().await, Vec::<String>::new());
    });
}
