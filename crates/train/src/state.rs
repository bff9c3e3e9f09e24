//! What a killed run needs to go on as if nothing had happened: weights, moments, progress.

use crate::error::Error;
use crate::identity::Identity;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use tolmach_engine::{Backend, Dtype};
use tolmach_model::{Checkpoint, Decoder, TensorWriter};

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Updates applied.
    pub step: usize,
    /// Loss of each step, before its update, in nats per labelled token.
    #[serde(with = "exact")]
    pub losses: Vec<f64>,
    pub evaluations: Vec<Evaluation>,
    /// Tokens and labelled tokens gone through.
    pub tokens: u64,
    pub trained_tokens: u64,
    /// Time spent in steps, over all sittings.
    #[serde(with = "exact")]
    pub seconds: f64,
}

/// The loss on the validation set after some step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    pub step: usize,
    /// Nats per labelled token.
    #[serde(with = "exact")]
    pub loss: f64,
}

impl Progress {
    /// The first of the evaluations with the lowest loss.
    pub fn best(&self) -> Option<Evaluation> {
        self.evaluations.iter().copied().reduce(|best, e| if e.loss < best.loss { e } else { best })
    }

    /// Whether the last `patience` evaluations brought nothing.
    pub(crate) fn out_of_patience(&self, patience: usize) -> bool {
        let since = |best: Evaluation| self.evaluations.iter().filter(|e| e.step > best.step).count();
        self.best().is_some_and(|best| since(best) >= patience)
    }

    pub(crate) fn evaluated(&self, step: usize) -> bool {
        self.evaluations.last().is_some_and(|e| e.step >= step)
    }
}

/// The training state in memory. The weights themselves are the model's.
pub struct State<B: Backend> {
    pub progress: Progress,
    /// AdamW's first and second moment of each trained tensor, in the model's order.
    pub(crate) moments: Vec<(B::Buffer, B::Buffer)>,
    /// The weights with the lowest validation loss, where the plan keeps them.
    pub(crate) best: Option<Vec<Vec<f32>>>,
}

/// Which of a parameter's tensors.
#[derive(Clone, Copy)]
enum Part {
    Value,
    First,
    Second,
    Best,
}

/// A tensor of the file: its name, its shape, the parameter's index, and which part of it.
struct Entry {
    name: String,
    shape: [usize; 2],
    index: usize,
    part: Part,
}

/// Raised when the file changes in a way that older programs would misread.
const VERSION: &str = "2";

impl<B: Backend> State<B> {
    /// At step 0.
    ///
    /// # Errors
    /// The model trains nothing.
    pub fn new(model: &mut Decoder<B>) -> Result<Self, Error> {
        let lens: Vec<usize> = model.parameters_mut().iter().map(|p| p.len()).collect();
        if lens.is_empty() {
            return Err(Error::NothingToTrain);
        }
        let zeros = |len| model.backend.zeros(len);
        let moments = lens.iter().map(|&len| (zeros(len), zeros(len))).collect();
        Ok(Self { progress: Progress::default(), moments, best: None })
    }

    /// Write state and weights as one safetensors file, whole or not at all, with a checksum over all.
    ///
    /// # Errors
    /// A weight is not finite (such a state is no good to go on from); the file cannot be written.
    pub fn save(&self, path: &Path, model: &mut Decoder<B>, identity: &Identity) -> Result<(), Error> {
        let entries = entries(model, self.best.is_some());
        let mut metadata = BTreeMap::from([
            ("tolmach_state".to_string(), VERSION.to_string()),
            ("progress".to_string(), to_json(&self.progress)),
            ("identity".to_string(), to_json(identity)),
        ]);
        let mut hasher = hasher(&metadata);
        for entry in &entries {
            let values = self.values(model, entry);
            if values.iter().any(|v| !v.is_finite()) {
                let tensor = entry.name.clone();
                return Err(Error::WeightNotFinite { step: self.progress.step, tensor });
            }
            add(&mut hasher, &entry.name, &values);
        }
        metadata.insert("checksum".into(), hasher.finalize().to_hex().to_string());
        let header: Vec<(&str, &[usize])> = entries.iter().map(|e| (e.name.as_str(), &e.shape[..])).collect();
        let mut file = TensorWriter::create(path, &header, Dtype::F32, &metadata)?;
        for entry in &entries {
            file.push(&self.values(model, entry))?;
        }
        Ok(file.commit()?)
    }

