//! Fetching, against a hub on this machine.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

mod server;

use server::{FakeHub, TOKEN, noise, sha256};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tolmach_hub::{Error, Fetched, Hub, Kind, Progress, Repo, Settings, Wanted};

/// What was said, and the balance of bytes.
#[derive(Default)]
struct Heard(Mutex<(Vec<String>, i64, u64)>);

impl Progress for Heard {
    fn begin(&self, _: usize, bytes: u64, _: u64) {
        self.0.lock().unwrap().2 += bytes;
    }
    fn advance(&self, bytes: i64) {
        self.0.lock().unwrap().1 += bytes;
    }
    fn note(&self, message: &str) {
        self.0.lock().unwrap().0.push(message.into());
    }
    fn end(&self) {}
}

struct Place {
    hub: FakeHub,
    cache: TempDir,
    heard: Arc<Heard>,
}

impl Place {
    fn new() -> Self {
        Self { hub: FakeHub::start(), cache: tempfile::tempdir().unwrap(), heard: Arc::default() }
    }

    fn with_model() -> (Self, Vec<u8>) {
        let place = Self::new();
        let weights = noise(1, 300_000);
        place.hub.commit(
            "models/org/name",
            "main",
            &[
                ("README.md", b"card"),
                ("config.json", b"{}"),
                ("tokenizer.model", &noise(2, 9000)),
                ("model.safetensors", &weights),
                ("pytorch_model.bin", &noise(3, 9000)),
                ("tf_model.h5", b"other"),
            ],
        );
        (place, weights)
    }

    fn client(&self, more: &[(&str, &str)]) -> Hub {
        let endpoint = self.hub.endpoint();
        let cache = self.cache.path().to_str().unwrap();
        let own = [("HF_ENDPOINT", endpoint.as_str()), ("HF_HUB_CACHE", cache)];
        let all: Vec<_> = own.iter().chain(more).copied().collect();
        let find = |name: &str| all.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string());
        Hub::new(Settings::resolve(&find)).unwrap()
    }

    fn fetch_with(&self, more: &[(&str, &str)], name: &str, wanted: &Wanted) -> Result<Fetched, Error> {
        let kind = if *wanted == Wanted::DataFile { Kind::DataSet } else { Kind::Model };
        let progress: Arc<dyn Progress> = self.heard.clone();
        self.client(more).fetch(&Repo::parse(name, kind).unwrap().0, wanted, &progress)
    }

    fn model(&self) -> Result<Fetched, Error> {
        self.fetch_with(&[], "org/name", &Wanted::Model)
    }

    fn offline(&self) -> Result<Fetched, Error> {
        self.fetch_with(&[("HF_HUB_OFFLINE", "1")], "org/name", &Wanted::Model)
    }

    fn repository(&self) -> PathBuf {
        self.cache.path().join("models--org--name")
    }

    fn notes(&self) -> String {
        self.heard.0.lock().unwrap().0.join("\n")
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn only_what_is_needed_comes_once_in_the_shared_layout() {
    let (place, weights) = Place::with_model();
    let fetched = place.model().unwrap();
    let expected = ["config.json", "model.safetensors", "tokenizer.model"];
    assert_eq!(names(&fetched.path), expected.map(String::from).into());
    assert_eq!(fs::read(fetched.path.join("model.safetensors")).unwrap(), weights);
    let link = fs::read_link(fetched.path.join("model.safetensors")).unwrap();
    assert_eq!(link, Path::new("../../blobs").join(sha256(&weights)));
    assert_eq!(fetched.path, place.repository().join("snapshots").join(&fetched.commit));
    assert_eq!(fs::read_to_string(place.repository().join("refs/main")).unwrap(), fetched.commit);
    let absent = names(&place.repository().join(".no_exist").join(&fetched.commit));
    assert!(absent.contains("generation_config.json"), "{absent:?}");
    assert_eq!(fetched.bytes, 309_002);
    assert_eq!(place.heard.0.lock().unwrap().1, 309_002);

    place.hub.forget_requests();
    let again = place.model().unwrap();
    assert_eq!((again.bytes, &again.path), (0, &fetched.path));
    assert_eq!(place.hub.hub_paths(), ["/api/models/org/name/revision/main"]);
    place.hub.forget_requests();
    assert_eq!(place.offline().unwrap().path, fetched.path);
    let pinned = format!("org/name@{}", fetched.commit);
    place.fetch_with(&[], &pinned, &Wanted::Model).unwrap();
    assert!(place.hub.hub_paths().is_empty(), "a commit that is in the cache needs no question");
}

#[test]
fn a_cut_connection_goes_on_where_it_was_cut() {
    let (place, weights) = Place::with_model();
    place.hub.state().cut_after = vec![100_000, 50_000];
    let fetched = place.fetch_with(&[], "org/name", &Wanted::File("model.safetensors".into())).unwrap();
    assert_eq!(fs::read(&fetched.path).unwrap(), weights);
    let ranges: Vec<_> =
        place.hub.storage_requests().iter().map(|seen| seen.headers.get("range").cloned()).collect();
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1].as_deref(), Some("bytes=100000-"));
    assert_eq!(ranges[2].as_deref(), Some("bytes=150000-"));
    assert_eq!(place.heard.0.lock().unwrap().1, 300_000, "bytes are counted once");
    assert!(place.notes().contains("going on"), "{}", place.notes());
}

