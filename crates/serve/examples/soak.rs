//! Many streaming clients against the real binary, over loopback, for a given time; stops by itself.
//!
//! ```text
//! cargo run --release -p tolmach-serve --example soak -- --server target/release/tolmach \
//!     --base assets/demo/model --clients 64 --seconds 300
//! ```
//!
//! It starts the server, measures one stream alone, then all together, then hangs up half of them, and
//! prints one JSON object: errors, tokens/s, time to the first token, the server's memory. The exit code
//! is 1 where a figure misses its bound: an error, memory that grew by more than 5 %, fewer than four
//! times a single stream's tokens/s, a slot that outlives its client by more than one token.

use serde_json::{Value, json};
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// How long one stream alone is measured.
const ALONE: Duration = Duration::from_secs(10);
/// The part of the run after which memory should be flat.
const WARM_UP: f64 = 0.2;
/// Questions of several lengths; each client takes the next.
const QUESTIONS: [&str; 4] = [
    "Привет!",
    "What is the capital of France?",
    "Напиши короткий рассказ о коте, который умел говорить. 🦙",
    "List the planets of the solar system in order, and say one thing about each of them.",
];

struct Arguments {
    server: PathBuf,
    base: PathBuf,
    adapter: Option<PathBuf>,
    clients: usize,
    seconds: u64,
    tokens: usize,
    temperature: f64,
    kv_cache: String,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut found = Self {
            server: "target/release/tolmach".into(),
            base: "assets/demo/model".into(),
            adapter: None,
            clients: 64,
            seconds: 300,
            tokens: 128,
            temperature: 0.8,
            kv_cache: "f32".into(),
        };
        let mut words = std::env::args().skip(1);
        while let Some(name) = words.next() {
            let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--server" => found.server = value.into(),
                "--base" => found.base = value.into(),
                "--adapter" => found.adapter = Some(value.into()),
                "--clients" => found.clients = value.parse()?,
                "--seconds" => found.seconds = value.parse()?,
                "--tokens" => found.tokens = value.parse()?,
                "--temperature" => found.temperature = value.parse()?,
                "--kv-cache" => found.kv_cache = value,
                _ => return Err(format!("there is no option {name}").into()),
            }
        }
        Ok(found)
    }
}

/// The server's process; it ends with this.
struct Server {
    process: Child,
    address: SocketAddr,
    models: Vec<&'static str>,
}

impl Server {
    fn start(arguments: &Arguments) -> Result<Self> {
        let base = arguments.base.display();
        let mut models = vec!["base"];
        let mut command = Command::new(&arguments.server);
        command.args(["serve", "--kv-cache", &arguments.kv_cache]);
        command.args(["--listen", "127.0.0.1:0", "--model", &format!("base={base}")]);
        if let Some(adapter) = &arguments.adapter {
            command.args(["--model", &format!("tuned={base}+{}", adapter.display())]);
            models.push("tuned");
        }
        let mut process = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut lines = BufReader::new(process.stderr.take().ok_or("no stderr")?).lines();
        let address = loop {
            let line = lines.next().ok_or("the server ended before it listened")??;
            if let Some(rest) = line.split("http://").nth(1) {
                break rest.split_whitespace().next().unwrap_or_default().parse()?;
            }
        };
        // Its messages are read on, so that it never waits for us.
        std::thread::spawn(move || {
            lines.map_while(std::result::Result::ok).for_each(|line| eprintln!("{line}"));
        });
        Ok(Self { process, address, models })
    }

