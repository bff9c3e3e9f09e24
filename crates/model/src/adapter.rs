//! LoRA adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`, both ways.

use crate::block::Block;
use crate::build::new_lora;
use crate::checkpoint::Checkpoint;
use crate::decoder::{Decoder, Head};
use crate::error::{Error, Result};
use crate::linear::MAGNITUDE;
use crate::lora::{InitLora, LoraConfig};
use crate::parameter::Parameter;
use crate::tensor_writer::TensorWriter;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use tolmach_engine::{Backend, Dtype};

pub const ADAPTER_CONFIG: &str = "adapter_config.json";
pub const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";

/// Key in the weights file's metadata: the fingerprint of the base that the adapter was trained on.
const BASE_KEY: &str = "tolmach_base";

/// Key in the metadata of an adapter that is still being trained: after how many updates it was written.
const STEP_KEY: &str = "tolmach_step";

const EMBEDDING: &str = "base_model.model.model.embed_tokens.weight";
const TIED_HEAD: &str = "base_model.model.lm_head.weight";

/// What an adapter folder says of itself.
#[derive(Clone, Debug)]
pub struct AdapterInfo {
    pub lora: LoraConfig,
    pub base_model_name_or_path: Option<String>,
}

/// Keys that change nothing in what we compute, whatever they hold.
const HARMLESS: [&str; 11] = [
    "auto_mapping",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "peft_type",
    "peft_version",
    "task_type",
    "megatron_core",     // names a package; `megatron_config` switches it on
    "qalora_group_size", // read only with use_qalora
    "loftq_config",      // only says where training started
    "r",
];

const MODULES: &str = "a list of module names or \"all-linear\" (write the names that the pattern fits)";

/// Why some ways to begin are refused: PiSSA, OLoRA, CorDA, LoftQ and LoRA-GA change the base's own weights.
const UNCHANGED_BASE: &str = "true, false, \"gaussian\", \"eva\", \"orthogonal\" or \"mica\": the others are \
     adapters of a changed base; save with peft's `path_initial_model_for_weight_conversion`, which turns them \
     into plain LoRA";

/// Keys that we read.
const READ: [&str; 13] = [
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "init_lora_weights",
    "modules_to_save",
    "ensure_weight_tying",
];