#[test]
fn a_server_without_ranges_is_begun_anew() {
    let (place, weights) = Place::with_model();
    {
        let mut state = place.hub.state();
        (state.cut_after, state.ignore_range) = (vec![100_000], true);
    }
    let fetched = place.fetch_with(&[], "org/name", &Wanted::File("model.safetensors".into())).unwrap();
    assert_eq!(fs::read(&fetched.path).unwrap(), weights);
    assert_eq!(place.heard.0.lock().unwrap().1, 300_000);
}

#[test]
fn what_arrives_damaged_is_fetched_anew_and_never_gets_its_name() {
    let (place, weights) = Place::with_model();
    place.hub.state().corrupt = 1;
    let wanted = Wanted::File("model.safetensors".into());
    let fetched = place.fetch_with(&[], "org/name", &wanted).unwrap();
    assert_eq!(fs::read(&fetched.path).unwrap(), weights);
    assert!(place.notes().contains("arrived damaged"), "{}", place.notes());

    let (place, _) = Place::with_model();
    place.hub.state().corrupt = usize::MAX;
    let error = place.fetch_with(&[], "org/name", &wanted).unwrap_err();
    assert!(
        matches!(error, Error::Damaged { .. }) && error.to_string().contains("model.safetensors"),
        "{error}"
    );
    assert!(names(&place.repository().join("blobs")).is_empty(), "a damaged file stayed in the cache");
}

#[test]
fn a_blob_that_was_damaged_later_is_noticed() {
    let (place, weights) = Place::with_model();
    let fetched = place.model().unwrap();
    let config = fetched.path.join("config.json").canonicalize().unwrap();
    let model = fetched.path.join("model.safetensors").canonicalize().unwrap();
    fs::write(&config, "[]").unwrap(); // as long as before
    fs::write(&model, &weights[..1000]).unwrap();
    let error = place.offline().unwrap_err();
    assert!(matches!(&error, Error::DamagedBlob { path } if *path == config), "{error}");
    let fetched = place.model().unwrap();
    assert_eq!(fs::read(fetched.path.join("config.json")).unwrap(), b"{}");
    assert_eq!(fs::read(fetched.path.join("model.safetensors")).unwrap(), weights);
    assert!(place.notes().contains("damaged"), "{}", place.notes());
    // Of the same length and large: found when the whole cache is verified.
    let mut changed = weights.clone();
    changed[7] ^= 1;
    fs::write(&model, changed).unwrap();
    let bad = place.client(&[]).verify_cache(&tolmach_hub::Silent).unwrap();
    assert_eq!(bad.iter().map(|bad| &bad.path).collect::<Vec<_>>(), [&model]);
}

#[test]
fn a_branch_that_moved_is_fetched_again_and_both_commits_stay() {
    let (place, _) = Place::with_model();
    let old = place.model().unwrap();
    place.hub.commit("models/org/name", "main", &[("config.json", b"{\"new\": 1}")]);
    assert_eq!(place.offline().unwrap().commit, old.commit);
    let new = place.model().unwrap();
    assert_ne!(new.commit, old.commit);
    assert_eq!(new.bytes, 10, "only the changed file comes");
    assert_eq!(fs::read(new.path.join("config.json")).unwrap(), b"{\"new\": 1}");
    assert_eq!(fs::read(old.path.join("config.json")).unwrap(), b"{}");
    assert_eq!(place.offline().unwrap().commit, new.commit);
}

