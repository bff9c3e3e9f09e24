//! Output tokens per second of a MarianMT folder: `benches/marian_vs_peers.py` runs it beside other programs.
//!
//! `cargo run --release -p tolmach-translate --example marian_rate -- MODEL SENTENCES BEAMS TOKENS f32|int8 [THREADS]`

use std::path::Path;
use std::time::Instant;
use tolmach_translate::{LanguagePair, Marian, MarianOptions, Precision};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, sentences, beams, tokens, precision, threads @ ..] = arguments.as_slice() else {
        return Err("expected MODEL SENTENCES BEAMS TOKENS f32|int8 [THREADS]".into());
    };
    let precision = match precision.as_str() {
        "f32" => Precision::F32,
        "int8" => Precision::Int8,
        other => return Err(format!("{other} is neither f32 nor int8").into()),
    };
    let threads = threads.first().map_or(Ok(0), |count| count.parse())?;
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
    let (mut seconds, mut written) = (f64::INFINITY, 0);
    for _ in 0..3 {
        let start = Instant::now();
        written = marian.translate_ids(&ids).iter().map(Vec::len).sum();
        seconds = start.elapsed().as_secs_f64().min(seconds);
    }
    let result = serde_json::json!({
        "engine": format!("tolmach {precision:?}"),
        "beams": beams,
        "source_tokens": ids.iter().map(|ids| ids.len()).sum::<usize>(),
        "target_tokens": written,
        "loading_seconds": loading,
        "seconds": seconds,
        "tokens_per_second": written as f64 / seconds,
    });
    println!("{result}");
    Ok(())
}