    fn values(&self, model: &mut Decoder<B>, entry: &Entry) -> Vec<f32> {
        let mut values = vec![0.0; entry.shape[0] * entry.shape[1]];
        let moments = &self.moments[entry.index];
        match entry.part {
            Part::Value => {
                let backend = std::sync::Arc::clone(&model.backend);
                backend.download(&model.parameters_mut()[entry.index].value, &mut values);
            }
            Part::First => model.backend.download(&moments.0, &mut values),
            Part::Second => model.backend.download(&moments.1, &mut values),
            Part::Best => {
                values.clone_from_slice(&self.best.as_ref().expect("listed only if kept")[entry.index]);
            }
        }
        values
    }

    /// Read a state, and put its weights into `model`, which must be set up as it was when the run began.
    ///
    /// # Errors
    /// The file is missing, truncated, damaged anywhere, or of a run with another identity.
    pub fn load(path: &Path, model: &mut Decoder<B>, identity: &Identity) -> Result<Self, Error> {
        let damaged = |reason: String| Error::CorruptState { path: path.to_path_buf(), reason };
        let file = match Checkpoint::open_file(path) {
            Err(tolmach_model::Error::Read { path, source }) => return Err(Error::Read { path, source }),
            other => other.map_err(|e| damaged(e.to_string()))?,
        };
        let Header { progress, identity: then } = verify(&file).map_err(damaged)?;
        let differences = identity.differences(&then);
        if !differences.is_empty() {
            return Err(Error::OtherRun { path: path.to_path_buf(), differences });
        }
        let mut state = Self::new(model)?;
        let has_best = file.names().any(|name| name.starts_with("best/"));
        let mut best = Vec::new();
        for entry in entries(model, has_best) {
            let values = file.values(&entry.name, &entry.shape).map_err(|e| damaged(e.to_string()))?;
            let backend = std::sync::Arc::clone(&model.backend);
            let moments = &mut state.moments[entry.index];
            match entry.part {
                Part::Value => backend.write(&values, &mut model.parameters_mut()[entry.index].value),
                Part::First => backend.write(&values, &mut moments.0),
                Part::Second => backend.write(&values, &mut moments.1),
                Part::Best => best.push((entry.index, values)),
            }
        }
        best.sort_by_key(|(index, _)| *index); // the file is in the order of names
        state.best = has_best.then(|| best.into_iter().map(|(_, values)| values).collect());
        state.progress = progress;
        Ok(state)
    }

    /// Remember the model's weights as the best so far.
    pub(crate) fn keep_as_best(&mut self, model: &mut Decoder<B>) {
        let backend = std::sync::Arc::clone(&model.backend);
        self.best = Some(model.parameters_mut().iter().map(|p| p.to_f32(&backend)).collect());
    }

    /// Put the best weights into the model, if some were kept.
    pub(crate) fn restore_best(&self, model: &mut Decoder<B>) {
        let backend = std::sync::Arc::clone(&model.backend);
        for (parameter, values) in model.parameters_mut().into_iter().zip(self.best.iter().flatten()) {
            backend.write(values, &mut parameter.value);
        }
    }
}

