//! The chat page in Russian, in the dark, on a phone, by keyboard, and for a screen reader.

use crate::chat::{answered, ask, open, serve, settle};
use crate::tab::{DESKTOP, Looks, Tab, in_browser};
use serde_json::json;
use thirtyfour::Key;

const PHONE: Looks = Looks { language: "ru", dark: false, width: 360, height: 720 };

/// Nothing is wider than the window, and axe finds nothing serious.
async fn is_fine(tab: &Tab, what: &str) {
    tab.picture(what).await;
    assert_eq!(
        tab.eval("document.documentElement.scrollWidth <= innerWidth").await,
        json!(true),
        "{what} scrolls sideways"
    );
    assert_eq!(tab.axe().await, Vec::<String>::new(), "{what}");
}

#[test]
fn in_russian_and_in_the_dark() {
    in_browser(Looks { language: "ru", dark: true, ..DESKTOP }, async |tab| {
        let (_folder, server) = serve();
        open(tab, &server).await;
        settle(tab, 60).await;
        assert_eq!(tab.eval("document.documentElement.lang").await, json!("ru"));
        assert_eq!(tab.text("h2").await, "О чём спросим?");
        let ground = "getComputedStyle(document.body).backgroundColor";
        let dark = tab.eval(ground).await;
        is_fine(tab, "empty-ru-dark").await;
        tab.click("#compare").await;
        ask(tab, "Почему небо голубое?").await;
        answered(tab).await;
        assert!(tab.text(".reply .tools").await.contains("токен"));
        // No English is left: the texts come from one table.
        let english = tab.eval("[...document.querySelectorAll('[data-t], [data-t-label]')].filter((n) => n.closest('#language') === null).map((n) => n.dataset.t ? n.innerText : n.getAttribute('aria-label')).filter((text) => /[a-z]{3,}/i.test(text) && !/Enter|Shift|Esc|Top-p|Python/.test(text))").await;
        assert_eq!(english, json!([]));
        is_fine(tab, "compare-ru-dark").await;

        // Both switches hold after a reload.
        tab.click("#theme").await;
        assert_ne!(tab.eval(ground).await, dark);
        tab.click("#language").await;
        tab.reload().await;
        tab.until("document.querySelector('.prose')?.innerText").await;
        assert_ne!(tab.eval(ground).await, dark);
        assert_eq!(tab.eval("document.documentElement.lang").await, json!("en"));
        assert!(tab.text(".reply .tools").await.contains("tokens/s"));
        is_fine(tab, "compare-en-light").await;
    });
}

#[test]
fn on_a_phone() {
    in_browser(PHONE, async |tab| {
        let (_folder, server) = serve();
        open(tab, &server).await;
        settle(tab, 60).await;
        is_fine(tab, "phone-empty").await;
        tab.click("#compare").await;
        ask(tab, &"длинное_слово_без_единого_пробела".repeat(3)).await;
        answered(tab).await;
        assert_eq!(tab.text("#banner").await, "");
        is_fine(tab, "phone-compare").await;
        // The list is a drawer: it opens over the page, takes the focus, and Esc gives it back.
        tab.click("#toggle-history").await;
        tab.until("document.querySelector('#history').getBoundingClientRect().left === 0").await;
        assert_eq!(tab.eval("document.activeElement.id").await, json!("new"));
        is_fine(tab, "phone-history").await;
        tab.press(Key::Escape).await;
        assert_eq!(tab.eval("document.activeElement.id").await, json!("toggle-history"));
        tab.until("getComputedStyle(document.querySelector('#history')).visibility === 'hidden'").await;
        tab.click("#open-settings").await;
        is_fine(tab, "phone-settings").await;
    });
}

#[test]
fn who_wants_no_motion_has_none() {
    in_browser(PHONE, async |tab| {
        let (_folder, server) = serve();
        open(tab, &server).await;
        tab.slow_down(Some(3000)).await;
        ask(tab, "Кот?").await;
        let longest = "Math.max(...[...document.querySelectorAll('*')].flatMap((node) => ['', '::before'].flatMap((part) => {
            const style = getComputedStyle(node, part);
            const moves = [style.transitionDuration, style.animationName === 'none' ? '0s' : style.animationDuration];
            return moves.join(',').split(',').map((time) => parseFloat(time)); })))";
        let breathes = "getComputedStyle(document.querySelector('.prose'), '::before').animationName";
        tab.eval("document.querySelector('.reply').classList.add('waiting')").await;
        assert_eq!(tab.eval(breathes).await, json!("breathe"));
        assert!(tab.eval(longest).await.as_f64().unwrap() > 0.1);
        let calm = json!({"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]});
        tab.devtools("Emulation.setEmulatedMedia", calm).await;
        assert!(tab.eval(longest).await.as_f64().unwrap() < 0.001);
    });
}

#[test]
fn by_keyboard_alone() {
    in_browser(DESKTOP, async |tab| {
        let (_folder, server) = serve();
        open(tab, &server).await;
        settle(tab, 30).await;
        is_fine(tab, "empty").await;
        assert_eq!(tab.eval("document.activeElement.id").await, json!("prompt"));
        tab.press(format!("Кот{}пёс", Key::Shift + Key::Enter)).await;
        tab.press(Key::Null + Key::Enter).await;
        answered(tab).await;
        assert_eq!(tab.text(".bubble").await, "Кот\nпёс");
        is_fine(tab, "answered").await;
        // The reply is said once, whole, in a region that is announced; the streaming text itself is not.
        let said = tab.eval("document.querySelector('[role=status]').textContent").await;
        assert_ne!(said, json!(""));
        assert_eq!(tab.count(".turns [aria-live]").await, 0);

        // Everything can be reached, in the order in which it stands, and the focus is seen.
        tab.eval("document.activeElement.blur()").await;
        let mut reached = Vec::new();
        for _ in 0..60 {
            tab.devtools(
                "Input.dispatchKeyEvent",
                json!({"type": "keyDown", "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}),
            )
            .await;
            tab.devtools(
                "Input.dispatchKeyEvent",
                json!({"type": "keyUp", "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}),
            )
            .await;
            let here = tab.eval("(() => { const n = document.activeElement; return [n === document.body ? 'body' : n.id || n.dataset.focus?.split(':').at(-1) || n.className, getComputedStyle(n).outlineStyle !== 'none' || n.id === 'prompt']; })()").await;
            let name = here[0].as_str().unwrap().to_string();
            match name.as_str() {
                // Past the end; the round starts anew, and this time from the top.
                "body" if reached.first().is_some_and(|first| first == "body") => break,
                "body" => reached = vec![name],
                _ => {
                    assert_eq!(here[1], json!(true), "the focus on {name} is not seen");
                    reached.push(name);
                }
            }
        }
        let order = [
            "language",
            "theme",
            "new",
            "search",
            "export",
            "import",
            "compare",
            "open-settings",
            "scroller",
            "edit",
            "again",
            "prompt",
            "send",
        ];
        let mut places = order.iter().map(|id| {
            reached
                .iter()
                .position(|found| found == id)
                .unwrap_or_else(|| panic!("{id} is not in {reached:?}"))
        });
        assert!(places.by_ref().is_sorted(), "{reached:?}");
        assert_eq!(tab.complaints().await, Vec::<String>::new());
    });
}
