//! The chat page: ask, stream, stop, try again, edit, compare, come back to it.

use crate::server::Server;
use crate::tab::{DESKTOP, Tab, in_browser};
use crate::tiny;
use serde_json::{Value, json};
use tempfile::TempDir;
use thirtyfour::Key;

/// Bytes per second at which a reply of the tiny model takes many seconds.
const SLOW: u32 = 6000;

pub const MODELS: [&str; 4] = ["--model", "base=base", "--model", "ru=base+adapter"];

/// A tiny random base and an adapter, served; they go on until their longest reply.
pub fn serve() -> (TempDir, Server) {
    let folder = endless_models();
    let server = Server::start(folder.path(), &MODELS);
    (folder, server)
}

/// `base` and `adapter`, for which no token ends a reply.
pub fn endless_models() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    tiny::write_models(folder.path());
    let config = folder.path().join("base/tokenizer_config.json");
    std::fs::write(config, json!({"bos_token": "<s>", "add_bos_token": true}).to_string()).unwrap();
    folder
}

pub async fn open(tab: &Tab, server: &Server) {
    tab.goto(&server.address).await;
    ready(tab).await;
}

pub async fn ready(tab: &Tab) {
    tab.until("document.querySelector('#models select') && !document.querySelector('#prompt').disabled")
        .await;
}

pub async fn ask(tab: &Tab, text: &str) {
    tab.type_into("#prompt", format!("{text}\n")).await;
    tab.until(&format!(
        "[...document.querySelectorAll('.bubble')].some((b) => b.innerText.trim() === {})",
        json!(text)
    ))
    .await;
}

/// All that was asked is answered.
pub async fn answered(tab: &Tab) {
    tab.until(
        "document.querySelector('.reply') && !document.querySelector('[aria-busy=true]') \
         && document.querySelector('#stop').hidden",
    )
    .await;
}

/// Set before anything is asked: replies of `tokens`, without chance.
pub async fn settle(tab: &Tab, tokens: u32) {
    let settings = json!({"temperature": "0", "max_tokens": tokens.to_string()}).to_string();
    tab.eval(&format!("localStorage.setItem('tolmach.settings', {})", json!(settings))).await;
    tab.reload().await;
    ready(tab).await;
}

pub async fn prose(tab: &Tab) -> Vec<String> {
    let found =
        tab.eval("[...document.querySelectorAll('.reply .prose')].map((node) => node.innerText)").await;
    serde_json::from_value(found).unwrap()
}

#[test]
fn a_reply_streams_and_stops() {
    in_browser(DESKTOP, async |tab| {
        let (_folder, server) = serve();
        open(tab, &server).await;
        // What a screen reader is told, and when.
        tab.eval(
            "(window.said = [], new MutationObserver(() => window.said.push(performance.now()))
                .observe(document.querySelector('#announce'), {childList: true, characterData: true, subtree: true}))",
        )
        .await;
        tab.slow_down(Some(SLOW)).await;
        ask(tab, "Кот?").await;
        // It grows while it is written, and says so to a screen reader.
        for longer in ["0", "window.before"] {
            tab.until(&format!(
                "document.querySelector('.reply[aria-busy=true] .prose').innerText.length > {longer}"
            ))
            .await;
            tab.eval("window.before = document.querySelector('.prose').innerText.length").await;
        }
        assert_eq!(tab.eval("document.activeElement.id").await, json!("prompt"));
        tab.press(Key::Escape).await;
        answered(tab).await;
        assert!(tab.text(".reply .tools").await.contains("Stopped."));
        let said = tab.eval("window.said").await;
        let said: Vec<f64> = serde_json::from_value(said).unwrap();
        let pauses = said.windows(2).rev().skip(1).map(|pair| pair[1] - pair[0]);
        assert!(pauses.into_iter().all(|pause| pause > 2000.0), "it talks without a pause: {said:?}");
        let stopped = prose(tab).await;
        tab.slow_down(None).await;
        // The page is free: the next message goes through, to its end.
        ask(tab, "Пёс?").await;
        answered(tab).await;
        assert_eq!(prose(tab).await[0], stopped[0]);
        let said = tab.eval("[...document.querySelectorAll('.reply .tools')].at(-1).innerText").await;
        let said = said.as_str().unwrap();
        for part in ["Cut at the longest length", "first token", "tokens/s", "tokens: "] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(tab.complaints().await, Vec::<String>::new());
    });
}

