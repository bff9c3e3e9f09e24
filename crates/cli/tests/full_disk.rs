//! A disk that fills up: nothing half-written under the final name, the file named, exit code 3.
//!
//! Needs the right to mount a small file system; where it is missing the test says so and passes.
#![allow(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

#[path = "../../hub/tests/server/mod.rs"]
mod server;
#[allow(dead_code, reason = "not every test needs every helper")]
mod tiny;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A file system of so many KiB on a folder of its own, unmounted at the end.
struct SmallDisk {
    mounted: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    fn new(kib: usize) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = folder.path().join("disk");
        fs::create_dir(&mounted).unwrap();
        let size = format!("size={kib}k");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&mounted).output();
        match mount {
            Ok(output) if output.status.success() => Some(Self { mounted, _folder: folder }),
            Ok(output) => {
                eprintln!("skipped, no right to mount: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                eprintln!("skipped, there is no `mount` here: {error}");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mounted.join(name)
    }

    fn files(&self, folder: &Path) -> Vec<String> {
        let Ok(entries) = fs::read_dir(folder) else { return vec![] };
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.mounted).output();
    }
}

fn tolmach(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tolmach")).args(args).output().unwrap()
}

#[test]
fn clean_on_a_full_disk_writes_nothing_and_names_the_file() {
    let Some(disk) = SmallDisk::new(64) else { return };
    let input = tempfile::NamedTempFile::new().unwrap();
    let long = "The river is long and the water is cold. ".repeat(20);
    let rows = (0..300).map(|n| {
        format!(
            "{{\"instruction\": \"Say something about place number {n}.\", \"output\": \"{n}: {long}\"}}\n"
        )
    });
    fs::write(input.path(), rows.collect::<String>()).unwrap();
    let out = disk.path("clean.jsonl");
    let rule = ["--without", "near_duplicates"];
    let output = tolmach(
        &[&["clean", &input.path().to_string_lossy(), "-o", &out.to_string_lossy()][..], &rule].concat(),
    );
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("clean.jsonl") && message.contains("No space left"), "{message}");
    assert!(!out.exists());
    assert!(disk.files(&disk.mounted).iter().all(|f| !f.ends_with(".tmp")), "no temporary file may stay");
}

#[test]
fn training_that_could_not_be_saved_does_not_start() {
    let Some(disk) = SmallDisk::new(64) else { return };
    let folder = tempfile::tempdir().unwrap();
    tiny::write_models(folder.path());
    let data = folder.path().join("tokens.jsonl");
    fs::write(&data, "{\"input_ids\": [5, 6, 7, 8], \"labels\": [-100, 6, 7, 8]}\n".repeat(4)).unwrap();
    let base = folder.path().join("base");
    let out = disk.path("adapter");
    let [base, data, out_arg] = [&base, &data, &out].map(|p| p.to_string_lossy().into_owned());
    let output = tolmach(&[
        "train",
        "--base",
        &base,
        "--data",
        &data,
        "-o",
        &out_arg,
        "--max-steps",
        "2",
        "--lora-rank",
        "16",
    ]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("the disk has") && message.contains("free"), "{message}");
    assert!(!message.contains("step 1/"), "{message}");
    assert!(disk.files(&out).is_empty(), "{:?}", disk.files(&out));
}

/// Somebody else's file takes what is left while a run saves after every step: the run ends with the file
/// named, its last state is whole, and once there is room again it goes on to the bytes of a run that had it.
#[test]
fn a_disk_that_fills_while_training_loses_no_state() {
    let Some(disk) = SmallDisk::new(4096) else { return };
    let folder = tempfile::tempdir().unwrap();
    tiny::write_models(folder.path());
    let data = folder.path().join("tokens.jsonl");
    fs::write(&data, "{\"input_ids\": [5, 6, 7, 8], \"labels\": [-100, 6, 7, 8]}\n".repeat(4)).unwrap();
    let run = |out: &Path, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tolmach"));
        command.args(["train", "--max-steps", "400", "--save-every", "1", "--lora-rank", "4"]).args(more);
        command.arg("--base").arg(folder.path().join("base")).arg("--data").arg(&data).arg("-o").arg(out);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let out = disk.path("adapter");
    let state = out.join("training-state.safetensors");
    let mut child = run(&out, &[]);
    while !state.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before its first save");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut filler = fs::File::create(disk.path("filler")).unwrap();
    while child.try_wait().unwrap().is_none() {
        // What a save gives back is taken at once.
        let _ = filler.write(&[0; 4096]);
    }
    drop(filler);
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("No space left") && message.contains("adapter/"), "{message}");
    assert!(state.exists() && !out.join("adapter_model.safetensors").exists());
    assert!(disk.files(&out).iter().all(|f| !f.ends_with(".tmp")), "{:?}", disk.files(&out));

    let still = run(&out, &["--resume"]).wait_with_output().unwrap();
    assert_eq!(still.status.code(), Some(3), "no room yet: {}", String::from_utf8_lossy(&still.stderr));
    fs::remove_file(disk.path("filler")).unwrap();
    let whole = folder.path().join("whole");
    for (out, more) in [(&out, &["--resume"][..]), (&whole, &[])] {
        let output = run(out, more).wait_with_output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{message}");
        assert!(more.is_empty() || message.contains("step"), "it went on: {message}");
    }
    let adapter = |folder: &Path| fs::read(folder.join("adapter_model.safetensors")).unwrap();
    assert!(adapter(&out) == adapter(&whole), "other bytes than a run with room enough");
}

#[test]
fn a_model_for_which_the_cache_has_no_room_is_not_begun() {
    let Some(disk) = SmallDisk::new(256) else { return };
    let hub = server::FakeHub::start();
    let weights = server::noise(1, 400_000);
    hub.commit("models/org/large", "main", &[("config.json", b"{}"), ("model.safetensors", &weights)]);
    let run = || {
        Command::new(env!("CARGO_BIN_EXE_tolmach"))
            .args(["chat", "--base", "org/large", "--prompt", "x"])
            .env("HF_ENDPOINT", hub.endpoint())
            .env("HF_HUB_CACHE", disk.path("cache"))
            .output()
            .unwrap()
    };
    let output = run();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(message.contains("needs 1 MB") && message.contains("HF_HUB_CACHE"), "{message}");
    assert!(hub.storage_requests().is_empty(), "it was begun all the same");
    // A hub that says less than it sends: the disk is full in the middle, and that is said as well.
    let filler = disk.path("filler");
    let error = fs::write(&filler, vec![0; 400_000]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    let output = run();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}
