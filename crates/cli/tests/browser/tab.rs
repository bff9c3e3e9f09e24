//! One browser with one tab, and what tests do and ask there.

use serde_json::{Value, json};
use std::future::poll_fn;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use thirtyfour::common::capabilities::chromium::ChromiumLikeCapabilities;
use thirtyfour::prelude::*;

/// Browsers are heavy: one at a time.
static ONE: Mutex<()> = Mutex::new(());

/// The key, as WebDriver writes it.
const ENTER: &str = "\u{e007}";

/// What a tab is like before the page sees it.
#[derive(Clone, Copy)]
pub struct Looks {
    /// `navigator.language`
    pub language: &'static str,
    pub dark: bool,
    /// CSS pixels; a phone when narrow.
    pub width: u32,
    pub height: u32,
}

pub const DESKTOP: Looks = Looks { language: "en", dark: false, width: 1280, height: 800 };

struct ChromeDriver(Child);

pub struct Tab {
    driver: WebDriver,
    _chromedriver: ChromeDriver,
    /// What the browser leaves behind; goes after it.
    _leftovers: TempDir,
}

/// Run `test` in a tab; without a browser say so and pass.
pub fn in_browser(looks: Looks, test: impl AsyncFnOnce(&Tab)) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match Tab::open(looks).await {
            Ok(tab) => {
                // A browser that is not told to end lives on.
                let ended = caught(test(&tab)).await;
                tab.close().await;
                if let Err(panic) = ended {
                    resume_unwind(panic);
                }
            }
            Err(reason) if std::env::var("TOLMACH_TEST_BROWSER").as_deref() == Ok("required") => {
                panic!("{reason}")
            }
            Err(reason) => eprintln!("skipped: {reason}"),
        }
    });
}