#[test]
fn a_fetch_that_failed_leaves_the_old_commit_for_offline_use() {
    let (place, _) = Place::with_model();
    let old = place.model().unwrap();
    place.hub.commit("models/org/name", "main", &[("model.safetensors", &noise(9, 5000))]);
    place.hub.state().corrupt = usize::MAX;
    place.model().unwrap_err();
    assert_eq!(place.offline().unwrap().commit, old.commit);
}

#[test]
fn refusals_are_told_apart_with_a_hint() {
    let (place, _) = Place::with_model();
    place.hub.commit("models/org/gated", "main", &[("config.json", b"{}"), ("model.safetensors", b"w")]);
    place.hub.state().repos.get_mut("models/org/gated").unwrap().gated = true;
    let fail = |more: &[(&str, &str)], name: &str, wanted: &Wanted| {
        let error = place.fetch_with(more, name, wanted).unwrap_err();
        (error.to_string(), error.hint().unwrap_or_default())
    };
    let token = [("HF_TOKEN", TOKEN)];
    let model = &Wanted::Model;
    let (message, hint) = fail(&[], "org/missing", model);
    assert!(message.contains("no model org/missing") && hint.contains("HF_TOKEN"), "{message} {hint}");
    let (message, hint) = fail(&token, "org/missing", model);
    assert!(message.contains("org/missing") && !hint.contains("HF_TOKEN"), "{message} {hint}");
    let (message, hint) = fail(&[], "org/name@v9", model);
    assert!(message.contains("`v9`") && hint.contains("main"), "{message} {hint}");
    let (message, hint) = fail(&[], "org/gated", model);
    assert!(
        message.contains("asked for") && hint.contains("/org/gated") && hint.contains("HF_TOKEN"),
        "{hint}"
    );
    let (_, hint) = fail(&token, "org/gated", model);
    assert!(hint.contains("/org/gated") && !hint.contains("set HF_TOKEN"), "{hint}");
    let (message, _) = fail(&[], "org/name", &Wanted::File("x.gguf".into()));
    assert!(message.contains("no file `x.gguf`"), "{message}");
    let (message, hint) = fail(&[("HF_HUB_OFFLINE", "1")], "org/name", model);
    assert!(message.contains("HF_HUB_OFFLINE") && message.contains("org/name") && !hint.is_empty());
    place.hub.state().accepted.insert("models/org/gated".into());
    place.fetch_with(&token, "org/gated", model).unwrap(); // and the storage server saw no token
}

#[test]
fn waits_as_long_as_the_server_asks_and_not_forever() {
    let (place, _) = Place::with_model();
    place.hub.state().fail = vec![(429, Some("1")), (503, None)];
    let start = std::time::Instant::now();
    place.model().unwrap();
    assert!(start.elapsed().as_secs_f64() >= 1.5, "{:?}", start.elapsed());
    assert!(place.notes().contains("trying again in 1.0 s"), "{}", place.notes());
    let (place, _) = Place::with_model();
    place.hub.state().fail = vec![(429, Some("86400"))];
    let error = place.model().unwrap_err();
    assert!(matches!(error, Error::TooLongWait { .. }), "{error}");
    let (place, _) = Place::with_model();
    place.hub.state().fail = vec![(418, None)];
    let error = place.model().unwrap_err();
    assert!(matches!(error, Error::Refused { status: 418, .. }), "{error}");
}

#[test]
fn a_network_that_is_down_falls_back_to_the_cache_with_a_word() {
    let (place, _) = Place::with_model();
    let first = place.model().unwrap();
    // Nothing listens on that port.
    let find = |name: &str| match name {
        "HF_HUB_CACHE" => Some(place.cache.path().display().to_string()),
        "HF_ENDPOINT" => Some("http://127.0.0.1:9".to_string()),
        _ => None,
    };
    let hub = Hub::new(Settings::resolve(&find)).unwrap();
    let progress: Arc<dyn Progress> = place.heard.clone();
    let repo = Repo::parse("org/name", Kind::Model).unwrap().0;
    assert_eq!(hub.fetch(&repo, &Wanted::Model, &progress).unwrap().path, first.path);
    assert!(place.notes().contains("from the cache"), "{}", place.notes());
}

