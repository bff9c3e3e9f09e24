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
        "segments": [{"source": source, "proposal": draft, "reason": "the digits differ",
            "why": {"check": "digits", "missing": ["1969"], "added": ["1996"]}}],
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
            tab.eval("[...document.querySelectorAll('#fields mark')].map((n) => n.innerText)").await,
            json!(["The year 1969.", "1969", "Год 1996.", "1996"])
        );
        assert_eq!(tab.text("#segments .wrong").await, "The digits differ. Missing: 1969; added: 1996.");
        assert_eq!(
            tab.eval("[...document.querySelectorAll('#segments .spot')].map((n) => n.innerText)").await,
            json!(["1969", "1996"])
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

/// What failed in every way that `tolmach translate` knows, as its files say it.
const REASONS: [(&str, &str); 12] = [
    (r#"{"check": "empty"}"#, "Перевод пуст."),
    (
        r#"{"check": "protected", "part": "`x`", "expected": 1, "found": 0}"#,
        "«`x`» должно встретиться столько раз: 1; встретилось: 0.",
    ),
    (r#"{"check": "untranslated"}"#, "Вернулось без перевода."),
    (r#"{"check": "foreign", "word": "漢字"}"#, "«漢字» — слово третьего языка."),
    (
        r#"{"check": "wrong_language", "found": "French", "code": "fr"}"#,
        "Похоже на другой язык: французский.",
    ),
    (r#"{"check": "length", "source": 90, "target": 4}"#, "Слишком коротко: знаков 4 вместо 90."),
    (r#"{"check": "sentences", "source": 3, "target": 1}"#, "Предложений 1, а в оригинале 3."),
    (r#"{"check": "loop", "repeated": "ха", "times": 9}"#, "«ха» повторяется, раз: 9."),
    (r#"{"miss": "not_in_memory"}"#, "Этого нет в памяти переводов."),
    (r#"{"miss": "refused", "message": "HTTP 400"}"#, "Движок отказывается: HTTP 400"),
    // Of an older or a later version: its own words.
    ("null", "in its own words"),
    (r#"{"check": "of tomorrow"}"#, "in its own words"),
];

#[test]
fn every_reason_is_told_in_russian_and_the_engines_answer_can_be_mended() {
    in_browser(Looks { language: "ru", ..DESKTOP }, async |tab| {
        let folder = tempfile::tempdir().unwrap();
        let review = folder.path().join("out.jsonl.review.jsonl");
        let row = |(i, (why, _)): (usize, &(&str, &str))| {
            let mut row = aside(&format!("r{i}"), "Laugh now.", "Laugh now.");
            row["review"]["segments"][0] = json!({"source": "Laugh now.", "proposal": "Ха 漢字 `x`!", "reason": "in its own words",
                "why": serde_json::from_str::<Value>(why).unwrap()});
            row
        };
        write(&review, &REASONS.iter().enumerate().map(row).collect::<Vec<_>>());
        let server = Server::start(folder.path(), &["--review", "out.jsonl"]);
        tab.goto(&format!("{}/review", server.address)).await;
        for (i, (why, told)) in REASONS.iter().enumerate() {
            at(tab, &format!("r{i}")).await;
            assert_eq!(tab.text("#segments .wrong").await, *told, "{why}");
            if i + 1 < REASONS.len() {
                key(tab, "j").await;
            }
        }
        // What the engine said is put in the place of what has no translation.
        key(tab, "p").await;
        tab.until("document.activeElement.tagName === 'TEXTAREA'").await;
        let written = "[...document.querySelectorAll('textarea')].map((n) => n.value)";
        assert_eq!(tab.eval(written).await, json!(["Повтори.", "Ха 漢字 `x`!"]));
        // A switch of the language loses nothing of what is being written.
        tab.press("Да. ".to_string()).await;
        tab.click("#language").await;
        tab.until("document.querySelector('#save').innerText.includes('Save')").await;
        assert_eq!(tab.eval("document.querySelector('textarea').value").await, json!("Повтори.Да. "));
        tab.click("#save").await;
        tab.until("document.querySelector('#left').innerText.startsWith('11 of 12')").await;
        assert_eq!(rows(&review)[11]["review"]["draft"]["output"], "Ха 漢字 `x`!");
        assert_eq!(tab.axe().await, Vec::<String>::new());
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
        assert_eq!(tab.text("#reason").await, "Отрывков без надёжного перевода: 1");
        assert_eq!(tab.text("#segments .wrong").await, "Числа расходятся. Пропали: 1969; лишние: 1996.");
        assert_eq!(tab.text("#fields h3").await, "Задание: оригинал");
        let fits = tab.eval("document.documentElement.scrollWidth <= window.innerWidth").await;
        assert_eq!(fits, Value::Bool(true), "the page scrolls sideways");
        tab.picture("review-phone-dark-ru").await;
        tab.click("#accept").await;
        at(tab, "r2").await;
        assert_eq!(tab.axe().await, Vec::<String>::new());
    });
}
