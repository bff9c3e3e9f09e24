//! What tolmach writes, opened by peft, transformers and llama.cpp: our side of the comparison.
//!
//! A base with a random adapter is saved and exported in every format. Each result is read back by us and
//! asked for the logits of a few texts and for greedy tokens; `fixtures/golden/check_peers.py` asks the
//! programs that the format is meant for the same and compares.

use anyhow::{Context, Result, bail, ensure};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tolmach_engine::{CpuBackend, Dtype};
use tolmach_export::Export;
use tolmach_export::gguf::{GgufModel, TensorType};
use tolmach_model::{
    AdapterInfo, Batch, Decoder, KvCache, LoraConfig, Sampler, SamplingConfig, Side, generate,
};
use tolmach_tokenize::{PromptTemplate, Tokenizer};

const TEXTS: [&str; 6] = [
    "Once upon a time there was a little girl.",
    "Жили-были старик со старухой у самого синего моря.",
    "### Задание:\nНазови столицу Франции.\n\n### Ответ:\n",
    "def f(x):\n\treturn x + 1",
    "1999, 3.14 and 😀",
    "Zażółć gęślą jaźń, 今天天气很好",
];
/// Tokens that each side continues the first text with.
const GREEDY: usize = 64;
/// How far random numbers move the adapter's.
const NOISE: f32 = 0.02;

type Model = Decoder<CpuBackend>;

/// Write everything into `folder`, ask our side, and hand over to `python`.
///
/// # Errors
/// An export fails; Python or one of its packages is missing; a program finds something else than we do.
pub fn check(base: &Path, python: &Path, folder: &Path) -> Result<()> {
    let base = base.canonicalize().with_context(|| format!("{}: no such folder", base.display()))?;
    std::fs::create_dir_all(folder)?;
    let tokenizer = Tokenizer::load(&base)?;
    let adapter = folder.join("adapter");
    save_adapter(&base, &adapter)?;
    let mut results = vec![adapter_result(&base, &adapter, &tokenizer)?];
    results.push(merged(&base, &adapter, folder, &tokenizer)?);
    for tensor_type in [TensorType::F32, TensorType::F16, TensorType::Q8_0, TensorType::Q4K] {
        results.push(gguf(&base, &adapter, folder, &tokenizer, tensor_type)?);
    }
    results.push(gguf_lora(&base, &adapter, folder, &tokenizer)?);
    let cases = folder.join("cases.json");
    std::fs::write(&cases, serde_json::to_string(&json!({ "base": base, "results": results }))?)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden/check_peers.py");
    let status = Command::new(python).arg(script).arg(&cases).status();
    let status = status.with_context(|| format!("cannot start {}", python.display()))?;
    if !status.success() {
        bail!("the comparison failed; what was written is in {}", folder.display());
    }
    Ok(())
}

/// LoRA on every linear layer, with random numbers in both matrices.
fn save_adapter(base: &Path, folder: &Path) -> Result<()> {
    let mut model = load(base)?;
    let lora = LoraConfig::of_rank(8);
    model.add_lora(&lora, 1)?;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for parameter in model.parameters_mut() {
        for value in parameter.value.iter_mut() {
            *value += NOISE * (rng.next_u32() as f32 / u32::MAX as f32 - 0.5);
        }
    }
    Ok(model.save_adapter(folder, &AdapterInfo { lora, base_model_name_or_path: None })?)
}

fn load(folder: &Path) -> Result<Model> {
    Ok(Decoder::load(Arc::new(CpuBackend::new()), folder)?)
}

fn adapter_result(base: &Path, adapter: &Path, tokenizer: &Tokenizer) -> Result<Value> {
    let mut model = load(base)?;
    model.load_adapter(adapter)?;
    result("adapter", "peft", adapter, &model, tokenizer)
}

fn merged(base: &Path, adapter: &Path, folder: &Path, tokenizer: &Tokenizer) -> Result<Value> {
    let target = folder.join("merged");
    export(base, adapter, &target, tokenizer, &|job| job.merge(Some(Dtype::F32), 1 << 30, &mut |_| {}))?;
    result("merged folder, f32", "transformers", &target, &load(&target)?, tokenizer)
}