/// All tensors of a state file, sorted by name: the order in the file and of the checksum.
fn entries<B: Backend>(model: &mut Decoder<B>, best: bool) -> Vec<Entry> {
    let mut parts = vec![("value", Part::Value), ("adam_m", Part::First), ("adam_v", Part::Second)];
    parts.extend(best.then_some(("best", Part::Best)));
    let mut entries = Vec::new();
    for (index, parameter) in model.parameters_mut().iter().enumerate() {
        for (prefix, part) in &parts {
            let name = format!("{prefix}/{}", parameter.name);
            entries.push(Entry { name, shape: [parameter.rows, parameter.cols], index, part: *part });
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// The parts of a state file that are not tensors.
struct Header {
    progress: Progress,
    identity: Identity,
}

/// Check the whole content against the checksum; the reason if it is not what was written.
fn verify(file: &Checkpoint) -> Result<Header, String> {
    let metadata = file.metadata();
    let get = |key: &str| metadata.get(key).ok_or_else(|| format!("its header has no `{key}`"));
    let version = get("tolmach_state")?;
    if version != VERSION {
        return Err(format!("its version is {version}, this program reads {VERSION}"));
    }
    let checked = ["tolmach_state", "progress", "identity"]
        .map(|key| get(key).map(|value| (key.to_string(), value.clone())));
    let checked = checked.into_iter().collect::<Result<BTreeMap<_, _>, _>>()?;
    let mut hasher = hasher(&checked);
    for name in file.names() {
        let values =
            file.shape(name).and_then(|shape| file.values(name, shape)).map_err(|e| e.to_string())?;
        add(&mut hasher, name, &values);
    }
    if hasher.finalize().to_hex().to_string() != *get("checksum")? {
        return Err("its content does not match its checksum".into());
    }
    let progress = serde_json::from_str(get("progress")?).map_err(|e| format!("progress: {e}"))?;
    let identity = serde_json::from_str(get("identity")?).map_err(|e| format!("identity: {e}"))?;
    Ok(Header { progress, identity })
}

fn hasher(metadata: &BTreeMap<String, String>) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new();
    for (key, value) in metadata {
        hasher.update(format!("{key} {} {value}\n", value.len()).as_bytes());
    }
    hasher
}

fn add(hasher: &mut blake3::Hasher, name: &str, values: &[f32]) {
    hasher.update(format!("{name} {}\n", values.len()).as_bytes());
    let mut bytes = [0; 4096];
    for run in values.chunks(1024) {
        for (place, value) in bytes.chunks_exact_mut(4).zip(run) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        hasher.update(&bytes[..4 * run.len()]);
    }
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain structs have string keys and no failing parts")
}

/// Floats as their bits: reading decimal JSON may be off by the last one, and a resumed run compares.
mod exact {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub trait Bits: Sized {
        type As: Serialize + for<'de> Deserialize<'de>;
        fn to(&self) -> Self::As;
        fn from(bits: Self::As) -> Self;
    }

    impl Bits for f64 {
        type As = u64;
        fn to(&self) -> u64 {
            self.to_bits()
        }
        fn from(bits: u64) -> Self {
            f64::from_bits(bits)
        }
    }

    impl Bits for Vec<f64> {
        type As = Vec<u64>;
        fn to(&self) -> Vec<u64> {
            self.iter().map(|v| v.to_bits()).collect()
        }
        fn from(bits: Vec<u64>) -> Self {
            bits.into_iter().map(f64::from_bits).collect()
        }
    }

    pub fn serialize<T: Bits, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        value.to().serialize(serializer)
    }

    pub fn deserialize<'de, T: Bits, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        T::As::deserialize(deserializer).map(T::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_comes_back_to_the_bit() {
        // Decimal numbers need not: serde_json reads them fast, not exactly.
        for i in 0..2_000u32 {
            let value = f64::from(i).mul_add(0.123_456_789, 1.0 / 3.0);
            let evaluations = vec![Evaluation { step: 1, loss: value }];
            let progress =
                Progress { seconds: value, losses: vec![value], evaluations, ..Progress::default() };
            let text = serde_json::to_string(&progress).unwrap();
            assert_eq!(serde_json::from_str::<Progress>(&text).unwrap(), progress);
        }
    }
}
