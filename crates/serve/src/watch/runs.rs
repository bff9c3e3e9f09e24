//! Training runs: which there are, how they stand, what the sample prompts were replied to.

use super::found::Found;
use super::series::Series;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// No news for so long, and for so many steps' time: the run was cut off.
const SILENCE: Duration = Duration::from_secs(60);
const SILENT_STEPS: f64 = 10.0;

/// The record that a training keeps of itself (`training.json`); absent for a run of an older program.
#[derive(Clone, Debug, Default)]
pub struct Record(Value);

impl Record {
    pub fn read(folder: &Path) -> Self {
        let text = std::fs::read(folder.join("training.json")).unwrap_or_default();
        Self(serde_json::from_slice(&text).unwrap_or_default())
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.0.pointer(path)?.as_u64()
    }

    /// The folder of the base that it trains on.
    pub fn base(&self) -> Option<PathBuf> {
        self.0["base"].as_str().map(PathBuf::from)
    }

    /// Bytes that the plan said it would take.
    pub fn planned_bytes(&self) -> Option<u64> {
        self.number("/plan/memory/total")
    }

    pub fn is_running(&self) -> bool {
        self.0["standing"] == "running"
    }

    /// Whether the adapter can be looked at while it trains.
    pub fn is_live(&self) -> bool {
        self.0["live"] == true
    }
}

/// How a run stands, for the page.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub id: String,
    pub name: String,
    /// `running`, `finished`, `stopped_early`, `interrupted`, `failed`; `silent` for one that says it runs and
    /// has not been heard of; `unknown` without a record.
    pub standing: String,
    /// The base's name without its folder.
    pub base: Option<String>,
    pub tuning: Option<String>,
    pub examples: Option<u64>,
    pub schedule: Option<String>,
    pub step: u64,
    pub steps: Option<u64>,
    pub epoch: Option<f64>,
    pub epochs: Option<f64>,
    /// Nats per labelled token.
    pub loss: Option<f64>,
    pub eval_loss: Option<f64>,
    pub learning_rate: Option<f64>,
    pub grad_norm: Option<f64>,
    pub tokens: u64,
    pub tokens_in_all: Option<u64>,
    pub tokens_per_second: Option<f64>,
    /// In steps so far.
    pub seconds: Option<f64>,
    /// At the rate of the last steps; evaluations and saving left out.
    pub eta_seconds: Option<f64>,
    pub resident_bytes: Option<f64>,
    pub planned_bytes: Option<u64>,
    /// Unix seconds.
    pub started: Option<u64>,
    /// Since the last row.
    pub news_seconds: Option<u64>,
    /// Whether the adapter as it is can be asked now.
    pub can_ask: bool,
    /// Rows of replies: a change says that there are more.
    pub samples_bytes: u64,
}

impl Summary {
    pub fn new(found: &Found, series: &Series) -> Self {
        let record = Record::read(&found.path);
        let last = series.steps.last();
        let finite = |value: f64| value.is_finite().then_some(value);
        let figure = |pick: fn(&super::series::Step) -> f64| last.and_then(|step| finite(pick(step)));
        let text = |key: &str| record.0.pointer(key).and_then(Value::as_str).map(str::to_string);
        let (rate, tokens) = (series.rate(), last.map_or(0, |step| step.tokens));
        let tokens_in_all = record.number("/plan/tokens");
        let standing = standing(&record, series, news(&found.path));
        let left = tokens_in_all.map(|all| all.saturating_sub(tokens) as f64);
        let is_running = standing == "running";
        Self {
            id: found.id.clone(),
            name: found.name.clone(),
            can_ask: record.base().is_some() && has_adapter(&found.path),
            base: text("/base").map(|base| base.rsplit(['/', '\\']).next().unwrap_or_default().to_string()),
            tuning: text("/plan/tuning"),
            examples: record.number("/plan/examples"),
            schedule: text("/plan/schedule"),
            step: last.map_or(0, |step| step.step),
            steps: record.number("/plan/steps"),
            epoch: figure(|step| step.epoch),
            epochs: record.0.pointer("/plan/epochs").and_then(Value::as_f64),
            loss: figure(|step| step.loss),
            eval_loss: series.evaluations.last().and_then(|e| finite(e.loss)),
            learning_rate: figure(|step| step.learning_rate),
            grad_norm: figure(|step| step.grad_norm),
            tokens,
            tokens_in_all,
            tokens_per_second: rate,
            seconds: figure(|step| step.seconds),
            eta_seconds: left.zip(rate).map(|(left, rate)| left / rate).filter(|_| is_running),
            resident_bytes: figure(|step| step.resident_bytes),
            planned_bytes: record.planned_bytes(),
            started: record.number("/started"),
            news_seconds: news(&found.path).map(|age| age.as_secs()),
            samples_bytes: std::fs::metadata(found.path.join("samples.jsonl")).map_or(0, |f| f.len()),
            standing,
        }
    }

    /// Whether anything but the passing of time has changed.
    pub fn is_news_after(&self, before: &Summary) -> bool {
        let key =
            |s: &Summary| (s.standing.clone(), s.step, s.samples_bytes, s.eval_loss, s.can_ask, s.started);
        key(self) != key(before)
    }
}

/// An adapter that can be loaded: the passing one of a training that goes on, or the lasting one.
pub fn adapter(folder: &Path) -> PathBuf {
    let live = folder.join("live");
    if live.join(tolmach_model::ADAPTER_CONFIG).is_file() { live } else { folder.to_path_buf() }
}

