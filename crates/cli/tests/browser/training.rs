//! The training page over a real training of the demo's base: it moves, it can be asked, it is compared.

use crate::server::Server;
use crate::tab::{DESKTOP, Looks, Tab, in_browser};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use thirtyfour::Key;

const PROMPT: &str = "Сколько будет 2 + 2?";
const PHONE: Looks = Looks { language: "ru", dark: true, width: 360, height: 740 };

pub fn demo(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo").join(name)
}

/// A training that goes on, ended with the test.
struct Training(Child);

impl Training {
    fn start(output: &Path, steps: u32) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tolmach"));
        command.arg("train").arg("--base").arg(demo("model"));
        command.arg("--data").arg(demo("data/validation.ru.jsonl")).arg("-o").arg(output);
        command.arg("--validation").arg(demo("data/test.ru.jsonl"));
        command.args(["--template", "alpaca-ru", "--max-steps", &steps.to_string(), "--step-tokens", "512"]);
        command.args(["--eval-every", "10", "--eval-examples", "4", "--sample-prompt", PROMPT]);
        command.args(["--learning-rate", "0.002"]);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn number(tab: &Tab, expression: &str) -> f64 {
    tab.eval(expression).await.as_f64().unwrap()
}

const STEP: &str = "Number((document.querySelector('[data-cell=step]').textContent.split(' of ')[0].match(/[0-9]/g) ?? ['0']).join(''))";
const STEPS: &str = "Number(document.querySelector('#at').max)";

#[test]
fn a_training_is_seen_as_it_goes_on() {
    in_browser(DESKTOP, async |tab| {
        let folder = tempfile::tempdir().unwrap();
        let training = Training::start(&folder.path().join("runs/live"), 5000);
        let server = Server::start(folder.path(), &["--runs", "runs"]);
        tab.goto(&format!("{}/training", server.address)).await;
        tab.until(&format!("document.querySelector('[data-run]') && {STEP} > 2")).await;
        // It moves by itself: the row, the curve.
        let curve = "document.querySelector('[data-curve=loss] svg')?.getAttribute('aria-label')";
        tab.until(curve).await;
        let (step, label) = (number(tab, STEP).await, tab.eval(curve).await);
        tab.until(&format!("{STEP} > {step} && {curve} !== {label}")).await;
        assert!(tab.text("#standing").await.contains("running"));
        assert_eq!(tab.count(".curves svg").await, 5);
        assert!(tab.text("#tiles").await.contains("MiB"));

        // The slider: by keys, from what the base says to the newest.
        tab.until(&format!("{STEPS} >= 2")).await;
        tab.click("#at").await;
        tab.press(Key::Home).await;
        tab.until("document.querySelector('#at-step').textContent === '0'").await;
        let sides =
            tab.eval("[...document.querySelectorAll('#replies .said')].map((n) => n.innerText)").await;
        assert_eq!(sides[0], sides[1], "before the first step both are the base");
        tab.press(Key::End).await;
        tab.until("document.querySelector('#at-step').textContent !== '0'").await;
        assert_eq!(tab.text("#replies h3").await, PROMPT);

        // A prompt of one's own, to both sides, while it trains.
        tab.type_into("#live-prompt", format!("{PROMPT}\n")).await;
        tab.until("document.querySelectorAll('#live-sides .said:not([aria-busy])').length === 2 && document.querySelector('#live-stop').hidden").await;
        let told = |what: &'static str| {
            format!("[...document.querySelectorAll('#live-sides {what}')].map((n) => n.innerText)")
        };
        assert_eq!(tab.eval(&told("h4")).await, json!(["live@base", "live@live"]));
        let versions = tab.eval(&told(".badge")).await;
        assert!(versions[0].as_str().unwrap().starts_with("base-"), "{versions}");
        assert!(versions[1].as_str().unwrap().starts_with("step "), "{versions}");
        // The trainer's own base and the server's say the same.
        let live = tab.eval(&told(".said")).await;
        assert_eq!(live[0].as_str().unwrap().trim(), sides[0].as_str().unwrap().trim());
        tab.picture("training-live").await;
        assert_eq!(tab.complaints().await, Vec::<String>::new());
        assert_eq!(tab.axe().await, Vec::<String>::new());
        drop(training);
    });
}

#[test]
fn two_runs_are_laid_over_one_another_in_russian_dark_on_a_phone() {
    in_browser(PHONE, async |tab| {
        let folder = tempfile::tempdir().unwrap();
        for (name, steps) in [("first", 12), ("second", 25)] {
            assert!(
                Training::start(&folder.path().join("runs").join(name), steps).0.wait().unwrap().success()
            );
        }
        let server = Server::start(folder.path(), &["--runs", "runs"]);
        tab.goto(&format!("{}/training", server.address)).await;
        tab.until("document.querySelectorAll('[data-run]').length === 2").await;
        let circles = "document.querySelectorAll('[data-curve=loss] circle').length";
        tab.until(&format!("{circles} > 0")).await;
        let one = number(tab, circles).await;
        tab.click("[data-run]:not([aria-current=true]) input").await;
        tab.until(&format!("{circles} > {one}")).await;
        assert!(tab.text("h1").await.contains("Обучение"));
        assert!(
            tab.eval("document.querySelector('[data-curve=loss] svg').textContent")
                .await
                .as_str()
                .unwrap()
                .contains("шаг")
        );
        assert_eq!(tab.text("#standing").await, "завершён");
        let wide = tab.eval("document.documentElement.scrollWidth <= window.innerWidth").await;
        assert_eq!(wide, Value::Bool(true), "the page scrolls sideways");
        tab.picture("training-phone-dark-ru").await;
        tab.eval("document.querySelector('#plots').scrollIntoView()").await;
        tab.picture("training-phone-dark-ru-curves").await;
        assert_eq!(tab.axe().await, Vec::<String>::new());
    });
}
