//! Encode JSON strings, one a line on stdin, for comparison with another program:
//!
//! ```text
//! cargo run --release -p tolmach-tokenize --example encode_lines -- FOLDER < texts.jsonl > tokens.jsonl
//! ```
//!
//! Prints `{"ids": […], "offsets": […], "decoded": "…"}` a line (no BOS); the time goes to stderr.

use std::io::{BufRead, Write};
use std::time::Instant;
use tolmach_tokenize::Tokenizer;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("give a model folder or a tokenizer file")?;
    let started = Instant::now();
    let tokenizer = Tokenizer::load(path.as_ref())?;
    eprintln!("loaded in {:.0} ms", started.elapsed().as_secs_f64() * 1e3);
    tokenizer.warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
    let lines: Vec<String> = std::io::stdin().lock().lines().collect::<Result<_, _>>()?;
    let texts: Vec<String> = lines.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?;

    let started = Instant::now();
    let encoded = tokenizer.encode_batch(&texts, false)?;
    let (seconds, bytes) = (started.elapsed().as_secs_f64(), texts.iter().map(String::len).sum::<usize>());
    eprintln!("{} texts, {bytes} bytes in {seconds:.2} s", texts.len());

    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for tokens in encoded {
        let decoded = tokenizer.decode(&tokens.ids, true);
        let line = serde_json::json!({"ids": tokens.ids, "offsets": tokens.offsets, "decoded": decoded});
        writeln!(out, "{line}")?;
    }
    Ok(())
}
