//! The pages in a real browser, from the real binary: headless Chromium, driven through WebDriver.
//!
//! Needs `chromium` and `chromedriver` (Debian's chromium and chromium-driver); without them each test says so
//! and passes. `TOLMACH_TEST_BROWSER=required` makes that a failure. `TOLMACH_TEST_AXE=…/axe.min.js` names
//! axe-core, for the checks of accessibility. `TOLMACH_TEST_SCREENSHOTS=FOLDER` keeps pictures to look at.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod chat;
mod chat_faults;
mod chat_looks;
mod report;
mod review;
mod server;
mod tab;
#[allow(dead_code, reason = "the other tests of the binary use the rest")]
#[path = "../tiny/mod.rs"]
mod tiny;
mod training;
