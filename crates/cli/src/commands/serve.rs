//! `tolmach serve`: OpenAI's API and the pages, from this binary.

use crate::hub;
use crate::loading;
use crate::report::{Exit, Failure, Outcome};
use crate::ui::Ui;
use serde_json::json;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tolmach_engine::CacheType;
use tolmach_serve::{EngineOptions, Limits, ModelSpec, Options, Registry};
use tolmach_tokenize::PromptTemplate;

const EXAMPLES: &str = "\
Examples:
  The base and the tuned model, side by side in a browser:
    tolmach serve --model base=models/llama --model ru=models/llama+adapter
  For another machine (a key is demanded then):
    TOLMACH_API_KEY=… tolmach serve --model ru=models/llama+adapter --listen 0.0.0.0:8080
  Watch a training run while it goes on:
    tolmach serve --model base=models/llama --runs runs
  Any OpenAI client:
    curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
      -d '{\"model\": \"ru\", \"messages\": [{\"role\": \"user\", \"content\": \"Привет!\"}]}'";

/// Serve models to browsers and OpenAI clients
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A model: a base, or an adapter over it; models over one base share its memory
    #[arg(long = "model", value_name = "NAME=BASE[+ADAPTER]", value_parser = model_spec)]
    models: Vec<ModelSpec>,
    /// Where to listen; another address than loopback demands --api-key
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The key that clients must present: letters, digits, punctuation of ASCII
    #[arg(long, value_name = "KEY", env = "TOLMACH_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Another name under which browsers may reach this server
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
    /// A folder from which clients may load adapters (POST /v1/load_lora_adapter)
    #[arg(long = "adapters", value_name = "DIR")]
    adapter_roots: Vec<PathBuf>,
    /// A folder of training runs, or one run, for the training page
    #[arg(long, value_name = "DIR")]
    runs: Vec<PathBuf>,
    /// A review file of `tolmach translate`, for the review page
    #[arg(long = "review", value_name = "FILE")]
    reviews: Vec<PathBuf>,
    /// Prompt template of all models [default: what the adapter's or the base's folder names, else alpaca-en]
    #[arg(long, value_name = "NAME", value_parser = loading::named_template)]
    template: Option<PromptTemplate>,
    /// Replies decoded together
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive)]
    parallel: usize,
    /// Replies that may wait; beyond, clients are told to come back later
    #[arg(long, value_name = "N", default_value_t = 256)]
    queue: usize,
    /// Longest prompt and reply together; never more than the model was made for
    #[arg(long, value_name = "TOKENS", default_value_t = 4096, value_parser = positive)]
    context: usize,
    /// Longest reply that a client may ask for
    #[arg(long, value_name = "TOKENS", default_value_t = 4096, value_parser = positive)]
    max_tokens: usize,
    /// Memory for the keys and values of all replies of one base; taken as it is needed
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = positive)]
    kv_memory: usize,
    /// How keys and values are stored: f32 as computed, f16 and bf16 in half the memory
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = cache_type)]
    kv_cache: CacheType,
    /// Threads [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

pub fn run(args: Args, ui: &Ui) -> Outcome {
    if args.models.is_empty() && args.runs.is_empty() && args.reviews.is_empty() {
        return Err(Failure::usage("nothing to serve").hint("--model NAME=BASE[+ADAPTER]"));
    }
    if let Some(key) = &args.api_key {
        check_key(key)?;
    }
    let pool = Some(Arc::new(loading::pool(args.threads)?));
    let engine = EngineOptions {
        pool,
        parallel: args.parallel,
        queue: args.queue,
        cache_bytes: args.kv_memory << 20,
        cache_type: args.kv_cache,
        context: args.context,
    };
    let registry = Arc::new(Registry::new(engine));
    for spec in &args.models {
        let base = registry.base(&hub::model(&spec.base, ui)?)?;
        let adapter = hub::optional(spec.adapter.as_deref(), hub::adapter, ui)?;
        registry.add(&spec.name, &base, adapter.as_deref(), args.template.clone())?;
        ui.say(format!(
            "{}: context {} tokens, KV cache {} tokens, up to {} replies together",
            spec.name,
            base.context(),
            base.cache_tokens(),
            args.parallel
        ));
    }
    let options = Options {
        address: args.listen,
        api_key: args.api_key,
        hosts: args.hosts,
        adapter_roots: args.adapter_roots,
        runs: args.runs,
        reviews: args.reviews,
        limits: Limits { max_tokens: args.max_tokens, ..Limits::default() },
        log: Arc::new(|line| eprintln!("{line}")),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tolmach_serve::bind(&options).await.map_err(serve_failure)?;
        let address = listener.local_addr()?;
        ui.say(format!("http://{address} · Ctrl-C stops"));
        tolmach_serve::serve(listener, options, registry, interrupted()).await.map_err(serve_failure)
    })?;
    Ok(Some(json!({"stopped": true})))
}

/// Ready once Ctrl-C or SIGTERM asked to stop.
async fn interrupted() {
    let flag = crate::interrupt::flag();
    while !flag.load(std::sync::atomic::Ordering::SeqCst) {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

fn serve_failure(error: tolmach_serve::Error) -> Failure {
    match error {
        tolmach_serve::Error::NeedsKey { .. } => {
            Failure::from(error).exit(Exit::Usage).hint("--api-key KEY, or TOLMACH_API_KEY")
        }
        tolmach_serve::Error::Listen { .. } => {
            Failure::from(error).exit(Exit::Network).hint("--listen ADDRESS:PORT names another one")
        }
        _ => Failure::from(error),
    }
}

/// What can be sent in a header as it is; the key itself is not repeated where others may read it.
fn check_key(key: &str) -> Result<(), Failure> {
    let problem = match key {
        "" => "the API key is empty, so everybody would have it",
        key if !key.bytes().all(|b| b.is_ascii_graphic()) => {
            "the API key holds a space or a character beyond ASCII, which clients cannot send"
        }
        _ => return Ok(()),
    };
    Err(Failure::usage(problem)
        .hint("--api-key KEY (or TOLMACH_API_KEY) with ASCII letters, digits, punctuation"))
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "expected a whole number of at least 1".to_string())
}

fn cache_type(text: &str) -> Result<CacheType, String> {
    match text {
        "f32" => Ok(CacheType::F32),
        "f16" => Ok(CacheType::F16),
        "bf16" => Ok(CacheType::Bf16),
        _ => Err("expected f32, f16 or bf16".to_string()),
    }
}

fn model_spec(text: &str) -> Result<ModelSpec, String> {
    let expected = || "expected NAME=BASE or NAME=BASE+ADAPTER".to_string();
    let (name, rest) = text.split_once('=').ok_or_else(expected)?;
    // A folder's own name may hold a plus sign.
    let (base, adapter) = match rest.split_once('+') {
        Some((base, adapter)) if !PathBuf::from(rest).exists() => (base, Some(adapter)),
        _ => (rest, None),
    };
    if name.is_empty() || base.is_empty() || adapter.is_some_and(str::is_empty) {
        return Err(expected());
    }
    Ok(ModelSpec { name: name.into(), base: base.into(), adapter: adapter.map(PathBuf::from) })
}
