//! Ten faults that exporters have had, planted one by one: the proof must see each, in the finest format and
//! in the coarsest.

use crate::certificate::Certificate;
use crate::error::{Error, Result};
use crate::export::Export;
use crate::gguf::quantize::{decode, encode};
use crate::gguf::{TensorType, Vocabulary};
use crate::prove::Live;
use crate::source::{Source, Tensor, TunedModel};
use crate::testing::{Folders, folders};
use serde_json::{Value, json};
use std::path::Path;
use tolmach_engine::Dtype;
use tolmach_model::{ADAPTER_WEIGHTS, Checkpoint, Config};

/// What is done to a tensor on its way: (name, numbers, shape).
type Spoil<'a> = Box<dyn Fn(&str, &mut Vec<f32>, &[usize]) + 'a>;

/// The tuned model with a fault in it.
struct Planted<'a> {
    source: TunedModel,
    config: Config,
    spoil: Spoil<'a>,
}

impl<'a> Planted<'a> {
    fn new(folders: &Folders, spoil: impl Fn(&str, &mut Vec<f32>, &[usize]) + 'a) -> Self {
        let source = TunedModel::open(&folders.base, Some(&folders.adapter)).unwrap();
        Self { config: source.config().clone(), source, spoil: Box::new(spoil) }
    }
}

impl Source for Planted<'_> {
    fn config(&self) -> &Config {
        &self.config
    }

    fn read(&self, tensor: &Tensor, values: &mut Vec<f32>) -> Result<()> {
        self.source.read(tensor, values)?;
        (self.spoil)(&tensor.name, values, &tensor.shape);
        Ok(())
    }
}

fn export<'a>(folders: &'a Folders, target: &'a Path) -> Export<'a> {
    Export {
        base: &folders.base,
        adapter: Some(&folders.adapter),
        tokenizer: &folders.tokenizer,
        template: None,
        target,
        force: false,
    }
}

fn failures(proof: Result<Certificate>) -> Vec<String> {
    match proof {
        Ok(_) => Vec::new(),
        Err(Error::NotEqual(certificate)) => certificate.failures,
        Err(other) => panic!("{other}"),
    }
}

/// The failures that the proof finds in a folder (f32) made from `source` and changed by `tamper`.
fn in_folder(folders: &Folders, source: &dyn Source, tamper: &dyn Fn(&Path)) -> Vec<String> {
    let target = folders.dir.path().join("folder");
    let export = export(folders, &target);
    let live = Live::load(&folders.base, Some(&folders.adapter), &folders.tokenizer).unwrap();
    export.write_folder(&target, source, Dtype::F32, u64::MAX, &mut |_| {}).unwrap();
    tamper(&target);
    failures(export.prove_folder(&target, &live, source, Dtype::F32, &mut |_| {}))
}

/// The same of a GGUF file.
fn in_gguf(
    folders: &Folders,
    source: &dyn Source,
    tensor_type: TensorType,
    tamper: &dyn Fn(&mut Vocabulary),
) -> Vec<String> {
    let target = folders.dir.path().join("model.gguf");
    let export = export(folders, &target);
    let live = Live::load(&folders.base, Some(&folders.adapter), &folders.tokenizer).unwrap();
    let mut vocabulary = export.vocabulary().unwrap();
    tamper(&mut vocabulary);
    export.write_gguf(&target, source, &vocabulary, tensor_type, &mut |_| {}).unwrap();
    failures(export.prove_gguf(&target, &live, source, tensor_type, &mut |_| {}))
}

/// A fault in the weights must be seen in an f32 folder, an f16 file and a 4-bit file.
fn must_be_seen(folders: &Folders, planted: &Planted) {
    let all = [
        in_folder(folders, planted, &|_| {}),
        in_gguf(folders, planted, TensorType::F16, &|_| {}),
        in_gguf(folders, planted, TensorType::Q4K, &|_| {}),
    ];
    for failures in all {
        assert!(failures.iter().any(|f| f.contains("logits differ")), "{failures:?}");
    }
}

#[test]
fn without_a_fault_every_format_holds() {
    for saved in [&[][..], &["embed_tokens"], &["lm_head"], &["embed_tokens", "lm_head"]] {
        let folders = folders(saved);
        let sound = Planted::new(&folders, |_, _, _| {});
        assert_eq!(sound.config.tie_word_embeddings, saved.is_empty());
        assert_eq!(in_folder(&folders, &sound, &|_| {}), [""; 0], "{saved:?}");
        for tensor_type in TensorType::ALL {
            assert_eq!(in_gguf(&folders, &sound, tensor_type, &|_| {}), [""; 0], "{saved:?} {tensor_type}");
        }
    }
}

#[test]
fn planted_1_rope_order() {
    let folders = folders(&[]);
    let planted = Planted::new(&folders, |name, values, shape| {
        // As llama.cpp has them, where Hugging Face's order belongs; then once too often in GGUF.
        if name.contains("q_proj") || name.contains("k_proj") {
            let head = 64 * shape[1];
            for rows in values.chunks_exact_mut(head) {
                let old = rows.to_vec();
                for (row, from) in old.chunks_exact(shape[1]).enumerate() {
                    let to = 2 * (row % 32) + row / 32;
                    rows[to * shape[1]..][..shape[1]].copy_from_slice(from);
                }
            }
        }
    });
    must_be_seen(&folders, &planted);
}