/// The end of `test`, or its panic.
async fn caught(test: impl Future<Output = ()>) -> std::thread::Result<()> {
    let mut test = pin!(test);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| test.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

impl Tab {
    async fn open(looks: Looks) -> Result<Self, String> {
        // The HTTP client wants one, even where nothing is encrypted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let leftovers = TempDir::new().map_err(|error| format!("no temporary folder: {error}"))?;
        let mut chromedriver = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", leftovers.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map(ChromeDriver)
            .map_err(|error| format!("chromedriver (Debian: chromium-driver) does not start: {error}"))?;
        let lines = BufReader::new(chromedriver.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines
            .filter_map(|line| {
                Some(line.split_once("started successfully on port ")?.1.trim_end_matches('.').to_string())
            })
            .next();
        let address = format!("http://127.0.0.1:{}", port.ok_or("chromedriver ended at once")?);
        let driver = WebDriver::new(&address, capabilities(looks)).await;
        let driver = driver.map_err(|error| format!("no Chromium: {error}"))?;
        let tab = Self { driver, _chromedriver: chromedriver, _leftovers: leftovers };
        tab.look(looks).await;
        Ok(tab)
    }

    /// Size and theme, as a device would have them.
    pub async fn look(&self, looks: Looks) {
        let Looks { width, height, dark, .. } = looks;
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    /// Let answers come at `bytes` per second, or as fast as they do (`None`).
    pub async fn slow_down(&self, bytes: Option<u32>) {
        let rate = bytes.map_or(-1, i64::from);
        let limits =
            json!({"offline": false, "latency": 0, "downloadThroughput": rate, "uploadThroughput": -1});
        self.devtools("Network.enable", json!({})).await;
        self.devtools("Network.emulateNetworkConditions", limits).await;
    }

    pub async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(command, parameters).await.unwrap_or_else(|e| panic!("{command}: {e}"))
    }

    pub async fn goto(&self, address: &str) {
        self.driver.goto(address).await.unwrap();
    }

    pub async fn reload(&self) {
        self.driver.refresh().await.unwrap();
    }

    /// The value of a JavaScript expression.
    pub async fn eval(&self, expression: &str) -> Value {
        let script = format!("return ({expression});");
        let found = self.driver.execute(script, Vec::new()).await;
        found.unwrap_or_else(|error| panic!("{expression}: {error}")).json().clone()
    }

    /// As [`Tab::eval`], of a promise.
    pub async fn eval_later(&self, expression: &str) -> Value {
        let script =
            format!("const done = arguments[0]; ({expression}).then(done, (error) => done(String(error)));");
        let found = self.driver.execute_async(script, Vec::new()).await;
        found.unwrap_or_else(|error| panic!("{expression}: {error}")).json().clone()
    }

    /// Wait until an expression is true.
    pub async fn until(&self, expression: &str) {
        let started = Instant::now();
        while self.eval(&format!("Boolean({expression})")).await != json!(true) {
            if started.elapsed() > Duration::from_secs(30) {
                let page = self.eval("document.body.innerText").await;
                panic!("in vain waited for {expression}; the page:\n{}", page.as_str().unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    /// The text that is shown of the first element of a selector.
    pub async fn text(&self, selector: &str) -> String {
        let found =
            self.eval(&format!("document.querySelector({})?.innerText ?? null", json!(selector))).await;
        found.as_str().unwrap_or_else(|| panic!("there is no {selector}")).to_string()
    }

    pub async fn count(&self, selector: &str) -> u64 {
        self.eval(&format!("document.querySelectorAll({}).length", json!(selector))).await.as_u64().unwrap()
    }

    async fn find(&self, selector: &str) -> WebElement {
        self.until(&format!("document.querySelector({})", json!(selector))).await;
        self.driver.find(By::Css(selector.to_string())).await.unwrap()
    }

    /// Click as a mouse does: the element must be visible and nothing may lie over it.
    pub async fn click(&self, selector: &str) {
        let clicked = self.find(selector).await.click().await;
        clicked.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Type into an element; `\n` is Enter.
    pub async fn type_into(&self, selector: &str, keys: impl AsRef<str>) {
        let keys = keys.as_ref().replace('\n', ENTER);
        self.find(selector).await.send_keys(keys).await.unwrap();
    }

    /// A key where the focus is.
    pub async fn press(&self, key: impl Into<TypingData>) {
        self.driver.active_element().await.unwrap().send_keys(key).await.unwrap();
    }

    /// Choose a file in an `<input type=file>`.
    pub async fn upload(&self, selector: &str, path: &std::path::Path) {
        self.find(selector).await.send_keys(path.to_str().unwrap()).await.unwrap();
    }

    /// What the browser complained of since last asked (errors and warnings: broken policies, failed scripts,
    /// answers of 400 and more).
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.driver.browser_log().await.unwrap();
        log.into_iter()
            .filter(|entry| ["WARNING", "SEVERE"].contains(&entry.level.as_str()))
            .map(|entry| entry.message)
            .collect()
    }

    /// What axe finds serious or critical; nothing (said so) where axe-core is not installed.
    pub async fn axe(&self) -> Vec<String> {
        let Some(path) = std::env::var_os("TOLMACH_TEST_AXE") else {
            eprintln!("skipped the check of accessibility: TOLMACH_TEST_AXE names no axe.min.js");
            return Vec::new();
        };
        let axe = std::fs::read_to_string(PathBuf::from(path)).unwrap();
        self.driver.execute(axe, Vec::new()).await.unwrap();
        let serious = "axe.run().then((found) => found.violations.filter((v) => ['serious', 'critical'].includes(v.impact))\
            .map((v) => `${v.id}: ${v.nodes.map((n) => n.html).slice(0, 3).join(' | ')}`))";
        let found = self.eval_later(serious).await;
        found
            .as_array()
            .unwrap_or_else(|| panic!("axe failed: {found}"))
            .iter()
            .map(|v| v.as_str().unwrap().into())
            .collect()
    }

    /// Keep a picture, if `TOLMACH_TEST_SCREENSHOTS` says where.
    pub async fn picture(&self, name: &str) {
        if let Some(folder) = std::env::var_os("TOLMACH_TEST_SCREENSHOTS") {
            let path = PathBuf::from(folder).join(format!("{name}.png"));
            self.driver.screenshot(&path).await.unwrap();
        }
    }

    async fn close(self) {
        let _ = self.driver.quit().await;
    }
}

impl Drop for ChromeDriver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn capabilities(looks: Looks) -> Capabilities {
    let mut wanted = DesiredCapabilities::chrome();
    // Tests run as root in containers, where Chromium's own sandbox does not start; the pages are ours.
    for argument in [
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--force-device-scale-factor=1",
    ] {
        wanted.add_arg(argument).unwrap();
    }
    wanted.add_arg(&format!("--lang={}", looks.language)).unwrap();
    wanted.add_experimental_option("prefs", json!({"intl.accept_languages": looks.language})).unwrap();
    let mut wanted: Capabilities = wanted.into();
    wanted.set("goog:loggingPrefs", json!({"browser": "ALL"})).unwrap();
    wanted
}