#[test]
fn shards_come_by_their_index_and_listings_by_pages() {
    let place = Place::new();
    let index = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    let (a, b) = (noise(1, 5000), noise(2, 5000));
    place.hub.commit(
        "models/org/name",
        "main",
        &[
            ("config.json", b"{}"),
            ("model.safetensors.index.json", index),
            ("model-1.safetensors", &a),
            ("model-2.safetensors", &b),
            ("model-3.safetensors", b"of another"),
        ],
    );
    place.hub.state().page = Some(2);
    let fetched = place.model().unwrap();
    let expected =
        ["config.json", "model-1.safetensors", "model-2.safetensors", "model.safetensors.index.json"];
    assert_eq!(names(&fetched.path), expected.map(String::from).into());
    fs::remove_file(fetched.path.join("model-2.safetensors")).unwrap();
    let error = place.offline().unwrap_err().to_string();
    assert!(error.contains("model-2.safetensors"), "{error}");
}

#[test]
fn a_data_set_is_its_training_file() {
    let place = Place::new();
    place.hub.commit(
        "datasets/org/data",
        "main",
        &[("README.md", b""), ("data/train.jsonl", b"{}"), ("data/test.jsonl", b"[]")],
    );
    place.hub.commit("datasets/org/two", "main", &[("en.jsonl", b"{}"), ("ru.jsonl", b"[]")]);
    let fetched = place.fetch_with(&[], "org/data", &Wanted::DataFile).unwrap();
    assert!(fetched.path.ends_with("data/train.jsonl"));
    assert_eq!(fs::read(&fetched.path).unwrap(), b"{}");
    let error = place.fetch_with(&[], "org/two", &Wanted::DataFile).unwrap_err();
    assert!(error.to_string().contains("en.jsonl, ru.jsonl"), "{error}");
    assert!(error.hint().unwrap().contains("org/two/en.jsonl"));
}

#[test]
fn a_data_set_in_parts_is_fetched_whole() {
    let place = Place::new();
    let parts = [0, 1, 2].map(|i| format!("data/train-0000{i}-of-00003.jsonl"));
    let [a, b, c] = parts.each_ref().map(|part| (part.as_str(), part.as_bytes()));
    place.hub.commit(
        "datasets/org/parts",
        "main",
        &[("README.md", b""), a, b, c, ("data/test-00000-of-00001.jsonl", b"[]")],
    );
    let pattern = "data/train-*-of-00003*.jsonl";
    let (repo, file) = Repo::parse(&format!("org/parts/{pattern}"), Kind::DataSet).unwrap();
    for wanted in [Wanted::DataFile, Wanted::File(file.unwrap())] {
        let progress: Arc<dyn Progress> = place.heard.clone();
        let fetched = place.client(&[]).fetch(&repo, &wanted, &progress).unwrap();
        assert!(fetched.path.ends_with(pattern), "{}", fetched.path.display());
        let folder = fetched.path.parent().unwrap();
        for part in &parts {
            assert_eq!(fs::read(folder.join(part.strip_prefix("data/").unwrap())).unwrap(), part.as_bytes());
        }
        assert!(!folder.join("test-00000-of-00001.jsonl").exists());
    }
}

#[test]
fn two_programs_fetch_one_file_once() {
    let (place, _) = Place::with_model();
    place.hub.state().throttle = Some((30_000, std::time::Duration::from_millis(30)));
    std::thread::scope(|scope| {
        let both = [0, 1].map(|_| scope.spawn(|| place.model().unwrap()));
        let paths = both.map(|thread| thread.join().unwrap().path);
        assert_eq!(paths[0], paths[1]);
    });
    let asked = place.hub.storage_requests();
    let weights = asked.iter().filter(|seen| seen.path.contains(&sha256(&noise(1, 300_000)))).count();
    assert_eq!(weights, 1, "{asked:?}");
    assert!(place.notes().contains("another program"), "{}", place.notes());
}

#[test]
fn a_hub_that_leads_out_of_the_cache_is_refused() {
    let place = Place::new();
    place.hub.commit("models/org/name", "main", &[("config.json", b"{}"), ("../../escape.json", b"x")]);
    let error = place.model().unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }) && error.to_string().contains("escape"), "{error}");
}

#[test]
fn the_token_goes_to_the_hub_alone_and_only_where_it_may() {
    for (disabled, expected) in [("0", true), ("1", false)] {
        let (place, _) = Place::with_model();
        let settings = [("HF_TOKEN", TOKEN), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", disabled)];
        place.fetch_with(&settings, "org/name", &Wanted::Model).unwrap();
        for seen in &place.hub.state().seen {
            let sent = seen.headers.contains_key("authorization");
            assert_eq!(sent, expected && !seen.storage, "{} {}", seen.method, seen.path);
        }
    }
}