impl AdapterInfo {
    /// Read `adapter_config.json` of an adapter folder.
    ///
    /// # Errors
    /// A missing or malformed file; another adapter type; a field that changes the arithmetic in a way
    /// that is not computed here (biases, transposed weights…): refused by name, never ignored.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(ADAPTER_CONFIG);
        let text =
            std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
        let json: Value =
            serde_json::from_str(&text).map_err(|source| Error::Json { path: path.clone(), source })?;
        Self::from_json(&path, &json)
    }

    fn from_json(path: &Path, json: &Value) -> Result<Self> {
        let bad = |key: &str, expected: &str| Error::Field {
            path: path.to_path_buf(),
            key: key.into(),
            expected: expected.into(),
            found: json[key].to_string(),
        };
        if json["peft_type"] != "LORA" {
            return Err(bad("peft_type", "\"LORA\""));
        }
        for (key, value) in json.as_object().into_iter().flatten() {
            let known = HARMLESS.contains(&key.as_str()) || READ.contains(&key.as_str());
            let off = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Array(a) => a.is_empty(),
                Value::Object(o) => o.is_empty(),
                Value::String(s) => key == "bias" && s == "none",
                _ => false,
            };
            if !known && !off {
                return Err(bad(key, "its default (other values are not computed here)"));
            }
        }
        let lora = LoraConfig {
            rank: json["r"].as_u64().filter(|&r| r > 0).ok_or_else(|| bad("r", "a positive whole number"))?
                as usize,
            alpha: json["lora_alpha"].as_f64().ok_or_else(|| bad("lora_alpha", "a number"))?,
            dropout: json["lora_dropout"].as_f64().unwrap_or(0.0) as f32,
            rslora: json["use_rslora"].as_bool().unwrap_or(false),
            dora: json["use_dora"].as_bool().unwrap_or(false),
            rank_pattern: pattern(&json["rank_pattern"], |v| v.as_u64().map(|rank| rank as usize))
                .ok_or_else(|| bad("rank_pattern", "an object from layer names to whole numbers"))?,
            alpha_pattern: pattern(&json["alpha_pattern"], Value::as_f64)
                .ok_or_else(|| bad("alpha_pattern", "an object from layer names to numbers"))?,
            target_modules: names(&json["target_modules"])
                .filter(|names| !names.iter().any(|name| is_regex(name)))
                .ok_or_else(|| bad("target_modules", MODULES))?,
            exclude_modules: names(&json["exclude_modules"])
                .filter(|_| !json["exclude_modules"].is_string()) // to peft a string is a pattern here
                .ok_or_else(|| bad("exclude_modules", "a list of module names"))?,
            layers_to_transform: blocks(&json["layers_to_transform"])
                .ok_or_else(|| bad("layers_to_transform", "a number or a list of numbers of blocks"))?,
            init_lora_weights: init(&json["init_lora_weights"])
                .ok_or_else(|| bad("init_lora_weights", UNCHANGED_BASE))?,
            // With tied weights peft writes `model.embed_tokens`.
            modules_to_save: names(&json["modules_to_save"])
                .ok_or_else(|| bad("modules_to_save", "a list of module names"))?
                .into_iter()
                .map(|m| m.rsplit('.').next().unwrap_or(&m).to_string())
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            ensure_weight_tying: json["ensure_weight_tying"].as_bool().unwrap_or(false),
        };
        lora.check()?;
        let base = json["base_model_name_or_path"].as_str().map(str::to_string);
        Ok(Self { lora, base_model_name_or_path: base })
    }

    /// All keys that PEFT's own `LoraConfig` writes and readers look at.
    fn to_json(&self) -> Value {
        let lora = &self.lora;
        let mut targets = lora.target_modules.clone();
        if targets.iter().any(|t| t == "all-linear") {
            targets = crate::LINEAR_LAYERS.map(String::from).to_vec();
        }
        let list = |names: &[String]| if names.is_empty() { Value::Null } else { json!(names) };
        // Whole numbers as PEFT writes them: `16`, not `16.0`.
        let number = |x: f64| if x.fract() == 0.0 { json!(x as i64) } else { json!(x) };
        let alphas: Map<String, Value> =
            lora.alpha_pattern.iter().map(|(key, &alpha)| (key.clone(), number(alpha))).collect();
        json!({
            "alpha_pattern": alphas,
            "auto_mapping": null,
            "base_model_name_or_path": self.base_model_name_or_path,
            "bias": "none",
            "ensure_weight_tying": lora.ensure_weight_tying,
            "fan_in_fan_out": false,
            "inference_mode": true,
            "exclude_modules": list(&lora.exclude_modules),
            "init_lora_weights": match lora.init_lora_weights {
                InitLora::Kaiming => json!(true),
                InitLora::Gaussian => json!("gaussian"),
            },
            "layers_pattern": null,
            "layers_to_transform":
                if lora.layers_to_transform.is_empty() { Value::Null } else { json!(lora.layers_to_transform) },
            "lora_alpha": number(lora.alpha),
            // The decimal that the user wrote, not the f32's 0.05000000074505806.
            "lora_dropout": lora.dropout.to_string().parse::<f64>().unwrap_or(0.0),
            "modules_to_save": list(&lora.modules_to_save),
            "peft_type": "LORA",
            "r": lora.rank,
            "rank_pattern": lora.rank_pattern,
            "revision": null,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_dora": lora.dora,
            "use_rslora": lora.rslora,
        })
    }
}

/// After how many updates the adapter in `folder` was written by a training that goes on; `None` for a
/// finished one.
///
/// # Errors
/// Its weights are missing or malformed.
pub fn snapshot_step(folder: &Path) -> Result<Option<usize>> {
    let file = Checkpoint::open_file(&folder.join(ADAPTER_WEIGHTS))?;
    Ok(file.metadata().get(STEP_KEY).and_then(|step| step.parse().ok()))
}

