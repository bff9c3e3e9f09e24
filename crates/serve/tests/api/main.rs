//! The server over a socket, on the demo's model: its routes, its guard, and OpenAI's own client.

#![allow(clippy::unwrap_used, reason = "tests, their helpers too")]

mod common;
mod hostile;
mod openai;
mod routes;
mod turns;