/// Add `factor` · B A to the layers once more, with B as `rearrange` has it.
fn plus_product<'a>(
    folders: &'a Folders,
    factor: f32,
    transposed: bool,
) -> impl Fn(&str, &mut Vec<f32>, &[usize]) + 'a {
    let file = Checkpoint::open_file(&folders.adapter.join(ADAPTER_WEIGHTS)).unwrap();
    move |name, values, shape| {
        let stem = format!("base_model.model.{}", name.trim_end_matches(".weight"));
        if !file.contains(&format!("{stem}.lora_A.weight")) {
            return;
        }
        let a = file.values(&format!("{stem}.lora_A.weight"), &[4, shape[1]]).unwrap();
        let b = file.values(&format!("{stem}.lora_B.weight"), &[shape[0], 4]).unwrap();
        crate::source::add_product(values, &a, &b, 4, factor);
        if transposed {
            // B's numbers read as [R, O].
            let turned: Vec<f32> = (0..b.len()).map(|i| b[i % 4 * shape[0] + i / 4]).collect();
            crate::source::add_product(values, &a, &turned, 4, -factor);
        }
    }
}

#[test]
fn planted_2_transposed_b() {
    let folders = folders(&[]);
    must_be_seen(&folders, &Planted::new(&folders, plus_product(&folders, -2.0, true)));
}

#[test]
fn planted_3_missing_adapter() {
    let folders = folders(&[]);
    let planted = Planted {
        source: TunedModel::open(&folders.base, None).unwrap(),
        ..Planted::new(&folders, |_, _, _| {})
    };
    must_be_seen(&folders, &planted);
}

#[test]
fn planted_4_merged_into_4_bits() {
    let folders = folders(&[]);
    let base = TunedModel::open(&folders.base, None).unwrap();
    let planted = Planted::new(&folders, |name, values, shape| {
        if name.contains("_proj") {
            let mut own = Vec::new();
            base.read(&Tensor { name: name.into(), shape: shape.to_vec() }, &mut own).unwrap();
            let mut coarse = vec![0.0; own.len()];
            decode(TensorType::Q4_0, &encode(TensorType::Q4_0, &own), &mut coarse);
            for ((v, own), coarse) in values.iter_mut().zip(own).zip(coarse) {
                *v += coarse - own;
            }
        }
    });
    must_be_seen(&folders, &planted);
}

#[test]
fn planted_5_wrong_eos() {
    let folders = folders(&[]);
    let sound = Planted::new(&folders, |_, _, _| {});
    let found = in_gguf(&folders, &sound, TensorType::Q8_0, &|vocabulary| vocabulary.eos = Some(1));
    assert!(found.iter().any(|f| f.contains("EOS")), "{found:?}");
    for eos in [json!(1), json!(null), json!([0, 1])] {
        let found = in_folder(&folders, &sound, &|folder| {
            change_json(&folder.join("generation_config.json"), "eos_token_id", &eos);
        });
        assert!(found.iter().any(|f| f.contains("EOS") || f.contains("eos_token_id")), "{eos}: {found:?}");
    }
}

#[test]
fn planted_6_tied_head_copied() {
    let folders = folders(&["embed_tokens"]);
    // The trained embedding is also written as the head, which was not trained.
    let embedding = Tensor { name: "model.embed_tokens.weight".into(), shape: vec![330, 256] };
    let tuned = TunedModel::open(&folders.base, Some(&folders.adapter)).unwrap();
    let planted = Planted::new(&folders, |name, values, _| {
        if name == "lm_head.weight" {
            tuned.read(&embedding, values).unwrap();
        }
    });
    must_be_seen(&folders, &planted);
    let mut tied = planted;
    tied.config.tie_word_embeddings = true;
    must_be_seen(&folders, &tied);
}

#[test]
fn planted_7_wrong_scaling() {
    let folders = folders(&[]);
    // alpha / √R (4) where alpha / R (2) was trained.
    must_be_seen(&folders, &Planted::new(&folders, plus_product(&folders, 2.0, false)));
}

/// A Llama has no biases to drop; its norms are what is small enough to be forgotten.
#[test]
fn planted_8_dropped_norm() {
    let folders = folders(&[]);
    let planted = Planted::new(&folders, |name, values, _| {
        if name == "model.layers.1.post_attention_layernorm.weight" {
            values.fill(1.0);
        }
    });
    must_be_seen(&folders, &planted);
}

#[test]
fn planted_9_vocabulary_off_by_one() {
    let folders = folders(&[]);
    let planted = Planted::new(&folders, |name, values, shape| {
        if name == "model.embed_tokens.weight" {
            values.rotate_right(shape[1]);
        }
    });
    must_be_seen(&folders, &planted);
    let sound = Planted::new(&folders, |_, _, _| {});
    let found = in_gguf(&folders, &sound, TensorType::Q4K, &|vocabulary| vocabulary.tokens.rotate_right(1));
    assert!(found.iter().any(|f| f.contains("spelled otherwise")), "{found:?}");
    let found = in_gguf(&folders, &sound, TensorType::Q4K, &|vocabulary| {
        vocabulary.tokens.pop();
    });
    assert!(found.iter().any(|f| f.contains("329 tokens for 330 rows")), "{found:?}");
}

#[test]
fn planted_10_wrong_norm_epsilon() {
    let folders = folders(&[]);
    let mut planted = Planted::new(&folders, |_, _, _| {});
    planted.config.rms_norm_eps = 1e-6;
    let found = in_gguf(&folders, &planted, TensorType::Q4K, &|_| {});
    assert!(found.iter().any(|f| f.contains("configuration")), "{found:?}");
    let found = in_folder(&folders, &planted, &|folder| {
        change_json(&folder.join("config.json"), "rms_norm_eps", &json!(1e-6));
    });
    assert!(found.iter().any(|f| f.contains("configuration")), "{found:?}");
}

fn change_json(path: &Path, key: &str, value: &Value) {
    let mut json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    json[key] = value.clone();
    std::fs::write(path, json.to_string()).unwrap();
}
