//! The crate from outside, against a real HTTP server on this machine.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod economy;
mod hostile;
mod libretranslate;
mod outage;
mod services;
mod support;
mod trust;
mod wire;
