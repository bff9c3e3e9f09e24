//! Counters for `/metrics`, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Upper bounds of the time histograms, in seconds.
const BOUNDS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// What the server has done since it started. All schedulers of one registry count here.
#[derive(Default)]
pub struct Metrics {
    prompt_tokens: AtomicU64,
    reused_tokens: AtomicU64,
    tokens: AtomicU64,
    cancelled: AtomicU64,
    refused: AtomicU64,
    running: AtomicU64,
    waiting: AtomicU64,
    cache_reserved: AtomicU64,
    cache_kept: AtomicU64,
    cache_rows: AtomicU64,
    first_token: Histogram,
    reply: Histogram,
    /// By route and status.
    requests: Mutex<BTreeMap<(String, u16), u64>>,
}

/// What one scheduler is busy with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    pub running: usize,
    pub waiting: usize,
    /// Tokens
    pub cache_reserved: usize,
    pub cache_kept: usize,
    pub cache_rows: usize,
}

/// Cumulative counts as Prometheus wants them are made when asked for.
#[derive(Default)]
struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

impl Histogram {
    fn observe(&self, seconds: f64) {
        let bucket = BOUNDS.iter().position(|&bound| seconds <= bound).unwrap_or(BOUNDS.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.microseconds.fetch_add((seconds * 1e6) as u64, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.counts.iter().map(get).sum()
    }

    fn sum(&self) -> f64 {
        get(&self.microseconds) as f64 / 1e6
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().zip(&self.counts) {
            below += get(count);
            let _ = writeln!(out, "{name}_bucket{{le=\"{bound}\"}} {below}");
        }
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {}", self.count());
        let _ = writeln!(out, "{name}_sum {}\n{name}_count {}", self.sum(), self.count());
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Metrics {
    pub fn count_prompt_tokens(&self, count: usize) {
        self.prompt_tokens.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub fn count_reused_tokens(&self, count: usize) {
        self.reused_tokens.fetch_add(count as u64, Ordering::Relaxed);
    }

    pub fn count_token(&self) {
        self.tokens.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_request(&self, route: &str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route.to_string(), status)).or_default() += 1;
    }

    /// From a sequence's arrival to its first token.
    pub fn observe_first_token(&self, seconds: f64) {
        self.first_token.observe(seconds);
    }

    /// From a sequence's arrival to its end.
    pub fn observe_reply(&self, seconds: f64) {
        self.reply.observe(seconds);
    }

    /// Mean time of a reply; 0 before the first.
    pub fn mean_seconds(&self) -> f64 {
        self.reply.sum() / self.reply.count().max(1) as f64
    }

    /// A scheduler's load has changed; the gauges show the sum of all schedulers'.
    pub fn shift_load(&self, from: &Load, to: &Load) {
        for (gauge, from, to) in [
            (&self.running, from.running, to.running),
            (&self.waiting, from.waiting, to.waiting),
            (&self.cache_reserved, from.cache_reserved, to.cache_reserved),
            (&self.cache_kept, from.cache_kept, to.cache_kept),
            (&self.cache_rows, from.cache_rows, to.cache_rows),
        ] {
            // Wraps around to what a signed sum would be.
            gauge.fetch_add((to as u64).wrapping_sub(from as u64), Ordering::Relaxed);
        }
    }

    /// Prometheus' text exposition format, version 0.0.4.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for (name, kind, help, value) in [
            ("tolmach_prompt_tokens_total", "counter", "Tokens of prompts computed.", &self.prompt_tokens),
            (
                "tolmach_reused_prompt_tokens_total",
                "counter",
                "Tokens of prompts that were in the KV cache already.",
                &self.reused_tokens,
            ),
            ("tolmach_generated_tokens_total", "counter", "Tokens of replies.", &self.tokens),
            ("tolmach_cancelled_total", "counter", "Replies whose client left.", &self.cancelled),
            (
                "tolmach_refused_total",
                "counter",
                "Requests refused because the queue was full.",
                &self.refused,
            ),
            ("tolmach_running", "gauge", "Sequences that are decoded now.", &self.running),
            ("tolmach_waiting", "gauge", "Sequences in the queue.", &self.waiting),
            ("tolmach_cache_reserved_tokens", "gauge", "Tokens reserved in KV caches.", &self.cache_reserved),
            (
                "tolmach_cache_kept_tokens",
                "gauge",
                "Tokens of earlier prompts kept in KV caches; room for others.",
                &self.cache_kept,
            ),
            ("tolmach_cache_tokens", "gauge", "Tokens that KV caches can hold.", &self.cache_rows),
        ] {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {}", get(value));
        }
        self.first_token.write(
            &mut out,
            "tolmach_first_token_seconds",
            "From a sequence's arrival to its first token.",
        );
        self.reply.write(&mut out, "tolmach_reply_seconds", "From a sequence's arrival to its end.");
        let name = "tolmach_requests_total";
        let _ = writeln!(out, "# HELP {name} Requests by route and status.\n# TYPE {name} counter");
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for ((route, status), count) in requests.iter() {
            let _ = writeln!(out, "{name}{{route=\"{route}\",status=\"{status}\"}} {count}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative() {
        let metrics = Metrics::default();
        for seconds in [0.02, 0.02, 0.3, 99.0] {
            metrics.observe_first_token(seconds);
        }
        metrics.count_request("/v1/models", 200);
        let text = metrics.text();
        for line in [
            "tolmach_first_token_seconds_bucket{le=\"0.01\"} 0",
            "tolmach_first_token_seconds_bucket{le=\"0.025\"} 2",
            "tolmach_first_token_seconds_bucket{le=\"60\"} 3",
            "tolmach_first_token_seconds_bucket{le=\"+Inf\"} 4",
            "tolmach_first_token_seconds_sum 99.34",
            "tolmach_requests_total{route=\"/v1/models\",status=\"200\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
    }
}