/// How A began, as far as it matters to go on; `None` where the base was changed, too.
fn init(value: &Value) -> Option<InitLora> {
    match value {
        Value::Null | Value::Bool(_) => Some(InitLora::Kaiming),
        Value::String(name) => match name.to_lowercase().as_str() {
            "gaussian" => Some(InitLora::Gaussian),
            "eva" | "orthogonal" | "mica" => Some(InitLora::Kaiming),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a name is a pattern: peft takes any string but "all-linear" for one.
fn is_regex(name: &str) -> bool {
    name.contains(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.' | '-')))
}

/// Numbers of blocks; a number is a list of one, null an empty one.
fn blocks(value: &Value) -> Option<Vec<usize>> {
    let number = |v: &Value| v.as_u64().map(|block| block as usize);
    match value {
        Value::Null => Some(vec![]),
        Value::Array(all) => all.iter().map(number).collect(),
        one => Some(vec![number(one)?]),
    }
}

/// The shape that PEFT gives a tensor: magnitudes are a vector.
fn as_written<'a>(name: &str, shape: &'a [usize; 2]) -> &'a [usize] {
    if name.ends_with(MAGNITUDE) { &shape[1..] } else { shape }
}

/// An object from names to values; null is an empty one.
fn pattern<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<BTreeMap<String, T>> {
    match value {
        Value::Null => Some(BTreeMap::new()),
        Value::Object(map) => map.iter().map(|(key, v)| Some((key.clone(), read(v)?))).collect(),
        _ => None,
    }
}

/// A list of strings; a string is a list of one, null an empty one.
fn names(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(vec![]),
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(all) => all.iter().map(|v| v.as_str().map(str::to_string)).collect(),
        _ => None,
    }
}

impl<B: Backend> Decoder<B> {
    /// Write the adapter (LoRA matrices and `modules_to_save`) as PEFT would, f32.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save_adapter(&mut self, folder: &Path, info: &AdapterInfo) -> Result<()> {
        self.write_adapter(folder, info, None)
    }

    /// As [`Decoder::save_adapter`], of a training that goes on: the weights' file says after how many
    /// updates it was written ([`snapshot_step`]).
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save_snapshot(&mut self, folder: &Path, info: &AdapterInfo, step: usize) -> Result<()> {
        self.write_adapter(folder, info, Some(step))
    }

    fn write_adapter(&mut self, folder: &Path, info: &AdapterInfo, step: Option<usize>) -> Result<()> {
        let backend = Arc::clone(&self.backend);
        let mut metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        metadata.extend(self.fingerprint.clone().map(|f| (BASE_KEY.to_string(), f)));
        metadata.extend(step.map(|step| (STEP_KEY.to_string(), step.to_string())));
        let tied = matches!(self.head, Head::Tied);
        let parameters = self.parameters_mut();
        let mut tensors: Vec<(&str, &Parameter<B>)> =
            parameters.iter().map(|p| (p.name.as_str(), &**p)).collect();
        if let Some(&(_, table)) = tensors.iter().find(|(name, _)| tied && *name == EMBEDDING) {
            tensors.push((TIED_HEAD, table)); // PEFT writes it twice
        }
        tensors.sort_by_key(|(name, _)| *name);
        let shapes: Vec<[usize; 2]> = tensors.iter().map(|(_, p)| [p.rows, p.cols]).collect();
        let header: Vec<(&str, &[usize])> =
            tensors.iter().zip(&shapes).map(|((name, _), shape)| (*name, as_written(name, shape))).collect();
        // Weights first: a folder with a config is then a whole adapter.
        let path = folder.join(ADAPTER_WEIGHTS);
        let mut file = TensorWriter::create(&path, &header, Dtype::F32, &metadata)?;
        for (_, parameter) in tensors {
            file.push(&parameter.to_f32(&backend))?;
        }
        file.commit()?;
        let path = folder.join(ADAPTER_CONFIG);
        let text = format!("{:#}\n", info.to_json());
        tolmach_durable::write(&path, text).map_err(|source| Error::Write { path, source })
    }

    /// Attach the adapter in `folder`, to chat with or to train on.
    ///
    /// # Errors
    /// Files missing or malformed; an adapter of another base (by its recorded fingerprint, or because
    /// a tensor does not fit); tensors that belong to no module, or modules without their tensors.
    pub fn load_adapter(&mut self, folder: &Path) -> Result<AdapterInfo> {
        let info = AdapterInfo::read(folder)?;
        let path = folder.join(ADAPTER_WEIGHTS);
        let file = Checkpoint::open_file(&path)?;
        if let (Some(expected), Some(found)) = (file.metadata().get(BASE_KEY), &self.fingerprint)
            && expected != found
        {
            return Err(Error::OtherBase { path, expected: expected.clone(), found: found.clone() });
        }
        let backend = Arc::clone(&self.backend);
        let mut left: BTreeSet<String> = file.names().map(str::to_string).collect();
        let mut take = |name: &str, shape: &[usize]| {
            left.remove(name);
            file.values(name, shape)
        };
        for layer in self.blocks.iter_mut().flat_map(Block::linear_layers_mut) {
            if info.lora.targets(&layer.name) {
                let stem = format!("base_model.model.{}", layer.name);
                let rank = info.lora.rank_of(&layer.name);
                let a = take(&format!("{stem}.lora_A.weight"), &[rank, layer.inputs])?;
                let b = take(&format!("{stem}.lora_B.weight"), &[layer.outputs, rank])?;
                layer.lora = Some(new_lora(&*backend, layer, &info.lora, &a, &b));
                if info.lora.dora {
                    let magnitudes = take(&format!("{stem}{MAGNITUDE}"), &[layer.outputs])?;
                    layer.add_dora(&*backend, &magnitudes);
                }
            }
        }
        self.train_modules(&info.lora);
        for parameter in self.parameters_mut() {
            if !parameter.name.contains(".lora_") {
                let values = take(&parameter.name, &[parameter.rows, parameter.cols])?;
                backend.write(&values, &mut parameter.value);
            }
        }
        if matches!(self.head, Head::Tied) && file.contains(TIED_HEAD) {
            take(TIED_HEAD, &[self.config.vocab_size, self.config.hidden_size])?; // the embedding's own copy
        }
        match left.into_iter().next() {
            Some(name) => Err(Error::UnknownTensor { path, name }),
            None => Ok(info),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> AdapterInfo {
        AdapterInfo {
            lora: LoraConfig { rank: 4, alpha: 8.0, dropout: 0.05, rslora: false, ..LoraConfig::of_rank(4) },
            base_model_name_or_path: Some("org/base".into()),
        }
    }

    #[test]
    fn our_own_config_reads_back() {
        let json = info().to_json();
        assert_eq!(json["lora_dropout"], 0.05);
        let read = AdapterInfo::from_json(Path::new("adapter_config.json"), &json).unwrap();
        assert_eq!(read.lora.rank_of("model.layers.0.mlp.down_proj"), 4);
        assert!(read.lora.targets("model.layers.0.mlp.down_proj"));
    }

    #[test]
    fn unknown_fields_that_are_on_are_refused_by_name() {
        for (key, value) in [
            ("use_qalora", json!(true)),
            ("bias", json!("all")),
            ("rank_pattern", json!({"q_proj": -2})),
            ("rank_pattern", json!({"lm_head": 2})),
            ("alpha_pattern", json!({"q_proj": 2, "self_attn.q_proj": 3})),
            ("a_field_of_the_future", json!(1)),
            ("fan_in_fan_out", json!(true)),
            ("init_lora_weights", json!("pissa_niter_16")),
            ("init_lora_weights", json!("olora")),
            ("init_lora_weights", json!("loftq")),
            ("target_modules", json!(".*(q|v)_proj$")),
            ("exclude_modules", json!("k_proj")),
            ("layers_to_transform", json!([-1])),
            ("layers_pattern", json!("h")),
            ("trainable_token_indices", json!([5])),
            ("layer_replication", json!([[0, 2]])),
            ("target_parameters", json!(["mlp.up_proj.weight"])),
            ("lora_bias", json!(true)),
        ] {
            let mut json = info().to_json();
            json[key] = value;
            let message =
                AdapterInfo::from_json(Path::new("adapter_config.json"), &json).unwrap_err().to_string();
            assert!(message.contains(key), "{message}");
        }
        let mut json = info().to_json();
        json["another_field"] = Value::Null;
        assert!(AdapterInfo::from_json(Path::new("x"), &json).is_ok(), "null is a default");
    }

    #[test]
    fn what_narrows_the_targets_is_read_and_written() {
        let mut json = info().to_json();
        json["layers_to_transform"] = json!(1);
        json["exclude_modules"] = json!(["k_proj"]);
        json["init_lora_weights"] = json!("gaussian");
        let read = AdapterInfo::from_json(Path::new("x"), &json).unwrap();
        assert!(read.lora.targets("model.layers.1.self_attn.q_proj"));
        assert!(!read.lora.targets("model.layers.0.self_attn.q_proj"));
        assert!(!read.lora.targets("model.layers.1.self_attn.k_proj"));
        let written = read.to_json();
        assert_eq!(written["layers_to_transform"], json!([1]));
        assert_eq!(
            (&written["exclude_modules"], &written["init_lora_weights"]),
            (&json["exclude_modules"], &json["init_lora_weights"])
        );
    }

    #[test]
    fn suffixes_match_whole_names_only() {
        let mut lora = info().lora;
        lora.target_modules = vec!["v_proj".into(), "layers.1.mlp.up_proj".into()];
        assert!(lora.targets("model.layers.0.self_attn.v_proj"));
        assert!(lora.targets("model.layers.1.mlp.up_proj"));
        assert!(!lora.targets("model.layers.11.mlp.up_proj"));
        assert!(!lora.targets("model.layers.0.mlp.up_proj"));
        lora.target_modules = vec!["proj".into()];
        assert!(lora.check().is_err());
    }
}