fn has_adapter(folder: &Path) -> bool {
    adapter(folder).join(tolmach_model::ADAPTER_CONFIG).is_file()
}

/// How long ago a run wrote anything.
fn news(folder: &Path) -> Option<Duration> {
    let changed = |name: &str| std::fs::metadata(folder.join(name)).ok()?.modified().ok();
    let latest = ["metrics.jsonl", "samples.jsonl", "training.json"].into_iter().filter_map(changed).max()?;
    Some(SystemTime::now().duration_since(latest).unwrap_or_default())
}

fn standing(record: &Record, series: &Series, news: Option<Duration>) -> String {
    let said = record.0["standing"].as_str().unwrap_or("unknown");
    let step_seconds = series.steps.last().map_or(0.0, |last| last.seconds / series.steps.len() as f64);
    let patience = Duration::try_from_secs_f64(SILENT_STEPS * step_seconds).unwrap_or_default().max(SILENCE);
    match news {
        Some(age) if said == "running" && age > patience => "silent".to_string(),
        _ => said.to_string(),
    }
}

/// The replies of one prompt, in the order of the steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replies {
    pub prompt: String,
    pub base: Option<String>,
    /// After how many updates, and the reply.
    pub tuned: Vec<(u64, String)>,
}

/// What the sample prompts were replied to.
///
/// # Errors
/// The file cannot be read. One that is not there is no error.
pub fn samples(folder: &Path) -> std::io::Result<Vec<Replies>> {
    let text = match std::fs::read(folder.join("samples.jsonl")) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(e) => return Err(e),
    };
    let mut all: Vec<Replies> = Vec::new();
    for row in text.split(|&b| b == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok()) {
        let (Some(step), Some(prompt), Some(reply)) =
            (row["step"].as_u64(), row["prompt"].as_str(), row["reply"].as_str())
        else {
            continue;
        };
        let at = all.iter().position(|replies| replies.prompt == prompt).unwrap_or_else(|| {
            all.push(Replies { prompt: prompt.to_string(), base: None, tuned: Vec::new() });
            all.len() - 1
        });
        match row["side"] == "base" {
            true => all[at].base = Some(reply.to_string()),
            false => all[at].tuned.push((step, reply.to_string())),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(record: &str, metrics: &str) -> (tempfile::TempDir, Found) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_path_buf();
        tolmach_durable::write(&path.join("training.json"), record).unwrap();
        tolmach_durable::write(&path.join("metrics.jsonl"), metrics).unwrap();
        (dir, Found { name: "run".into(), id: "id".into(), path })
    }

    fn summary(found: &Found) -> Summary {
        let mut series = Series::default();
        series.refresh(&found.path.join("metrics.jsonl")).unwrap();
        Summary::new(found, &series)
    }

    #[test]
    fn the_time_left_follows_from_the_rate_and_the_plan() {
        let record = r#"{"standing": "running", "base": "/secret/place/llama",
            "plan": {"steps": 10, "tokens": 1000, "memory": {"total": 5}}}"#;
        let (_dir, found) = run(
            record,
            "{\"step\": 2, \"train/loss\": 1.0, \"tokens\": 200, \"seconds\": 4.0, \"epoch\": 0.2}\n",
        );
        let summary = summary(&found);
        assert_eq!((summary.standing.as_str(), summary.step, summary.steps), ("running", 2, Some(10)));
        assert_eq!((summary.tokens_per_second, summary.eta_seconds), (Some(50.0), Some(16.0)));
        assert_eq!((summary.base.as_deref(), summary.planned_bytes), (Some("llama"), Some(5)));
        let text = serde_json::to_string(&summary).unwrap();
        assert!(!text.contains("secret"), "no path leaves the server: {text}");
    }

    #[test]
    fn a_run_that_was_killed_is_silent_not_running() {
        let (_dir, found) = run(r#"{"standing": "running"}"#, "");
        assert_eq!(summary(&found).standing, "running");
        let long_ago = SystemTime::now() - 2 * SILENCE;
        for name in ["training.json", "metrics.jsonl"] {
            std::fs::File::options()
                .write(true)
                .open(found.path.join(name))
                .unwrap()
                .set_modified(long_ago)
                .unwrap();
        }
        assert_eq!(summary(&found).standing, "silent");
        assert_eq!(summary(&found).eta_seconds, None);
    }

    #[test]
    fn replies_are_gathered_by_prompt() {
        let (_dir, found) = run("", "");
        let rows = [
            (0, "base", "a", "hi"),
            (0, "tuned", "a", "hi"),
            (5, "tuned", "a", "привет"),
            (5, "tuned", "b", ""),
        ];
        let rows = rows.map(|(step, side, prompt, reply)| {
            format!("{}\n", serde_json::json!({"step": step, "side": side, "prompt": prompt, "reply": reply}))
        });
        std::fs::write(found.path.join("samples.jsonl"), rows.concat() + "{\"step\":").unwrap();
        let all = samples(&found.path).unwrap();
        assert_eq!(all[0].base.as_deref(), Some("hi"));
        assert_eq!(all[0].tuned, [(0, "hi".to_string()), (5, "привет".to_string())]);
        assert_eq!((all[1].base.as_ref(), all[1].tuned.len()), (None, 1));
        assert_eq!(summary(&found).standing, "unknown");
    }
}