#[test]
fn another_try_keeps_the_first_and_what_was_said_after_it() {
    in_browser(DESKTOP, async |tab| {
        let (_folder, server) = serve();
        open(tab, &server).await;
        ask(tab, "Кот?").await;
        answered(tab).await;
        let first = prose(tab).await;
        ask(tab, "Почему?").await;
        answered(tab).await;
        let both = prose(tab).await;
        assert_eq!(both[0], first[0]);

        tab.click(".turn:first-child [data-focus$=':again']").await;
        answered(tab).await;
        // What came after the first try is on its branch.
        let second = prose(tab).await;
        assert_eq!(second.len(), 1);
        assert_ne!(second[0], first[0], "temperature 1 said the same twice");
        assert!(tab.text(".reply .switcher").await.contains("2 / 2"));
        tab.click("[data-focus$=':version:-1']").await;
        tab.until("document.querySelectorAll('.turn').length === 2").await;
        assert_eq!(prose(tab).await, both);
        // And so it is after a reload.
        tab.reload().await;
        tab.until("[...document.querySelectorAll('.prose')].filter((p) => p.innerText !== '').length === 2")
            .await;
        assert_eq!(prose(tab).await, both);
        assert!(tab.text(".reply .switcher").await.contains("1 / 2"));
    });
}

#[test]
fn an_edited_message_is_a_branch() {
    in_browser(DESKTOP, async |tab| {
        let (_folder, server) = serve();
        open(tab, &server).await;
        ask(tab, "Кот?").await;
        answered(tab).await;
        let first = prose(tab).await;
        tab.click("[data-focus$=':edit']").await;
        tab.press(Key::Escape).await;
        assert_eq!(tab.text(".bubble").await, "Кот?");
        let focused = tab.eval("document.activeElement.dataset.focus").await;
        assert!(focused.as_str().unwrap().ends_with(":edit"), "the focus went to {focused}");

        tab.click("[data-focus$=':edit']").await;
        tab.type_into("#edit-text", " А пёс?\n").await;
        tab.until("document.querySelector('.bubble')?.innerText === 'Кот? А пёс?'").await;
        answered(tab).await;
        assert!(tab.text(".question .switcher").await.contains("2 / 2"));
        tab.click("[data-focus$=':branch:-1']").await;
        tab.until("document.querySelector('.bubble').innerText === 'Кот?'").await;
        assert_eq!(prose(tab).await, first);
    });
}

#[test]
fn compare_asks_all_and_each_side_is_what_it_says() {
    in_browser(DESKTOP, async |tab| {
        let (_folder, server) = serve();
        open(tab, &server).await;
        settle(tab, 40).await;
        assert_eq!(tab.eval("document.querySelector('#models select').value").await, json!("ru"));
        tab.click("#compare").await;
        ask(tab, "Кот?").await;
        answered(tab).await;
        assert_eq!(labels(tab).await, ["ru", "base"]);
        let fingerprints =
            tab.eval("[...document.querySelectorAll('.model')].map((node) => node.title)").await;
        assert_ne!(fingerprints[0], fingerprints[1]);
        // Each side is what that model says alone.
        let sides = tab
            .eval("[...document.querySelectorAll('.reply .prose')].map((node) => node.textContent.trim())")
            .await;
        for (index, model) in ["ru", "base"].iter().enumerate() {
            let alone = alone(tab, model, "Кот?").await;
            assert_eq!(sides[index], alone, "{model}");
        }
        assert_ne!(sides[0], sides[1]);
        // The next message goes to both, each with its own past.
        ask(tab, "Почему?").await;
        answered(tab).await;
        assert_eq!(labels(tab).await, ["ru", "base", "ru", "base"]);
        tab.click(".side:last-child .icon, .side + .side .icon").await;
        assert_eq!(tab.count("#models select").await, 1);
    });
}

