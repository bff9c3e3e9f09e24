//! The report page, and the report as a file of its own.

use crate::server::Server;
use crate::tab::{DESKTOP, Looks, in_browser};
use crate::training::demo;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

/// A card of the demo's base, and its HTML file.
fn card(folder: &Path) {
    let status = Command::new(env!("CARGO_BIN_EXE_tolmach"))
        .current_dir(folder)
        .arg("eval")
        .arg("--base")
        .arg(demo("model"))
        .arg("--data")
        .arg(demo("data/test.ru.jsonl"))
        .args(["--limit", "6", "--samples", "2", "--max-new-tokens", "8", "--language", "ru"])
        .args(["-o", "runs/demo/04-card", "--html", "report.html"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    assert!(folder.join("runs/demo/04-card/report.html").is_file());
}

#[test]
fn a_card_is_shown_in_both_languages_and_fits_a_phone() {
    in_browser(DESKTOP, async |tab| {
        let folder = tempfile::tempdir().unwrap();
        card(folder.path());
        let server = Server::start(folder.path(), &["--runs", "runs"]);
        tab.goto(&format!("{}/report", server.address)).await;
        tab.until("document.querySelector('.measures svg')").await;
        assert_eq!(tab.text("#card h1").await, "Report card");
        assert_eq!(tab.count("#card article").await, 2);
        tab.picture("report").await;
        assert_eq!(tab.axe().await, Vec::<String>::new());
        // The same as the file that `tolmach eval --html` writes.
        tab.eval("(window.address = URL.createObjectURL, URL.createObjectURL = (blob) => window.address.call(URL, window.saved = blob), 0)").await;
        tab.click("#save").await;
        tab.until("window.saved").await;
        let file = std::fs::read_to_string(folder.path().join("runs/demo/04-card/report.html")).unwrap();
        assert_eq!(tab.eval_later("window.saved.text()").await, json!(file));
        tab.click("#language").await;
        tab.until("document.querySelector('#card h1').innerText === 'Табель'").await;
        tab.look(Looks { language: "ru", dark: true, width: 360, height: 740 }).await;
        let fits = tab.eval("document.documentElement.scrollWidth <= window.innerWidth").await;
        assert_eq!(fits, Value::Bool(true), "the page scrolls sideways");
        tab.picture("report-phone-dark-ru").await;
        assert_eq!(tab.complaints().await, Vec::<String>::new());
        assert_eq!(tab.axe().await, Vec::<String>::new());
    });
}

#[test]
fn the_file_alone_is_the_same_without_a_server() {
    in_browser(DESKTOP, async |tab| {
        let folder = tempfile::tempdir().unwrap();
        card(folder.path());
        tab.goto(&format!("file://{}", folder.path().join("report.html").display())).await;
        assert_eq!(tab.eval("document.scripts.length").await, json!(0));
        let heads = "[...document.querySelectorAll('h1')].filter((h) => h.offsetParent !== null).map((h) => h.innerText)";
        assert_eq!(tab.eval(heads).await, json!(["Report card"]));
        tab.picture("report-file").await;
        tab.click("input[value=ru]").await;
        assert_eq!(tab.eval(heads).await, json!(["Табель"]));
        assert_eq!(tab.complaints().await, Vec::<String>::new());
        assert_eq!(tab.axe().await, Vec::<String>::new());
    });
}

#[test]
fn the_page_of_scores_looks_like_the_others() {
    in_browser(DESKTOP, async |tab| {
        let folder = tempfile::tempdir().unwrap();
        let long = "Очень длинный перевод, который сидит в таблице. ".repeat(20);
        for (name, text) in
            [("engine.ru", format!("кот сидит\n{long}\n")), ("human.ru", "кот спит\nкоротко\n".into())]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let status = Command::new(env!("CARGO_BIN_EXE_tolmach"))
            .current_dir(folder.path())
            .args(["score", "engine.ru", "--ref", "human.ru", "--report", "quality.html"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success());
        tab.goto(&format!("file://{}", folder.path().join("quality.html").display())).await;
        assert_eq!(tab.eval("document.scripts.length").await, json!(0));
        let ground = "getComputedStyle(document.body).backgroundColor";
        assert_eq!(tab.eval(ground).await, json!("rgb(247, 246, 243)"), "the ground of all pages");
        tab.picture("scores").await;
        assert_eq!(tab.axe().await, Vec::<String>::new());
        tab.look(Looks { language: "en", dark: true, width: 360, height: 740 }).await;
        assert_eq!(tab.eval(ground).await, json!("rgb(21, 23, 27)"));
        let fits = tab.eval("document.documentElement.scrollWidth <= window.innerWidth").await;
        assert_eq!(fits, Value::Bool(true), "the page scrolls sideways");
        tab.picture("scores-phone-dark").await;
        assert_eq!(tab.axe().await, Vec::<String>::new());
        assert_eq!(tab.complaints().await, Vec::<String>::new());
    });
}
