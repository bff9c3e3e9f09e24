//! How fast a GGUF model reads a prompt and replies, counted as `llama-bench` counts: a prompt from an empty
//! cache, and tokens one by one from an empty cache.
//!
//! `cargo run --release -p tolmach-export --example decode_rate -- MODEL.gguf… [--prompt 512] [--decode 64]
//! [--repetitions 3] [--threads 2] [--activations int8|f32]`. One JSON object a model with the rate of each
//! repetition, after a short one that is not counted.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tolmach_engine::{Activations, CpuBackend};
use tolmach_export::gguf::GgufModel;
use tolmach_model::{Decoder, KvCache, Side};

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Options {
    models: Vec<String>,
    prompt: usize,
    decode: usize,
    repetitions: usize,
    threads: usize,
    activations: Activations,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse()?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build()?;
    pool.install(|| options.models.iter().try_for_each(|model| measure(model, &options)))
}

fn measure(path: &str, options: &Options) -> Result<(), Failure> {
    let backend = Arc::new(CpuBackend::with_activations(options.activations));
    let model = GgufModel::open(Path::new(path), None)?.decoder(backend)?;
    read(&model, options.prompt)?;
    write(&model, options.decode.min(4))?;
    let (mut prompt, mut decode) = (Vec::new(), Vec::new());
    for _ in 0..options.repetitions {
        if options.prompt > 0 {
            prompt.push((options.prompt as f64 / read(&model, options.prompt)?).round());
        }
        if options.decode > 0 {
            decode.push((10.0 * options.decode as f64 / write(&model, options.decode)?).round() / 10.0);
        }
    }
    let (activations, threads) = (options.activations, options.threads);
    println!(
        r#"{{"model": {path:?}, "activations": "{activations:?}", "threads": {threads}, "prompt_tokens_per_second": {prompt:?}, "decode_tokens_per_second": {decode:?}}}"#
    );
    Ok(())
}

/// Any token, another one each time.
fn token(i: usize, vocab: usize) -> u32 {
    (i * 7919 % vocab) as u32
}

/// Seconds to read a prompt.
fn read(model: &Decoder<CpuBackend>, count: usize) -> Result<f64, Failure> {
    if count == 0 {
        return Ok(0.0);
    }
    let mut cache = KvCache::new(model, Side::Base, 1, count);
    let tokens: Vec<u32> = (0..count).map(|i| token(i, model.config.vocab_size)).collect();
    let start = Instant::now();
    model.decode(&mut cache, &[(0, &tokens)])?;
    Ok(start.elapsed().as_secs_f64())
}

/// Seconds to reply with so many tokens.
fn write(model: &Decoder<CpuBackend>, count: usize) -> Result<f64, Failure> {
    let mut cache = KvCache::new(model, Side::Base, 1, count);
    let start = Instant::now();
    for i in 0..count {
        model.decode(&mut cache, &[(0, &[token(i, model.config.vocab_size)])])?;
    }
    Ok(start.elapsed().as_secs_f64())
}

impl Options {
    fn parse() -> Result<Self, Failure> {
        let mut options = Options {
            models: Vec::new(),
            prompt: 512,
            decode: 64,
            repetitions: 3,
            threads: 2,
            activations: Activations::Int8,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--prompt" => options.prompt = value()?.parse()?,
                "--decode" => options.decode = value()?.parse()?,
                "--repetitions" => options.repetitions = value()?.parse()?,
                "--threads" => options.threads = value()?.parse()?,
                "--activations" => {
                    options.activations = match value()?.as_str() {
                        "int8" => Activations::Int8,
                        "f32" => Activations::F32,
                        other => return Err(format!("--activations is int8 or f32, found {other:?}").into()),
                    };
                }
                _ => options.models.push(argument),
            }
        }
        Ok(options)
    }
}
