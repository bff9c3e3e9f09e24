//! `tolmach doctor`: what this machine has, and what the settings come to.

use crate::hub::failure;
use crate::report::{Exit, Failure, Outcome};
use crate::ui::Ui;
use indicatif::{HumanBytes, ProgressBar};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Mutex;
use tolmach_engine::cpu::gemm::kernel_name;
use tolmach_hub::{Hub, Progress, Settings, VARIABLES, free_bytes};

const EXAMPLES: &str = "\
Examples:
  tolmach doctor
  Whether the Hub answers, and whose the token is:
    tolmach doctor --online
  Whether every file in the cache still is what was fetched:
    tolmach doctor --verify-cache

The exit code is 1 when --verify-cache finds a damaged file, 4 when --online gets no answer.";

/// Show devices, memory, disks, the Hub's cache and settings, and what is wrong with them
#[derive(clap::Args)]
#[command(after_help = help())]
pub struct Args {
    /// Ask the Hub whether it answers and knows the token; without it nothing is sent anywhere
    #[arg(long)]
    online: bool,
    /// Hash every file in the Hub's cache and compare it with its name
    #[arg(long)]
    verify_cache: bool,
}

/// The examples, and the variables as they are declared.
fn help() -> String {
    let variables =
        VARIABLES.iter().map(|variable| format!("  {}\n    {}\n", variable.name, variable.meaning));
    format!("{EXAMPLES}\n\nVariables of the Hub's tools that are read:\n{}", variables.collect::<String>())
}

pub fn run(args: &Args, ui: &Ui) -> Outcome {
    let settings = Settings::from_env();
    let machine = machine();
    let environment = environment();
    let disks = [("working folder", Path::new(".")), ("Hub cache", &settings.cache)];
    let disks: Vec<Value> = disks
        .iter()
        .map(|(what, path)| json!({"what": what, "path": path, "free_bytes": free_bytes(path)}))
        .collect();
    let hub = Hub::new(settings).map_err(failure)?;
    let cache = hub.cache_figures();
    say(&machine, &disks, ui);
    let settings = hub.settings();
    let token_from = settings.token.as_ref().map(|(_, from)| from.clone());
    line(
        ui,
        "Hub",
        &format!("{}{}", hub.address(), if settings.offline { ", offline (HF_HUB_OFFLINE)" } else { "" }),
    );
    line(ui, "token", &token_from.as_ref().map_or("none".to_string(), |from| format!("from {from}")));
    let figures = format!(
        "{} in {} files of {} repositories; {} of downloads that were cut off",
        HumanBytes(cache.bytes),
        cache.blobs,
        cache.repositories,
        HumanBytes(cache.incomplete_bytes)
    );
    line(ui, "cache", &figures);
    for (name, value) in environment.as_object().into_iter().flatten() {
        line(ui, name, value.as_str().unwrap_or_default());
    }
    let online = args.online.then(|| ask(&hub, ui)).transpose()?;
    let damaged = if args.verify_cache { Some(verify(&hub, ui)?) } else { None };
    let report = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "machine": machine,
        "disks": disks,
        "hub": {
            "endpoint": hub.address(), "cache": settings.cache, "offline": settings.offline,
            "token_from": token_from, "environment": environment, "online": online,
        },
        "cache": {
            "repositories": cache.repositories, "files": cache.blobs, "bytes": cache.bytes,
            "incomplete_bytes": cache.incomplete_bytes, "damaged": damaged,
        },
    });
    match damaged.filter(|damaged| !damaged.is_empty()) {
        None => Ok(Some(report)),
        Some(damaged) => {
            if ui.json {
                ui.stdout_json(&report);
            }
            Err(Failure::new(Exit::CheckFailed, format!("damaged in the cache: {}", damaged.join(", ")))
                .hint("remove these files; they are fetched anew when they are needed"))
        }
    }
}

fn line(ui: &Ui, what: &str, value: &str) {
    if !ui.json {
        ui.stdout_line(&format!("{what:<18} {value}"));
    }
}