/// What a model says to a prompt alone, as the page shows it.
async fn alone(tab: &Tab, model: &str, prompt: &str) -> Value {
    let body = json!({"model": model, "temperature": 0, "max_tokens": 40, "messages": [{"role": "user", "content": prompt}]});
    let expression = format!(
        "(async () => {{
            const post = (path, json) => fetch(path, {{method: 'POST', headers: {{'Content-Type': 'application/json'}}, body: JSON.stringify(json)}}).then((r) => r.json());
            const reply = await post('/v1/chat/completions', {body});
            const text = reply.choices[0].message.content;
            const shown = document.createElement('template');
            shown.innerHTML = (await post('/ui/markdown', {{text}})).html;
            return shown.content.textContent.trim();
        }})()"
    );
    tab.eval_later(&expression).await
}

async fn labels(tab: &Tab) -> Vec<String> {
    serde_json::from_value(
        tab.eval("[...document.querySelectorAll('.reply .model')].map((node) => node.innerText)").await,
    )
    .unwrap()
}

#[test]
fn unsloth_4503_a_side_is_labelled_by_the_answer_not_by_the_question() {
    in_browser(DESKTOP, async |tab| {
        let (_folder, server) = serve();
        open(tab, &server).await;
        // Whatever is asked for, the base answers.
        tab.eval(
            "(window.real = window.fetch, window.fetch = (path, options) => window.real(path, path.startsWith('/v1/chat')
                ? {...options, body: options.body.replace('\"model\":\"ru\"', '\"model\":\"base\"')} : options), 0)",
        )
        .await;
        ask(tab, "Кот?").await;
        answered(tab).await;
        assert_eq!(labels(tab).await, ["base"]);
        assert!(tab.text(".reply-head").await.contains("ru was asked for"));
    });
}

#[test]
fn conversations_are_kept_found_renamed_and_deleted() {
    in_browser(DESKTOP, async |tab| {
        let (_folder, server) = serve();
        open(tab, &server).await;
        for prompt in ["Про кота", "Про собаку"] {
            tab.click("#new").await;
            ask(tab, prompt).await;
            answered(tab).await;
        }
        let titles = "[...document.querySelectorAll('.conversations .title')].map((node) => node.innerText)";
        assert_eq!(tab.eval(titles).await, json!(["Про собаку", "Про кота"]));
        tab.reload().await;
        ready(tab).await;
        assert_eq!(tab.eval(titles).await, json!(["Про собаку", "Про кота"]));
        assert_eq!(tab.text(".bubble").await, "Про собаку");

        tab.type_into("#search", "КОТА").await;
        assert_eq!(tab.eval(titles).await, json!(["Про кота"]));
        tab.click(".conversations .open").await;
        tab.until("document.querySelector('.bubble').innerText === 'Про кота'").await;
        tab.click(".conversations .icon").await;
        tab.type_into("#rename", "Рыжий КОТА\n").await;
        assert_eq!(tab.eval(titles).await, json!(["Рыжий КОТА"]));
        tab.click(".conversations .icon + .icon").await;
        tab.click("dialog[open] .danger").await;
        tab.until("document.querySelector('.conversations').children.length === 0").await;
        assert_eq!(tab.count(".bubble").await, 0);
        tab.reload().await;
        ready(tab).await;
        assert_eq!(tab.eval(titles).await, json!(["Про собаку"]));
    });
}

