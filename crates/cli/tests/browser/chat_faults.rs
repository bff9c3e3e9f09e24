//! The chat page when things go wrong, or are meant to.

use crate::chat::{self, answered, ask, open, prose, ready, serve, settle};
use crate::server::Server;
use crate::tab::{DESKTOP, Tab, in_browser};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use thirtyfour::Key;

#[test]
fn a_server_that_dies_is_told_and_asked_again() {
    in_browser(DESKTOP, async |tab| {
        let (folder, server) = serve();
        open(tab, &server).await;
        settle(tab, 20).await;
        let socket = server.socket();
        drop(server);
        ask(tab, "Кот?").await;
        tab.until("document.querySelector('#banner').innerText.includes('does not answer')").await;
        assert_eq!(tab.eval("document.querySelector('#banner').getAttribute('role')").await, json!("alert"));
        tab.picture("error").await;
        let _server = Server::at(folder.path(), &socket, &chat::MODELS);
        tab.click("#banner .button:not(.quiet)").await;
        answered(tab).await;
        assert_ne!(prose(tab).await[0], "");
        assert_eq!(tab.text("#banner").await, "");
        assert_eq!(tab.count(".reply .wrong").await, 0);
    });
}

#[test]
fn a_stream_that_is_cut_keeps_what_came() {
    in_browser(DESKTOP, async |tab| {
        let (_folder, server) = serve();
        open(tab, &server).await;
        // As when the server dies while it answers.
        tab.eval(
            "(window.real = window.fetch, window.fetch = async (path, options) => {
                const response = await window.real(path, options);
                if (!path.startsWith('/v1/chat')) return response;
                const { value } = await response.body.getReader().read();
                return new Response(value.slice(0, 1500), response); }, 0)",
        )
        .await;
        ask(tab, "Кот?").await;
        tab.until("document.querySelector('.reply .wrong')").await;
        assert!(tab.text(".reply .wrong").await.contains("cut"));
        assert!(!prose(tab).await[0].is_empty());
    });
}

/// More tokens than the context holds.
fn too_long() -> String {
    "кот ".repeat(500)
}

async fn written(tab: &Tab, field: &str) -> String {
    tab.eval(&format!("document.querySelector('{field}')?.value ?? ''")).await.as_str().unwrap().to_string()
}

#[test]
fn a_message_that_is_too_long_is_kept_to_be_shortened() {
    in_browser(DESKTOP, async |tab| {
        let (_folder, server) = serve();
        open(tab, &server).await;
        settle(tab, 20).await;
        let told = "document.querySelector('#banner').innerText.includes('too long for ru')";
        tab.type_into("#prompt", too_long()).await;
        tab.click("#send").await;
        tab.until(told).await;
        assert!(tab.text("#banner").await.contains("400 tokens"));
        // Nothing is left of the try but the text, where it was typed.
        assert_eq!(written(tab, "#prompt").await, too_long());
        assert_eq!(tab.eval("document.activeElement.id").await, json!("prompt"));
        assert_eq!((tab.count(".turn").await, tab.count(".conversations li").await), (0, 0));
        tab.picture("too-long").await;
        tab.eval("document.querySelector('#prompt').value = ''").await;
        ask(tab, "Кот?").await;
        answered(tab).await;
        assert_eq!(tab.text("#banner").await, "");

        // In a conversation, and as an edit: what was there before stays.
        let before = prose(tab).await;
        tab.type_into("#prompt", too_long()).await;
        tab.click("#send").await;
        tab.until(told).await;
        assert_eq!((tab.count(".turn").await, written(tab, "#prompt").await), (1, too_long()));
        tab.eval("document.querySelector('#prompt').value = ''").await;
        tab.click("[data-focus$=':edit']").await;
        tab.type_into("#edit-text", format!(" {}\n", too_long())).await;
        tab.until(&format!("{told} && document.querySelector('#edit-text')")).await;
        assert!(written(tab, "#edit-text").await.starts_with("Кот? кот кот"));
        tab.press(Key::Escape).await;
        assert_eq!((prose(tab).await, tab.text(".bubble").await), (before.clone(), "Кот?".to_string()));
        assert_eq!(tab.count(".question .switcher").await, 0);
        tab.reload().await;
        ready(tab).await;
        tab.until("document.querySelector('.prose')?.innerText").await;
        assert_eq!(prose(tab).await, before);
    });
}

