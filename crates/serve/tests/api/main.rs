//! The server over a socket, on the demo's model: its routes, its guard, and OpenAI's own client.

mod common;
mod openai;
mod routes;
