use super::*;
use crate::compare::PackedPrompts;
use crate::source::{TunedModel, logits};
use crate::testing::{Folders, config, folders, write_model as write_base};
use std::path::PathBuf;
use tolmach_engine::{CpuBackend, Dtype, Format};
use tolmach_model::{Batch, RopeScaling, Side};

fn prompts() -> PackedPrompts {
    PackedPrompts::new(&[vec![1, 30, 299, 4, 4, 77, 200], (10..40).collect()])
}

/// The base of these folders as a file of this type, with more metadata.
fn written(folders: &Folders, tensor_type: TensorType) -> PathBuf {
    let path = folders.dir.path().join(format!("{tensor_type}.gguf"));
    let source = TunedModel::open(&folders.base, None).unwrap();
    let vocabulary = Vocabulary::read(&folders.base, &folders.tokenizer, source.config().vocab_size).unwrap();
    write_model(&path, &source, &vocabulary, "test", tensor_type, &mut |_| {}).unwrap();
    path
}

/// Logits by the weights as they are stored.
fn spoken(file: &GgufModel, batch: Batch) -> Vec<f32> {
    file.decoder(Arc::new(CpuBackend::new())).unwrap().logits_once(batch, Side::Base).unwrap()
}

/// Largest difference over the largest value.
fn off(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let size = a.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0f32, |m, (a, b)| m.max((a - b).abs())) / size
}

#[test]
fn weights_stay_as_they_are_stored_and_say_what_their_numbers_say() {
    let folders = folders(&[]);
    let prompts = prompts();
    for tensor_type in TensorType::ALL {
        let file = GgufModel::open(&written(&folders, tensor_type), None).unwrap();
        let numbers = logits(&file, Arc::new(CpuBackend::new()), prompts.batch()).unwrap();
        let found = off(&numbers, &spoken(&file, prompts.batch()));
        assert!(found < 1e-5, "{tensor_type}: {found}");
        for name in ["blk.0.attn_q.weight", "blk.1.ffn_down.weight"] {
            let [rows, cols] = file.file.tensor(name).unwrap().shape else { panic!("{name} is no matrix") };
            assert_eq!(file.file.matrix(name, *rows, *cols).unwrap().format(), tensor_type.format());
        }
    }
}

#[test]
fn f32_is_the_base_itself_to_the_bit_whatever_its_shape() {
    let llama3 = RopeScaling::Llama3 {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192.0,
    };
    for (tied, kv_heads, scaling) in
        [(true, 2, RopeScaling::None), (false, 4, RopeScaling::Linear { factor: 2.0 }), (true, 1, llama3)]
    {
        let folders = folders(&[]);
        let mut config = Config { tie_word_embeddings: tied, num_key_value_heads: kv_heads, ..config() };
        config.rope.scaling = scaling;
        write_base(&folders.base, &config, 1.0);
        let file = GgufModel::open(&written(&folders, TensorType::F32), None).unwrap();
        assert_eq!(file.config, config);
        let base = Decoder::load(Arc::new(CpuBackend::new()), &folders.base).unwrap();
        let prompts = prompts();
        let expected = base.logits_once(prompts.batch(), Side::Base).unwrap();
        assert!(expected == spoken(&file, prompts.batch()), "tied: {tied}, {kv_heads} heads for keys");
        assert_eq!(
            file.file.matrix("blk.0.attn_q.weight", 256, 256).unwrap().format(),
            Format::Plain(Dtype::F32)
        );
    }
}

