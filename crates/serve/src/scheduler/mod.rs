//! Continuous batching: one thread per base owns its KV cache and decodes for all requests together.
//!
//! A request's sequences wait in a queue, first come, first served, until the cache has room for the prompt
//! and the longest reply asked for. Between two passes the thread drops the sequences whose client has
//! gone, lets waiting ones in, and feeds every running one its next token, or the next run of its prompt.
//! One pass serves all sequences of one adapter; the adapters take turns within a step.
//!
//! The rows of a prompt stay in the cache after its reply, as long as nobody needs the room, for the next turn of
//! its conversation (`kept.rs`).
//!
//! A reply may depend on what else is decoded at that time in its last bits: a product of few rows sums
//! in another order than one of many. The same request alone gives the same reply.

mod engine;
mod kept;
mod sequence;

use crate::metrics::Metrics;
use crate::registry::Model;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;
use tokio::sync::mpsc::UnboundedSender;
use tolmach_engine::{CACHE_BLOCK, CacheType, CpuBackend};
use tolmach_model::{Decoder, SamplingConfig};

/// How the bases of a registry decode.
#[derive(Clone)]
pub struct EngineOptions {
    /// Where the arithmetic runs; `None`: rayon's own pool.
    pub pool: Option<Arc<rayon::ThreadPool>>,
    /// Sequences decoded together.
    pub parallel: usize,
    /// Sequences that may wait beside those.
    pub queue: usize,
    /// Bytes of a base's KV cache; the system hands them out as they are used.
    pub cache_bytes: usize,
    /// How its keys and values are stored.
    pub cache_type: CacheType,
    /// Tokens of a prompt and its reply; never more than the model was made for.
    pub context: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            pool: None,
            parallel: 64,
            queue: 256,
            cache_bytes: 2 << 30,
            cache_type: CacheType::F32,
            context: 4096,
        }
    }
}

/// One reply to be made.
pub struct Job {
    pub model: Arc<Model>,
    pub prompt: Vec<u32>,
    pub sampling: SamplingConfig,
    pub max_new_tokens: usize,
    /// Decode on after EOS.
    pub ignore_eos: bool,
    /// Report the log-probability of each token and of so many likeliest ones.
    pub logprobs: Option<usize>,
    pub deadline: Instant,
    /// Where the reply goes. Once its receiver is dropped, decoding stops before the next pass.
    pub events: UnboundedSender<Event>,
}

/// What becomes of a job, in order.
#[derive(Debug)]
pub enum Event {
    /// So many tokens of the prompt were in the cache already; before the first token, if at all.
    Reused(usize),
    Token(Token),
    /// The reply is whole; nothing follows.
    Done(Reason),
    /// It will not become whole; nothing follows.
    Failed(Failure),
}

#[derive(Clone, Debug)]
pub struct Token {
    pub id: u32,
    pub logprobs: Option<Logprobs>,
}

/// Natural logarithms, under the model itself.
#[derive(Clone, Debug)]
pub struct Logprobs {
    pub own: f64,
    /// (token, log-probability), likeliest first
    pub top: Vec<(u32, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// EOS, which is not among the tokens.
    Stop,
    Length,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    #[error("the time limit for a request has passed")]
    Timeout,
    #[error("the server is stopping")]
    Stopping,
    #[error("the model cannot decode this: {0}")]
    Model(String),
}

/// Why jobs are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the queue is full")]
    Full {
        /// Seconds after which there may be room.
        retry_after: u64,
    },
    #[error("the scheduler has ended")]
    Ended,
}

/// The handle of a base's scheduler; its thread ends with the last handle.
pub struct Scheduler {
    jobs: Sender<Queued>,
    inside: Arc<AtomicUsize>,
    room: usize,
    parallel: usize,
    metrics: Arc<Metrics>,
    /// Tokens that the KV cache holds.
    cache_rows: usize,
    context: usize,
}

/// A job with its place among those that may be inside.
struct Queued {
    job: Job,
    since: Instant,
    _place: Place,
}

/// Counts a job from its arrival to its end.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Scheduler {
    /// Start the thread of a base.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(
        decoder: &Arc<Decoder<CpuBackend>>,
        options: &EngineOptions,
        metrics: &Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let config = &decoder.config;
        let context = options.context.min(config.max_position_embeddings);
        let row = cache_row_bytes(config, options.cache_type);
        let parallel = options.parallel.max(1);
        let cache_rows =
            (options.cache_bytes / row).clamp(1, parallel * context.next_multiple_of(CACHE_BLOCK));
        let (jobs, queue) = mpsc::channel();
        let scheduler = Self {
            jobs,
            inside: Arc::default(),
            room: parallel + options.queue,
            parallel,
            metrics: Arc::clone(metrics),
            cache_rows,
            context: context.min(cache_rows),
        };
        let (decoder, metrics) = (Arc::clone(decoder), Arc::clone(metrics));
        let (pool, kind) = (options.pool.clone(), options.cache_type);
        std::thread::Builder::new().name("decode".into()).spawn(move || {
            run(engine::Engine::new(&decoder, cache_rows, kind, parallel, metrics), &queue, pool.as_deref());
        })?;
        Ok(scheduler)
    }

    /// Take all of these jobs or none.
    ///
    /// # Errors
    /// There is no room for them.
    pub fn submit(&self, jobs: Vec<Job>) -> Result<(), Refusal> {
        let count = jobs.len();
        let fits = |inside: usize| (inside + count <= self.room).then_some(inside + count);
        if self.inside.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_err() {
            return Err(Refusal::Full { retry_after: self.retry_after() });
        }
        let places: Vec<Place> = jobs.iter().map(|_| Place(Arc::clone(&self.inside))).collect();
        for (job, place) in jobs.into_iter().zip(places) {
            let queued = Queued { job, since: Instant::now(), _place: place };
            self.jobs.send(queued).map_err(|_| Refusal::Ended)?;
        }
        Ok(())
    }

    /// The longest prompt and reply together.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Tokens that the KV cache holds for all sequences together.
    pub fn cache_rows(&self) -> usize {
        self.cache_rows
    }

    /// About as long as it takes until a waiting sequence gets its turn, between 1 s and a minute.
    fn retry_after(&self) -> u64 {
        let turns = (self.room as f64 / self.parallel as f64).max(1.0);
        (self.metrics.mean_seconds() * turns / 2.0).clamp(1.0, 60.0).ceil() as u64
    }
}

/// Bytes that one token takes in a KV cache: keys and values of every layer.
fn cache_row_bytes(config: &tolmach_model::Config, kind: CacheType) -> usize {
    2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * kind.bytes()
}

/// Decode as long as there is a handle or a sequence.
fn run(mut engine: engine::Engine, queue: &Receiver<Queued>, pool: Option<&rayon::ThreadPool>) {
    loop {
        if engine.is_idle() {
            // Nothing to do: sleep until somebody asks.
            let Ok(first) = queue.recv() else { return };
            engine.enqueue(first);
        }
        queue.try_iter().for_each(|queued| engine.enqueue(queued));
        match pool {
            Some(pool) => pool.install(|| engine.step()),
            None => engine.step(),
        }
    }
}