#[test]
fn without_a_model_the_page_says_how_to_get_one() {
    in_browser(DESKTOP, async |tab| {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), &["--runs", "."]);
        tab.goto(&server.address).await;
        tab.until("document.querySelector('.welcome h2')").await;
        assert_eq!(tab.text(".welcome h2").await, "No model is served");
        assert!(tab.text(".welcome code").await.contains("--model"));
        let locked = "['#prompt', '#send'].every((id) => document.querySelector(id).disabled)";
        assert_eq!(tab.eval(locked).await, json!(true));
        assert_eq!(tab.axe().await, Vec::<String>::new());
        tab.picture("no-model").await;
        // The other pages without anything to show.
        for (page, title) in [
            ("training", "No training yet"),
            ("review", "Nothing to review"),
            ("report", "No report card yet"),
        ] {
            tab.goto(&format!("{}/{page}", server.address)).await;
            tab.until(&format!(
                "document.querySelector('#empty:not([hidden])')?.innerText.includes('{title}')"
            ))
            .await;
            tab.picture(&format!("{page}-empty")).await;
            assert_eq!(tab.axe().await, Vec::<String>::new(), "{page}");
        }
        assert_eq!(tab.complaints().await, Vec::<String>::new());
    });
}

#[test]
fn adapters_come_and_go_without_a_reload() {
    in_browser(DESKTOP, async |tab| {
        let folder = chat::endless_models();
        let server = Server::start(folder.path(), &["--model", "base=base", "--adapters", "."]);
        open(tab, &server).await;
        let models = "[...document.querySelectorAll('#models select')[0].options].map((o) => o.value)";
        assert_eq!(tab.eval(models).await, json!(["base"]));
        let post = |path: &str, fields: Value| {
            format!(
                "fetch('/v1/{path}', {{method: 'POST', headers: {{'Content-Type': 'application/json'}}, body: JSON.stringify({fields})}}).then((r) => r.status)"
            )
        };
        let load = post("load_lora_adapter", json!({"lora_name": "ru", "lora_path": "adapter"}));
        assert_eq!(tab.eval_later(&load).await, json!(200));
        tab.until(&format!("{models}.includes('ru')")).await;
        // The one that was chosen stays chosen; the new one can be asked at once.
        assert_eq!(tab.eval("document.querySelector('#models select').value").await, json!("base"));
        tab.click("#compare").await;
        ask(tab, "Кот?").await;
        answered(tab).await;
        assert_eq!(tab.text(".reply:last-child .model").await, "ru");
        let unload = post("unload_lora_adapter", json!({"lora_name": "ru"}));
        assert_eq!(tab.eval_later(&unload).await, json!(200));
        tab.until("document.querySelector('#banner').innerText.includes('No longer served: ru')").await;
        assert_eq!(tab.eval(models).await, json!(["base"]));
        assert_eq!(tab.text(".reply:last-child .model").await, "ru", "what was said stays");
    });
}

#[test]
fn the_browser_enforces_the_policy() {
    in_browser(DESKTOP, async |tab| {
        let (_folder, server) = serve();
        open(tab, &server).await;
        tab.eval(
            "(() => {
                window.broken = [];
                document.addEventListener('securitypolicyviolation', (e) => window.broken.push(e.effectiveDirective));
                const add = (tag, props) => document.body.append(Object.assign(document.createElement(tag), props));
                add('script', { textContent: 'window.harmed = 1' });
                add('style', { textContent: 'body { display: none }' });
                add('div', {}); document.body.lastChild.setAttribute('style', 'display: block');
                add('button', {}); document.body.lastChild.setAttribute('onclick', 'window.harmed = 1');
                add('img', { src: 'https://evil.invalid/pixel.png' });
                add('iframe', { src: 'https://evil.invalid/' });
                fetch('https://evil.invalid/').catch(() => null);
            })()",
        )
        .await;
        for directive in [
            "script-src-elem",
            "style-src-elem",
            "style-src-attr",
            "script-src-attr",
            "img-src",
            "frame-src",
            "connect-src",
        ] {
            tab.until(&format!("window.broken.includes('{directive}')")).await;
        }
        assert_eq!(tab.eval("window.harmed ?? null").await, Value::Null);
        assert_eq!(tab.eval("getComputedStyle(document.body).display").await, json!("flex"));
    });
}