#[test]
fn replies_and_code_are_copied_also_where_the_browser_has_no_clipboard() {
    in_browser(DESKTOP, async |tab| {
        let (folder, server) = serve();
        open(tab, &server).await;
        let text = "Так:\n\n```python\nprint(\"привет\")\n```\n\n| a | b |\n|---|--:|\n| 1 | 2 |";
        import(tab, folder.path(), text).await;
        tab.until("document.querySelector('.code') && document.querySelector('td.right')").await;
        let (reply, code) = (".reply > .tools .button.small", ".code .button");
        for (clipboard, copied) in [
            ("{writeText: async (text) => { window.copied = text; }}", "window.copied"),
            // Plain HTTP from another machine.
            ("undefined", "window.selected"),
        ] {
            tab.eval(&format!(
                "(Object.defineProperty(navigator, 'clipboard', {{configurable: true, value: {clipboard}}}),
                  document.addEventListener('copy', () => {{ window.selected = document.activeElement.value; }}), 0)"
            ))
            .await;
            for (button, expected) in [(code, "print(\"привет\")\n"), (reply, text)] {
                tab.click(button).await;
                tab.until(&format!("document.querySelector('{button}').innerText === 'Copied'")).await;
                assert_eq!(tab.eval(copied).await, json!(expected), "{clipboard}");
                assert_eq!(tab.text("#announce").await, "Copied");
                let focused = format!("document.activeElement === document.querySelector('{button}')");
                assert_eq!(tab.eval(&focused).await, json!(true), "the focus stays on the button");
                tab.until(&format!("document.querySelector('{button}').innerText !== 'Copied'")).await;
            }
        }
        // Only the messages scroll, however long they are.
        import(tab, folder.path(), &"Длинно. ".repeat(2000)).await;
        assert_eq!(tab.eval("document.documentElement.scrollHeight <= innerHeight").await, json!(true));
    });
}

/// A conversation with this reply, imported and opened.
async fn import(tab: &Tab, folder: &std::path::Path, text: &str) {
    let id = text.len().to_string();
    let reply = json!({"id": format!("r{id}"), "asked": "ru", "model": "ru", "text": text, "finish": "stop"});
    let turn = json!({"id": "t", "place": "", "prompt": "?", "columns": [{"asked": "ru", "shown": 0, "versions": [reply]}]});
    let conversation = json!({"id": id, "title": id, "turns": [turn], "updated": text.len()});
    let file = folder.join("import.json");
    let whole = json!({"format": "tolmach-conversations", "conversations": [conversation]});
    std::fs::write(&file, whole.to_string()).unwrap();
    tab.upload("#import-file", &file).await;
    tab.until(&format!("document.querySelector('.conversations .title')?.innerText === '{id}'")).await;
    tab.click(".conversations .open").await;
    tab.until("document.querySelector('.prose')?.innerText.length > 9").await;
}

#[test]
fn conversations_travel_as_a_file() {
    in_browser(DESKTOP, async |tab| {
        let (folder, server) = serve();
        open(tab, &server).await;
        ask(tab, "Про кота").await;
        answered(tab).await;
        let said = prose(tab).await;
        tab.eval("(URL.createObjectURL = (blob) => (window.exported = blob, 'blob:none'), 0)").await;
        tab.click("#export").await;
        let text = tab.eval_later("window.exported.text()").await;
        let file = folder.path().join("conversations.json");
        std::fs::write(&file, text.as_str().unwrap()).unwrap();

        // As in another browser: nothing is there before.
        tab.click(".conversations .icon + .icon").await;
        tab.click("dialog[open] .danger").await;
        tab.until("document.querySelector('.conversations').children.length === 0").await;
        tab.upload("#import-file", &file).await;
        tab.click(".conversations .open").await;
        tab.until("document.querySelector('.prose')?.innerText").await;
        assert_eq!(prose(tab).await, said);

        // What is no such file is refused, whatever it holds.
        for wrong in [
            "",
            "[]",
            "{\"conversations\": [1]}",
            "{\"format\": \"tolmach-conversations\", \"conversations\": [{\"id\": 1}]}",
        ] {
            std::fs::write(&file, wrong).unwrap();
            tab.upload("#import-file", &file).await;
            tab.until("document.querySelector('#banner').innerText.includes('not a file of conversations')")
                .await;
            tab.click("#banner .quiet").await;
        }
        assert_eq!(tab.count(".conversations li").await, 1);
    });
}
