//! Whole exports, from two folders to what other programs open.

use crate::error::Error;
use crate::export::Export;
use crate::gguf::{Gguf, TensorType, Value};
use crate::testing::{self, Folders, folders, write_adapter, write_model, write_sentencepiece_json};
use std::path::Path;
use tolmach_engine::Dtype;
use tolmach_model::{Checkpoint, Config, RopeScaling};
use tolmach_tokenize::{PromptTemplate, Tokenizer};

fn export<'a>(folders: &'a Folders, target: &'a Path, template: Option<&'a PromptTemplate>) -> Export<'a> {
    Export {
        base: &folders.base,
        adapter: Some(&folders.adapter),
        tokenizer: &folders.tokenizer,
        template,
        target,
        force: false,
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_merged_folder_is_whole() {
    let folders = folders(&["embed_tokens"]);
    let target = folders.dir.path().join("merged");
    let template = PromptTemplate::named("alpaca-ru").unwrap();
    let export = export(&folders, &target, Some(&template));
    let certificate = export.merge(Some(Dtype::BF16), 300_000, &mut |_| {}).unwrap();
    assert!(certificate.holds() && certificate.logits.unwrap().top1_agreement > 0.9);
    assert_eq!((certificate.prompts, certificate.equal_texts), (64, Some(66)));

    let files = names(&target);
    let beside: Vec<_> = files.iter().filter(|name| !name.ends_with(".safetensors")).collect();
    assert_eq!(
        beside,
        [
            "certificate.json",
            "chat_template.jinja",
            "config.json",
            "generation_config.json",
            "model.safetensors.index.json",
            "template.json",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(target.join(name)).unwrap()).unwrap()
    };
    assert_eq!(read("config.json")["torch_dtype"], "bfloat16");
    assert_eq!(read("generation_config.json")["eos_token_id"], 2);
    assert!(std::fs::read_to_string(target.join("chat_template.jinja")).unwrap().contains("### Задание:"));

    // A tied head that came apart: both matrices are there, the embedding is the trained one.
    assert!(!Config::read(&target.join("config.json")).unwrap().tie_word_embeddings);
    let merged = Checkpoint::open_folder(&target).unwrap();
    assert_eq!(merged.dtype("lm_head.weight").unwrap(), Dtype::BF16);
    let map = &read("model.safetensors.index.json")["weight_map"];
    assert_eq!(map.as_object().unwrap().len(), merged.names().count());
    for shard in files.iter().filter(|name| name.ends_with(".safetensors")) {
        let file = Checkpoint::open_file(&target.join(shard)).unwrap();
        let bytes = std::fs::metadata(target.join(shard)).unwrap().len();
        assert!(bytes < 302_000 || file.names().count() == 1, "{shard}: {bytes} bytes");
    }
    // Named in the certificate as they are.
    for file in &certificate.files {
        assert_eq!(file.bytes, std::fs::metadata(target.join(&file.name)).unwrap().len(), "{}", file.name);
    }
    assert_eq!(certificate.files.len() + 1, files.len());
}

#[test]
fn the_same_export_twice_is_the_same_bytes() {
    let folders = folders(&[]);
    let read = |name: &str| {
        let target = folders.dir.path().join(name);
        export(&folders, &target, None).gguf(TensorType::Q4K, &mut |_| {}).unwrap();
        let bytes = std::fs::read(&target).unwrap();
        std::fs::remove_file(&target).unwrap();
        bytes
    };
    assert!(read("a.gguf") == read("a.gguf"));
}

#[test]
fn a_gguf_file_says_what_it_is() {
    let folders = folders(&[]);
    let target = folders.dir.path().join("model.gguf");
    let template = PromptTemplate::named("alpaca-ru").unwrap();
    let certificate = export(&folders, &target, Some(&template)).gguf(TensorType::Q4K, &mut |_| {}).unwrap();
    let file = Gguf::open(&target).unwrap();
    let text = |key: &str| file.metadata(key).and_then(Value::as_text).unwrap_or_default().to_string();
    assert_eq!((text("general.architecture"), text("general.name")), ("llama".into(), "model".into()));
    assert!(text("tokenizer.chat_template").contains("### Задание:"));
    assert_eq!(file.metadata("general.file_type").unwrap().as_count(), Some(14));
    let stored = |name: &str| file.tensor(name).map(|tensor| tensor.tensor_type);
    assert_eq!(stored("blk.0.ffn_down.weight"), Some(TensorType::Q4K));
    assert_eq!(stored("token_embd.weight"), Some(TensorType::Q8_0));
    assert_eq!(stored("blk.1.attn_norm.weight"), Some(TensorType::F32));
    assert_eq!(stored("output.weight"), None, "a tied head is not written twice");
    let beside = std::fs::read_to_string(target.with_file_name("model.gguf.certificate.json")).unwrap();
    assert!(beside.contains(&certificate.files[0].blake3));
    let again = export(&folders, &target, None).gguf(TensorType::F16, &mut |_| {});
    assert!(matches!(again, Err(Error::Exists { .. })));
}

#[test]
fn an_adapter_in_gguf_is_the_adapter() {
    let plain = folders(&[]);
    let target = plain.dir.path().join("adapter.gguf");
    let certificate = export(&plain, &target, None).gguf_lora(&plain.adapter, &mut |_| {}).unwrap();
    assert!(certificate.logits.unwrap().max_abs_relative < 1e-4);
    let file = Gguf::open(&target).unwrap();
    assert_eq!(file.metadata("adapter.lora.alpha").unwrap().as_f32(), Some(8.0));
    assert_eq!(file.tensor("blk.1.attn_k.weight.lora_b").unwrap().shape, [128, 4]);
    let saved = folders(&["embed_tokens"]);
    let error = export(&saved, &target, None).gguf_lora(&saved.adapter, &mut |_| {});
    assert!(matches!(error, Err(Error::Exists { .. })));
    let target = saved.dir.path().join("adapter.gguf");
    let error = export(&saved, &target, None).gguf_lora(&saved.adapter, &mut |_| {}).err().unwrap();
    assert!(error.to_string().contains("embed_tokens"), "{error}");
    let target = plain.dir.path().join("dora.gguf");
    let dora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/gqa-tied/peft-adapter-dora");
    let error = export(&plain, &target, None).gguf_lora(&dora, &mut |_| {}).err().unwrap();
    assert!(error.to_string().contains("use_dora"), "{error}");
    assert!(error.hint().unwrap().contains("merged"));
}

/// mlx-lm#1172, unsloth#976: a file unlike the model must not be there under its name.
#[test]
fn unsloth_976_an_export_that_is_not_the_model_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (base, adapter) = (dir.path().join("base"), dir.path().join("adapter"));
    write_model(&base, &testing::config(), 20.0);
    write_sentencepiece_json(&base);
    write_adapter(&base, &adapter, &[]);
    let tokenizer = Tokenizer::load(&base).unwrap();
    let folders = Folders { base, adapter, tokenizer, dir };
    let target = folders.dir.path().join("model.gguf");
    let error = export(&folders, &target, None).gguf(TensorType::Q4_0, &mut |_| {}).err().unwrap();
    let Error::NotEqual(certificate) = &error else { panic!("{error}") };
    // The merge is sound, and the bits are what they can be: it is the format that does not hold this model.
    let merged = certificate.merged.as_ref().unwrap();
    assert!(merged.failures().is_empty(), "{merged:?} {:?}", certificate.logits);
    assert!(error.to_string().contains("not the model that was trained"), "{error}");
    assert!(error.hint().unwrap().contains("more bits"), "{:?}", error.hint());
    assert_eq!(names(folders.dir.path()), ["adapter", "base"]);
    export(&folders, &target, None).gguf(TensorType::F16, &mut |_| {}).unwrap();
}