fn say(machine: &Value, disks: &[Value], ui: &Ui) {
    let text = |key: &str| machine[key].as_str().unwrap_or("unknown").to_string();
    line(ui, "tolmach", &format!("{} on {} {}", env!("CARGO_PKG_VERSION"), text("os"), text("arch")));
    line(ui, "processor", &text("processor"));
    line(ui, "features", &machine["features"].as_array().map(|f| words(f)).unwrap_or_default());
    line(ui, "kernels", &text("kernels"));
    line(ui, "threads", &machine["threads"].to_string());
    let bytes = |value: &Value| value.as_u64().map_or("unknown".to_string(), |b| HumanBytes(b).to_string());
    let (free, all) = (bytes(&machine["available_bytes"]), bytes(&machine["memory_bytes"]));
    line(ui, "memory", &format!("{free} available of {all}"));
    for disk in disks {
        let (what, path) = (disk["what"].as_str().unwrap_or_default(), disk["path"].as_str().unwrap_or("?"));
        line(ui, what, &format!("{} free at {path}", bytes(&disk["free_bytes"])));
    }
}

fn words(values: &[Value]) -> String {
    let words: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
    if words.is_empty() { "none that matter here".into() } else { words.join(" ") }
}

fn machine() -> Value {
    json!({
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "processor": proc_value("/proc/cpuinfo", "model name"),
        "features": features(),
        "kernels": kernel_name(),
        "threads": std::thread::available_parallelism().map(std::num::NonZero::get).unwrap_or(1),
        "memory_bytes": kib("MemTotal"),
        "available_bytes": kib("MemAvailable"),
    })
}

/// The first `KEY : VALUE` of a file of the system; `None` where it has none.
fn proc_value(file: &str, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.split(':').next().is_some_and(|k| k.trim() == key))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

fn kib(key: &str) -> Option<u64> {
    let value = proc_value("/proc/meminfo", key)?;
    Some(1024 * value.strip_suffix("kB")?.trim().parse::<u64>().ok()?)
}

/// The instruction sets that kernels are chosen by.
#[cfg(target_arch = "x86_64")]
fn features() -> Vec<&'static str> {
    let known = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("f16c", is_x86_feature_detected!("f16c")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("avxvnni", is_x86_feature_detected!("avxvnni")),
    ];
    known.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn features() -> Vec<&'static str> {
    Vec::new()
}

/// Which of the Hub's variables are set, and to what; a secret is only said to be there.
fn environment() -> Value {
    let mut found = serde_json::Map::new();
    for variable in VARIABLES {
        for name in std::iter::once(&variable.name).chain(variable.aliases) {
            if let Ok(value) = std::env::var(name) {
                // An address may hold a password.
                let hidden = variable.secret || value.contains('@');
                found.insert(name.to_string(), if hidden { "set".into() } else { value.into() });
            }
        }
    }
    Value::Object(found)
}

fn ask(hub: &Hub, ui: &Ui) -> Result<Value, Failure> {
    let status = hub.reach().map_err(failure)?;
    line(ui, "online", &format!("{} answers with status {status}", hub.address()));
    if hub.settings().token.is_none() {
        return Ok(json!({"status": status, "user": null}));
    }
    let user = hub.whoami().map_err(failure)?;
    line(ui, "token's owner", &user);
    Ok(json!({"status": status, "user": user}))
}

fn verify(hub: &Hub, ui: &Ui) -> Result<Vec<String>, Failure> {
    let bar = VerifyBar { ui: ui.clone(), bar: Mutex::new(None) };
    let damaged = hub.verify_cache(&bar).map_err(failure)?;
    let paths: Vec<String> = damaged.iter().map(|bad| bad.path.display().to_string()).collect();
    let verdict = if paths.is_empty() {
        "every file is what was fetched".into()
    } else {
        format!("{} damaged", paths.len())
    };
    line(ui, "cache verified", &verdict);
    Ok(paths)
}

/// A bar over the bytes that are hashed.
struct VerifyBar {
    ui: Ui,
    bar: Mutex<Option<ProgressBar>>,
}

impl Progress for VerifyBar {
    fn begin(&self, _: usize, bytes: u64, _: u64) {
        if let Ok(mut bar) = self.bar.lock() {
            *bar = Some(self.ui.bytes_bar(bytes, "verify"));
        }
    }

    fn advance(&self, bytes: i64) {
        if let Some(bar) = self.bar.lock().ok().as_deref().and_then(Option::as_ref) {
            bar.inc(bytes.unsigned_abs());
        }
    }

    fn note(&self, message: &str) {
        self.ui.say(message);
    }

    fn end(&self) {
        if let Some(bar) = self.bar.lock().ok().and_then(|mut bar| bar.take()) {
            bar.finish_and_clear();
        }
    }
}
