//! Output tokens per second of a MarianMT folder: `benches/marian_vs_peers.py` runs it beside other programs.
//!
//! `cargo run --release -p tolmach-translate --example marian_rate -- MODEL SENTENCES BEAMS TOKENS f32|int8 [THREADS [ANSWERS]]`
//!
//! One pass over all sentences is measured, after one over sixteen of them. `ANSWERS` is a file that gets the token
//! ids of the answers, a JSON list a line.

use std::path::Path;
use std::time::Instant;
use tolmach_translate::{LanguagePair, Marian, MarianOptions, Precision};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, sentences, beams, tokens, precision, more @ ..] = arguments.as_slice() else {
        return Err("expected MODEL SENTENCES BEAMS TOKENS f32|int8 [THREADS [ANSWERS]]".into());
    };
    let precision = match precision.as_str() {
        "f32" => Precision::F32,
        "int8" => Precision::Int8,
        other => return Err(format!("{other} is neither f32 nor int8").into()),
    };
    let threads = more.first().map_or(Ok(0), |count| count.parse())?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let options =
        MarianOptions { precision, num_beams: Some(beams.parse()?), max_new_tokens: Some(tokens.parse()?) };
    let loading = Instant::now();
    let marian = Marian::open(Path::new(model), &LanguagePair::new("en", "ru")?, options)?;
    let loading = loading.elapsed().as_secs_f64();
    let texts = std::fs::read_to_string(sentences)?;
    let ids: Vec<Vec<u32>> = texts.lines().map(|text| marian.encode(text)).collect::<Result<_, _>>()?;
    let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    marian.translate_ids(&ids[..ids.len().min(16)]);
    let (start, busy) = (Instant::now(), processor_seconds());
    let answers = marian.translate_ids(&ids);
    let seconds = start.elapsed().as_secs_f64();
    let busy = processor_seconds().zip(busy).map(|(end, start)| end - start);
    let written: usize = answers.iter().map(Vec::len).sum();
    if let Some(path) = more.get(1) {
        let lines = answers.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>()?;
        std::fs::write(path, lines.join("\n") + "\n")?;
    }
    let result = serde_json::json!({
        "engine": format!("tolmach {precision:?}"),
        "beams": beams,
        "source_tokens": ids.iter().map(|ids| ids.len()).sum::<usize>(),
        "target_tokens": written,
        "loading_seconds": loading,
        "seconds": seconds,
        "processor_seconds": busy,
        "tokens_per_second": written as f64 / seconds,
        "tokens_per_processor_second": busy.map(|busy| written as f64 / busy),
    });
    println!("{result}");
    Ok(())
}

/// Processor time of all threads so far, in the kernel's hundredths; `None` where there is no `/proc`.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold spaces; user and system time are the 14th and 15th value.
    let mut values = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || values.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / 100.0)
}
