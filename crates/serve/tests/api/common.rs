//! A server over the demo's model in this process, and a client that sees every byte.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tolmach_engine::CpuBackend;
use tolmach_model::{AdapterInfo, Decoder, LoraConfig};
use tolmach_serve::{EngineOptions, Limits, Options, Registry};

pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/demo/model")
}

/// An adapter over the demo's model that changes what it says.
pub fn write_adapter(folder: &Path, seed: u64, strength: f32) {
    std::fs::create_dir_all(folder).unwrap();
    let mut model = Decoder::load(Arc::new(CpuBackend::new()), &demo()).unwrap();
    let lora = LoraConfig::of_rank(4);
    model.add_lora(&lora, seed).unwrap();
    for parameter in model.parameters_mut() {
        for (i, value) in parameter.value.iter_mut().enumerate() {
            *value += strength * (i as f32 * 0.7 + seed as f32).sin();
        }
    }
    model.save_adapter(folder, &AdapterInfo { lora, base_model_name_or_path: None }).unwrap();
}

/// Served as long as it lives; ids `base`, and `tuned` where an adapter was given.
pub struct Server {
    pub address: SocketAddr,
    pub registry: Arc<Registry>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

pub fn options() -> Options {
    Options {
        address: "127.0.0.1:0".parse().unwrap(),
        api_key: None,
        hosts: Vec::new(),
        adapter_roots: Vec::new(),
        runs: Vec::new(),
        reviews: Vec::new(),
        limits: Limits::default(),
        log: Arc::new(|line| eprintln!("log: {line}")),
    }
}

impl Server {
    pub fn start(adapter: Option<&Path>) -> Self {
        Self::with(options(), EngineOptions::default(), adapter)
    }

    pub fn with(options: Options, engine: EngineOptions, adapter: Option<&Path>) -> Self {
        let registry = Arc::new(Registry::new(engine));
        let base = registry.base(&demo()).unwrap();
        registry.add("base", &base, None, None).unwrap();
        if let Some(folder) = adapter {
            registry.add("tuned", &base, Some(folder), None).unwrap();
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(tolmach_serve::bind(&options)).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let served = Arc::clone(&registry);
        let thread = std::thread::spawn(move || {
            let stopped = async {
                let _ = stopped.await;
            };
            runtime.block_on(tolmach_serve::serve(listener, options, served, stopped)).unwrap();
        });
        Self { address, registry, stop: Some(stop), thread: Some(thread) }
    }

    /// Ask it to stop, without waiting.
    pub fn begin_to_stop(&mut self) {
        drop(self.stop.take());
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut text = String::new();
        self.open(method, path, headers, body).read_to_string(&mut text).unwrap();
        Answer::parse(&text)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/json")], &body.to_string())
    }

    /// The values of a stream's events; the last is the text `[DONE]`.
    pub fn events(&self, path: &str, body: &Value) -> Vec<String> {
        self.stream(path, body).collect()
    }

    /// A stream's events as they come; dropping it hangs up.
    pub fn stream(&self, path: &str, body: &Value) -> impl Iterator<Item = String> + use<> {
        let headers = [("Content-Type", "application/json")];
        let lines = BufReader::new(self.open("POST", path, &headers, &body.to_string())).lines();
        lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("data: ").map(str::to_string))
    }

    fn open(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let host = self.address.to_string();
        let mut all = vec![("Connection", "close")];
        if !headers.iter().any(|h| h.0 == "Host") {
            all.push(("Host", &host));
        }
        all.extend(headers);
        let head: String = all.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request =
            format!("{method} {path} HTTP/1.1\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// A number of `/metrics`.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text.lines().find(|l| l.split(' ').next() == Some(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Until a gauge is at `value`: the scheduler sets it a moment after a reply has ended.
    pub fn wait_for_metric(&self, name: &str, value: f64) {
        let begun = std::time::Instant::now();
        while self.metric(name) != value {
            assert!(begun.elapsed().as_secs() < 10, "{name} stays at {}", self.metric(name));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.begin_to_stop();
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let head = head.to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let chunked = head.contains("transfer-encoding: chunked");
        Self { status, body: if chunked { dechunk(body) } else { body.to_string() }, head }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|l| l.strip_prefix(&format!("{name}: ")))
    }

    /// The text of the first choice, of either route.
    pub fn text(&self) -> String {
        let json = self.json();
        let choice = &json["choices"][0];
        choice["message"]["content"]
            .as_str()
            .or(choice["text"].as_str())
            .unwrap_or_else(|| panic!("{json}"))
            .into()
    }
}

fn dechunk(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        whole += &rest[..size];
        body = rest[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    whole
}

/// The text that a stream's chunks make, of the choice with this index.
pub fn joined(events: &[String], index: u64) -> String {
    let chunks = events.iter().filter(|e| *e != "[DONE]").map(|e| serde_json::from_str::<Value>(e).unwrap());
    let choices = chunks.flat_map(|c| c["choices"].as_array().cloned().unwrap_or_default());
    choices
        .filter(|c| c["index"] == index)
        .map(|c| c["delta"]["content"].as_str().or(c["text"].as_str()).unwrap_or_default().to_string())
        .collect()
}