#[test]
fn numbers_that_do_not_fit_are_named() {
    let folders = folders(&[]);
    let mut config = testing::config();
    config.num_hidden_layers = 1;
    for (outlier, said) in [(1e7, "cannot be stored as f16; export to bf16"), (f32::INFINITY, "holds")] {
        write_model(&folders.base, &config, outlier);
        let tokenizer = Tokenizer::load(&folders.base).unwrap();
        let target = folders.dir.path().join("merged");
        let export = Export {
            base: &folders.base,
            adapter: None,
            tokenizer: &tokenizer,
            template: None,
            target: &target,
            force: false,
        };
        let message = export.merge(Some(Dtype::F16), 1 << 30, &mut |_| {}).err().unwrap().to_string();
        assert!(message.contains("model.embed_tokens.weight") && message.contains(said), "{message}");
        assert!(!target.exists());
    }
}

#[test]
fn an_input_is_never_the_output() {
    let folders = folders(&[]);
    for target in [&folders.base, &folders.adapter] {
        let error = export(&folders, target, None).merge(None, 1 << 30, &mut |_| {}).err().unwrap();
        assert!(matches!(error, Error::OwnInput { .. }), "{error}");
    }
}

#[test]
fn scaled_rope_goes_along() {
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 32.0,
    };
    for (scaling, stored) in [(RopeScaling::Linear { factor: 4.0 }, false), (llama3, true)] {
        let mut folders = folders(&[]);
        let mut config = testing::config();
        config.rope.scaling = scaling;
        write_model(&folders.base, &config, 1.0);
        write_adapter(&folders.base, &folders.adapter, &[]);
        folders.tokenizer = Tokenizer::load(&folders.base).unwrap();
        let target = folders.dir.path().join("model.gguf");
        let certificate = export(&folders, &target, None).gguf(TensorType::F32, &mut |_| {}).unwrap();
        assert!(certificate.logits.unwrap().max_abs_relative < 1e-4);
        let file = Gguf::open(&target).unwrap();
        // Factors of the frequencies, from 1 for the fastest to 8 for the slowest.
        let factors = file.tensor("rope_freqs.weight").map(|tensor| {
            let mut values = vec![0.0; tensor.shape[0]];
            file.values("rope_freqs.weight", tensor.shape, &mut values).unwrap();
            values
        });
        let ends = factors.map(|values| (values[0], values[31]));
        assert_eq!(ends, stored.then_some((1.0, 8.0)));
    }
}