/// The file with some of its metadata replaced, added or, by `None`, taken out, and one more tensor.
fn altered(path: &Path, change: &[(&str, Option<Value>)], more: Option<&str>) -> Result<GgufModel> {
    let file = Gguf::open(path).unwrap();
    let mut pairs: Vec<(String, Value)> = file.all_metadata().map(|(k, v)| (k.clone(), v.clone())).collect();
    for (key, value) in change {
        pairs.retain(|(k, _)| k != key);
        pairs.extend(value.clone().map(|value| (key.to_string(), value)));
    }
    let names: Vec<&str> = file.names().chain(more).collect();
    let stored =
        |name: &str| file.tensor(if Some(name) == more { "output_norm.weight" } else { name }).unwrap();
    let header = |name: &&str| {
        let tensor = stored(name);
        TensorHeader { name: name.to_string(), shape: tensor.shape.to_vec(), tensor_type: tensor.tensor_type }
    };
    let headers: Vec<TensorHeader> = names.iter().map(header).collect();
    let changed = path.with_extension("changed.gguf");
    let mut writer = GgufWriter::create(&changed, &pairs, &headers).unwrap();
    names.iter().for_each(|name| writer.push(stored(name).bytes).unwrap());
    writer.commit().unwrap();
    GgufModel::open(&changed, None)
}

#[test]
fn what_older_files_leave_out_is_what_llama_cpp_takes() {
    let folders = folders(&[]);
    let path = written(&folders, TensorType::F16);
    let whole = GgufModel::open(&path, None).unwrap();
    let left_out = [
        "llama.vocab_size",
        "llama.attention.key_length",
        "llama.attention.value_length",
        "llama.rope.dimension_count",
        "llama.rope.freq_base",
        "tokenizer.ggml.add_bos_token",
        "tokenizer.ggml.add_space_prefix",
        "tokenizer.ggml.pre",
        "general.type",
    ];
    let bare = altered(&path, &left_out.map(|key| (key, None)), None).unwrap();
    assert_eq!(bare.config, whole.config);
    assert_eq!(bare.vocabulary, whole.vocabulary);
}

#[test]
fn what_is_no_llama_that_we_compute_is_refused_by_name() {
    let folders = folders(&[]);
    let path = written(&folders, TensorType::F16);
    let refused = |key: &str, value: Option<Value>| {
        altered(&path, &[(key, value)], None).err().map_or_else(String::new, |e| e.to_string())
    };
    for (key, value, said) in [
        ("general.architecture", Some(Value::text("qwen2")), "qwen2"),
        ("general.type", Some(Value::text("adapter")), "adapter"),
        ("llama.expert_count", Some(Value::U32(8)), "8 experts"),
        ("llama.rope.scaling.type", Some(Value::text("yarn")), "yarn"),
        ("llama.rope.dimension_count", Some(Value::U32(32)), "`llama.rope.dimension_count` is 32"),
        ("llama.attention.head_count_kv", Some(Value::U32(3)), "3 for keys"),
        ("llama.block_count", None, "no `llama.block_count`"),
        ("llama.context_length", Some(Value::text("long")), "`llama.context_length` is no positive"),
        ("tokenizer.ggml.model", Some(Value::text("bert")), "`bert`; expected llama or gpt2"),
        ("tokenizer.ggml.tokens", None, "no `tokenizer.ggml.tokens`"),
    ] {
        let message = refused(key, value);
        assert!(message.contains(said) && message.contains("f16.changed.gguf"), "{key}: {message}");
    }
    let scores = altered(&path, &[("tokenizer.ggml.scores", Some(Value::f32s([1.0])))], None).unwrap();
    let message = scores.vocabulary().tokenizer(&path).err().unwrap().to_string();
    assert!(message.contains("1 scores for 330 tokens"), "{message}");
    // A bias that would be left out, and a matrix of another shape.
    let backend = || Arc::new(CpuBackend::new());
    let bias = altered(&path, &[], Some("blk.0.attn_q.bias")).unwrap().decoder(backend()).err().unwrap();
    assert!(bias.to_string().contains("`blk.0.attn_q.bias` belongs to no Llama"), "{bias}");
    let wide = altered(&path, &[("llama.feed_forward_length", Some(Value::U32(768)))], None).unwrap();
    let message = wide.decoder(backend()).err().unwrap().to_string();
    assert!(message.contains("blk.0.ffn_gate.weight") && message.contains("[768, 256]"), "{message}");
}