#[test]
fn a_key_is_asked_for_and_kept_in_the_tab_only() {
    in_browser(DESKTOP, async |tab| {
        let folder = chat::endless_models();
        let server = Server::start(folder.path(), &[&chat::MODELS[..], &["--api-key", "secret-7"]].concat());
        tab.goto(&server.address).await;
        tab.type_into("#key-input", "wrong\n").await;
        tab.until("document.querySelector('#key .wrong')").await;
        tab.type_into("#key-input", "secret-7\n").await;
        ready(tab).await;
        ask(tab, "Кот?").await;
        answered(tab).await;
        assert_ne!(prose(tab).await[0], "");
        assert_eq!(tab.eval("JSON.stringify(localStorage).includes('secret-7')").await, json!(false));
        assert_eq!(tab.eval("document.cookie").await, json!(""));
    });
}

#[test]
fn settings_reach_the_server_and_empty_ones_are_its_own() {
    in_browser(DESKTOP, async |tab| {
        let (_folder, server) = serve();
        open(tab, &server).await;
        // Look at what is sent.
        tab.eval(
            "(window.sent = [], window.real = window.fetch, window.fetch = (path, options) => {
                if (path.startsWith('/v1/chat')) window.sent.push(JSON.parse(options.body));
                return window.real(path, options); }, 0)",
        )
        .await;
        tab.click("#open-settings").await;
        assert_eq!(tab.eval("document.querySelector('#set-temperature').placeholder").await, json!("0.7"));
        assert_ne!(tab.eval("document.querySelector('#set-max_tokens').placeholder").await, json!(""));
        tab.picture("settings").await;
        assert_eq!(tab.axe().await, Vec::<String>::new());
        for (field, value) in
            [("system", "Отвечай кратко"), ("max_tokens", "7"), ("seed", "3"), ("stop", "конец")]
        {
            tab.type_into(&format!("#set-{field}"), value).await;
        }
        tab.click("#settings-form .primary").await;
        ask(tab, "Кот?").await;
        answered(tab).await;
        assert!(tab.text(".reply .tools").await.contains("tokens: 7"));
        let first = prose(tab).await;
        tab.click("[data-focus$=':again']").await;
        answered(tab).await;
        assert_ne!(prose(tab).await, first, "another try with the same seed");
        tab.click("#open-settings").await;
        tab.click("#settings-reset").await;
        tab.click("#settings-form .primary").await;
        tab.click("#new").await;
        ask(tab, "Пёс?").await;
        answered(tab).await;
        let sent = tab.eval("window.sent").await;
        let expected =
            json!([{"role": "system", "content": "Отвечай кратко"}, {"role": "user", "content": "Кот?"}]);
        assert_eq!(sent[0]["messages"], expected);
        assert_eq!((&sent[0]["seed"], &sent[1]["seed"]), (&json!(3), &json!(4)));
        assert_eq!((&sent[0]["max_tokens"], &sent[0]["stop"]), (&json!(7), &json!(["конец"])));
        let fields: Vec<&String> = sent[2].as_object().unwrap().keys().collect();
        assert_eq!(fields, ["messages", "model", "stream", "stream_options", "temperature", "top_p"]);
        assert_eq!(sent[2]["temperature"], json!(0.7));
    });
}

/// What a model may say to harm the page: Markdown, HTML, and both.
const HOSTILE: &str = "<img src=x onerror=\"window.harmed=1\"> <script>window.harmed=1</script>\n\n\
    [go](javascript:window.harmed=1) ![pixel](https://evil.invalid/steal.png)\n\n\
    <style>body{display:none}</style><dialog open id=banner>gone</dialog>\n\n\
    ```\"><svg onload=window.harmed=1>\n</code></pre><iframe src=\"//evil.invalid\"></iframe>\n```\n\n\
    | <b onmouseover=window.harmed=1>x</b> |\n|-|\n| </table></main> |\n";

