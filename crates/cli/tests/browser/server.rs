//! `tolmach serve` as a user starts it, on a free port.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

pub struct Server {
    child: Child,
    /// `http://127.0.0.1:PORT`
    pub address: String,
}

impl Server {
    /// Serve with `args` from `folder`; back once it listens.
    pub fn start(folder: &Path, args: &[&str]) -> Self {
        Self::at(folder, "127.0.0.1:0", args)
    }

    /// As [`Server::start`], on an address of one's own.
    pub fn at(folder: &Path, address: &str, args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tolmach"))
            .current_dir(folder)
            .args(["serve", "--listen", address])
            .args(args)
            .env_remove("TOLMACH_API_KEY")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let mut said = String::new();
        let address = lines.by_ref().find_map(|line| {
            said.push_str(&line);
            line.split_whitespace().find(|word| word.starts_with("http://")).map(str::to_string)
        });
        // Nobody may wait for a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let Some(address) = address else {
            let _ = child.kill();
            panic!("the server did not start: {said}");
        };
        Self { child, address }
    }

    /// `127.0.0.1:PORT`
    pub fn socket(&self) -> String {
        self.address.trim_start_matches("http://").to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