    /// Resident memory in bytes, as Linux tells it.
    fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse::<u64>()? * 1024)
    }

    /// Seconds of processor time so far, as Linux tells them: user and system, in hundredths.
    fn processor_seconds(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // The name, in brackets, may hold spaces; what follows it begins with the third field.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |nth: usize| fields.get(nth - 3).and_then(|f| f.parse::<f64>().ok()).ok_or("no times");
        Ok((ticks(14)? + ticks(15)?) / 100.0)
    }

    fn metric(&self, name: &str) -> Result<f64> {
        let mut stream = TcpStream::connect(self.address)?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let line = text.lines().find(|l| l.split(' ').next() == Some(name)).ok_or("no such metric")?;
        Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What all clients saw.
#[derive(Default)]
struct Seen {
    tokens: AtomicU64,
    replies: AtomicU64,
    errors: Mutex<Vec<String>>,
    /// Seconds from the request to the first text.
    first: Mutex<Vec<f64>>,
}

/// One streamed reply; false where `stop` came before its end.
fn reply(
    server: &(SocketAddr, &'static str),
    arguments: &Arguments,
    nth: usize,
    stop: &AtomicBool,
    seen: &Seen,
) -> Result<bool> {
    let body = json!({
        "model": server.1, "stream": true, "ignore_eos": true, "seed": nth,
        "max_tokens": arguments.tokens, "temperature": arguments.temperature,
        "messages": [{"role": "user", "content": QUESTIONS[nth % QUESTIONS.len()]}],
        "stream_options": {"include_usage": true},
    })
    .to_string();
    let start = Instant::now();
    let mut stream = TcpStream::connect(server.0)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let length = body.len();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    write!(stream, "{head}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}")?;
    let (mut first, mut pieces, mut usage, mut finished) = (None, 0, None, false);
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if pieces == 0 && line.starts_with("HTTP/") && !line.contains(" 200 ") {
            return Err(line.into());
        }
        let Some(data) = line.strip_prefix("data: ") else { continue };
        if data == "[DONE]" {
            finished = true;
            break;
        }
        if data.contains('\u{FFFD}') {
            return Err(format!("U+FFFD in {data}").into());
        }
        // Nothing is parsed that need not be: the clients take their time from the server's cores.
        if data.starts_with("{\"error\"") {
            return Err(data.into());
        }
        if data.contains("\"usage\":{") {
            let chunk: Value = serde_json::from_str(data)?;
            usage = chunk["usage"]["completion_tokens"].as_u64();
        } else if data.contains("\"content\":\"") && !data.contains("\"content\":\"\"") {
            first.get_or_insert_with(|| start.elapsed().as_secs_f64());
            pieces += 1;
            seen.tokens.fetch_add(1, Ordering::Relaxed);
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
    }
    let tokens = usage.unwrap_or(0);
    if !finished || tokens != arguments.tokens as u64 {
        return Err(format!("a stream ended after {tokens} of {} tokens", arguments.tokens).into());
    }
    // Tokens that are no whole character came with a later one's piece.
    seen.tokens.fetch_add(tokens.saturating_sub(pieces), Ordering::Relaxed);
    seen.replies.fetch_add(1, Ordering::Relaxed);
    seen.first.lock().unwrap_or_else(PoisonError::into_inner).extend(first);
    Ok(true)
}

/// Reply after reply until `stop`.
fn client(
    server: (SocketAddr, &'static str),
    arguments: &Arguments,
    number: usize,
    stop: &AtomicBool,
    seen: &Seen,
) {
    for round in 0.. {
        match reply(&server, arguments, number + 1000 * round, stop, seen) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                seen.errors.lock().unwrap_or_else(PoisonError::into_inner).push(error.to_string());
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether every figure is within its bound.
fn run() -> Result<bool> {
    let arguments = Arc::new(Arguments::parse()?);
    let server = Server::start(&arguments)?;
    let alone = together(&server, &arguments, 1, ALONE)?;
    eprintln!("alone: {:.1} tokens/s", alone.rate);
    let many = together(&server, &arguments, arguments.clients, Duration::from_secs(arguments.seconds))?;
    let hang_up = hang_up(&server, &arguments)?;
    let speed_up = many.rate / alone.rate;
    let good = many.errors.is_empty()
        && alone.errors.is_empty()
        && many.memory_growth <= 0.05
        && speed_up >= 4.0
        && hang_up.tokens <= 1.0;
    let report = json!({
        "clients": arguments.clients,
        "seconds": arguments.seconds,
        "replies": many.replies,
        "errors": many.errors.len(),
        "first_errors": many.errors.iter().take(3).collect::<Vec<_>>(),
        "tokens_per_second_alone": alone.rate,
        "tokens_per_second": many.rate,
        "speed_up": speed_up,
        "server_cores_busy": {"alone": alone.cores, "together": many.cores},
        "first_token_seconds": {"alone": alone.first, "together": many.first},
        "memory_mib": {
            "after_warm_up": many.memory.0 as f64 / f64::from(1 << 20),
            "most_since": many.memory.1 as f64 / f64::from(1 << 20),
            "growth": many.memory_growth,
        },
        "hang_up": {
            "clients": hang_up.clients,
            "seconds": hang_up.seconds,
            "token_seconds": hang_up.token_seconds,
            "tokens": hang_up.tokens,
        },
        "good": good,
    });
    println!("{report:#}");
    Ok(good)
}

struct Measured {
    rate: f64,
    replies: u64,
    errors: Vec<String>,
    /// p50, p99 and the largest.
    first: Value,
    /// Bytes: once warm, and the most after that.
    memory: (u64, u64),
    memory_growth: f64,
    /// Processor time of the server per second.
    cores: f64,
}

fn together(server: &Server, arguments: &Arc<Arguments>, clients: usize, time: Duration) -> Result<Measured> {
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let threads: Vec<_> = (0..clients)
        .map(|number| {
            let target = (server.address, server.models[number % server.models.len()]);
            let (arguments, seen, stop) = (Arc::clone(arguments), Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || client(target, &arguments, number, &stop, &seen))
        })
        .collect();
    let start = Instant::now();
    let (mut warm, mut most, busy) = (None, 0, server.processor_seconds()?);
    while start.elapsed() < time {
        std::thread::sleep(Duration::from_secs(1).min(time));
        if start.elapsed().as_secs_f64() >= WARM_UP * time.as_secs_f64() {
            let memory = server.memory()?;
            warm.get_or_insert(memory);
            most = most.max(memory);
        }
    }
    let rate = seen.tokens.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    let cores = (server.processor_seconds()? - busy) / start.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "a client panicked")?;
    }
    let warm = warm.unwrap_or(most);
    let mut first = std::mem::take(&mut *seen.first.lock().unwrap_or_else(PoisonError::into_inner));
    first.sort_by(f64::total_cmp);
    let at =
        |share: f64| first.get(((first.len() as f64 * share) as usize).min(first.len().saturating_sub(1)));
    Ok(Measured {
        rate,
        replies: seen.replies.load(Ordering::Relaxed),
        errors: std::mem::take(&mut *seen.errors.lock().unwrap_or_else(PoisonError::into_inner)),
        first: json!({"p50": at(0.5), "p99": at(0.99), "most": first.last()}),
        memory: (warm, most),
        memory_growth: most.saturating_sub(warm) as f64 / warm.max(1) as f64,
        cores,
    })
}

struct HangUp {
    clients: usize,
    /// From the hanging up until the slots were seen to be free.
    seconds: f64,
    /// Between two tokens of a stream, before it.
    token_seconds: f64,
    /// Tokens that were decoded for those who had left, per client.
    tokens: f64,
}

/// Half of the clients hang up in the middle of their replies.
fn hang_up(server: &Server, arguments: &Arc<Arguments>) -> Result<HangUp> {
    let half = arguments.clients / 2;
    let flags = [Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false))];
    let seen = Arc::new(Seen::default());
    let mut sides: [Vec<_>; 2] = [Vec::new(), Vec::new()];
    for number in 0..arguments.clients {
        let (arguments, seen) = (Arc::clone(arguments), Arc::clone(&seen));
        let side = usize::from(number >= half);
        let (target, stop) = ((server.address, server.models[0]), Arc::clone(&flags[side]));
        // Long replies: nobody ends while this is measured.
        let arguments = Arc::new(Arguments { tokens: 400, ..copy(&arguments) });
        sides[side].push(std::thread::spawn(move || client(target, &arguments, number, &stop, &seen)));
    }
    let running = |least: f64| -> Result<()> {
        let until = Instant::now() + Duration::from_secs(60);
        while server.metric("tolmach_running")? < least {
            if Instant::now() > until {
                return Err("the clients did not all get a slot".into());
            }
        }
        Ok(())
    };
    running(arguments.clients as f64)?;
    let (before, start) = (server.metric("tolmach_generated_tokens_total")?, Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let said = server.metric("tolmach_generated_tokens_total")? - before;
    let token_seconds = start.elapsed().as_secs_f64() * arguments.clients as f64 / said.max(1.0);
    let cancelled = server.metric("tolmach_cancelled_total")?;
    flags[0].store(true, Ordering::Relaxed);
    // A client hangs up with the next token it reads.
    for thread in std::mem::take(&mut sides[0]) {
        thread.join().map_err(|_| "a client panicked")?;
    }
    let gone = Instant::now();
    while server.metric("tolmach_cancelled_total")? - cancelled < half as f64 {
        if gone.elapsed() > Duration::from_secs(30) {
            return Err("slots of clients that left are still taken after 30 s".into());
        }
    }
    let seconds = gone.elapsed().as_secs_f64();
    flags[1].store(true, Ordering::Relaxed);
    for thread in std::mem::take(&mut sides[1]) {
        thread.join().map_err(|_| "a client panicked")?;
    }
    Ok(HangUp { clients: half, seconds, token_seconds, tokens: seconds / token_seconds })
}

fn copy(arguments: &Arguments) -> Arguments {
    Arguments {
        server: arguments.server.clone(),
        base: arguments.base.clone(),
        adapter: arguments.adapter.clone(),
        kv_cache: arguments.kv_cache.clone(),
        ..*arguments
    }
}