async fn is_unharmed(tab: &Tab) {
    assert_eq!(tab.eval("window.harmed ?? null").await, Value::Null);
    let dangerous = "img, script, style, iframe, svg:not(.glyph), form, input, dialog, [onerror], [onload], [id], [style]";
    assert_eq!(tab.eval(&format!("[...document.querySelectorAll('.prose')].flatMap((p) => [...p.querySelectorAll('{dangerous}')].map((n) => n.outerHTML))")).await, json!([]));
    let links = tab.eval("[...document.querySelectorAll('.prose a[href]')].map((a) => a.protocol)").await;
    assert!(links.as_array().unwrap().iter().all(|protocol| protocol == "https:"), "{links}");
    // Nothing was asked of another host, and no policy had to step in.
    assert_eq!(tab.eval("performance.getEntriesByType('resource').map((e) => e.name).filter((n) => !n.startsWith(location.origin))").await, json!([]));
    assert_eq!(tab.complaints().await, Vec::<String>::new());
}

#[test]
fn hostile_conversations_are_inert() {
    in_browser(DESKTOP, async |tab| {
        let (folder, server) = serve();
        open(tab, &server).await;
        let reply = json!({"id": "r\"><b>", "asked": "<img src=x onerror=window.harmed=1>", "model": "<b>m</b>", "fingerprint": "\" onmouseover=window.harmed=1", "text": HOSTILE, "finish": "constructor", "error": "<i>no</i>", "stats": {"first": "<b>", "rate": "1e999"}});
        let turn = json!({"id": "t", "place": "", "prompt": HOSTILE, "columns": [{"asked": "x", "shown": 7, "versions": [reply]}]});
        let conversation = json!({"id": "c", "title": "<img src=x onerror=window.harmed=1>", "turns": [turn], "active": {"__proto__": "t"}});
        let file = folder.path().join("hostile.json");
        std::fs::write(
            &file,
            json!({"format": "tolmach-conversations", "conversations": [conversation]}).to_string(),
        )
        .unwrap();
        tab.upload("#import-file", &file).await;
        tab.click(".conversations .open").await;
        tab.until("document.querySelector('.prose')?.innerText.includes('onerror')").await;
        is_unharmed(tab).await;
        tab.picture("hostile").await;
    });
}

#[test]
fn a_model_that_has_learned_to_harm_is_inert_while_it_streams() {
    in_browser(DESKTOP, async |tab| {
        let folder = tempfile::tempdir().unwrap();
        let base =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/model").canonicalize().unwrap();
        let said = "<img src=x onerror=\"window.harmed=1\"> [go](javascript:window.harmed=1) <script>window.harmed=1</script>";
        teach(folder.path(), &base, said);
        let model = format!("evil={}+adapter", base.display());
        let server = Server::start(folder.path(), &["--model", &model]);
        open(tab, &server).await;
        settle(tab, 200).await;
        ask(tab, "Say it").await;
        answered(tab).await;
        assert!(prose(tab).await[0].contains("<img src=x onerror="), "{:?}", prose(tab).await);
        is_unharmed(tab).await;
    });
}

/// An adapter over `base` that answers `said`, whatever is asked.
fn teach(folder: &Path, base: &Path, said: &str) {
    let rows: String = (0..1)
        .map(|row| {
            format!(
                "{}\n",
                json!({"id": row.to_string(), "instruction": "Say it", "input": "", "output": said})
            )
        })
        .collect();
    std::fs::write(folder.join("data.jsonl"), rows).unwrap();
    let arguments = "--data data.jsonl -o adapter --max-steps 60 --step-examples 1 --learning-rate 0.01 --lora-rank 8 --schedule constant";
    let output = Command::new(env!("CARGO_BIN_EXE_tolmach"))
        .current_dir(folder)
        .args(["train", "--base"])
        .arg(base)
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