fn gguf(
    base: &Path,
    adapter: &Path,
    folder: &Path,
    tokenizer: &Tokenizer,
    tensor_type: TensorType,
) -> Result<Value> {
    let target = folder.join(format!("{tensor_type}.gguf"));
    export(base, adapter, &target, tokenizer, &|job| job.gguf(tensor_type, &mut |_| {}))?;
    let file = GgufModel::open(&target, None)?;
    let own = file.vocabulary().tokenizer(&target)?;
    let model = file.decoder(Arc::new(CpuBackend::new()))?;
    result(&format!("GGUF {tensor_type}"), "llama.cpp", &target, &model, &own)
}

/// An adapter over the base's own file: llama.cpp has no other way to take it.
fn gguf_lora(base: &Path, adapter: &Path, folder: &Path, tokenizer: &Tokenizer) -> Result<Value> {
    let (target, under) = (folder.join("lora.gguf"), folder.join("base.gguf"));
    export(base, adapter, &target, tokenizer, &|job| job.gguf_lora(adapter, &mut |_| {}))?;
    let whole = |job: &Export| job.gguf(TensorType::F32, &mut |_| {});
    let job = Export { base, adapter: None, tokenizer, template: None, target: &under, force: true };
    whole(&job)?;
    let mut model = load(base)?;
    model.load_adapter(adapter)?;
    let mut value = result("GGUF adapter over f32", "llama.cpp", &under, &model, tokenizer)?;
    value["lora"] = json!(target);
    Ok(value)
}

type Run<'a> = dyn Fn(&Export) -> tolmach_export::Result<tolmach_export::Certificate> + 'a;

fn export(base: &Path, adapter: &Path, target: &Path, tokenizer: &Tokenizer, run: &Run) -> Result<()> {
    let template = PromptTemplate::default();
    let job =
        Export { base, adapter: Some(adapter), tokenizer, template: Some(&template), target, force: true };
    run(&job).with_context(|| format!("export to {}", target.display()))?;
    Ok(())
}

/// What we find in a result.
fn result(name: &str, program: &str, path: &Path, model: &Model, tokenizer: &Tokenizer) -> Result<Value> {
    let mut cases = Vec::new();
    for text in TEXTS {
        let ids = tokenizer.encode(text, true)?.ids;
        let logits = logits(model, &ids)?;
        cases.push(json!({ "text": text, "input_ids": ids, "logits": logits }));
    }
    let prompt = tokenizer.encode(TEXTS[0], true)?.ids;
    let greedy = greedy(model, &prompt)?;
    let path: PathBuf = path.canonicalize()?;
    Ok(json!({ "name": name, "program": program, "path": path, "cases": cases, "greedy": greedy }))
}

/// `[T][V]`
fn logits(model: &Model, ids: &[u32]) -> Result<Vec<Vec<f32>>> {
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let rows: Vec<usize> = (0..ids.len()).collect();
    let whole = 0..ids.len();
    let batch = Batch {
        input_ids: ids,
        positions: &positions,
        segments: std::slice::from_ref(&whole),
        prefixes: &[],
        rows: &rows,
        targets: &[],
    };
    let values = model.logits(&mut None, batch, Side::Tuned)?;
    Ok(values.chunks_exact(model.config.vocab_size).map(<[f32]>::to_vec).collect())
}

fn greedy(model: &Model, prompt: &[u32]) -> Result<Vec<u32>> {
    let mut cache = KvCache::new(model, Side::Tuned, 1, prompt.len() + GREEDY);
    let mut sampler = Sampler::new(SamplingConfig::default());
    let go_on = |_| ControlFlow::Continue(());
    let reply = generate(model, &mut cache, 0, prompt, &mut sampler, &[], GREEDY, go_on)?;
    ensure!(reply.tokens.len() == GREEDY, "{} tokens of {GREEDY}", reply.tokens.len());
    Ok(reply.tokens)
}
