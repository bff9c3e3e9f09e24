//! What makes two runs the same run: a state of one must not be gone on with as another.

use crate::plan::TrainPlan;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tolmach_tokenize::{StepSize, TokenExample};

/// Everything that the result depends on, by name, as text: settings, and hashes of what is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity(BTreeMap<String, String>);

impl Identity {
    /// Of a plan and its data. What changes no weight (when to save, when to print a reply) is left
    /// out. Add what this crate does not see with [`Identity::with`]: the base, LoRA's settings.
    pub fn new(plan: &TrainPlan, train: &[TokenExample], validation: &[TokenExample]) -> Self {
        let step = match plan.step_size {
            StepSize::Tokens(tokens) => format!("{tokens} tokens"),
            StepSize::Examples(examples) => format!("{examples} examples"),
        };
        let every = |steps: Option<usize>| steps.map_or("unset".to_string(), |n| n.to_string());
        // Left out where they are off: states of runs that never heard of them stay good.
        let mut identity = Self::default();
        if plan.loraplus_lr_ratio != 1.0 {
            identity = identity.with("loraplus_lr_ratio", &plan.loraplus_lr_ratio);
        }
        if let Some(alpha) = plan.neftune_noise_alpha {
            identity = identity.with("neftune_noise_alpha", &alpha);
        }
        identity
            .with("step size", &step)
            .with("steps", &plan.steps)
            .with("micro_batch_tokens", &plan.micro_batch_tokens)
            .with("learning_rate", &plan.learning_rate)
            .with("schedule", &format!("{:?}", plan.schedule).to_lowercase())
            .with("warmup_steps", &plan.warmup_steps)
            .with("weight_decay", &plan.weight_decay)
            .with("max_grad_norm", &plan.max_grad_norm.unwrap_or(0.0))
            .with("beta1", &plan.beta1)
            .with("beta2", &plan.beta2)
            .with("eps", &plan.eps)
            .with("shuffle", &plan.shuffle)
            .with("seed", &plan.seed)
            .with("eval_every", &every(plan.eval_every))
            .with("eval_examples", &plan.eval_examples)
            .with("early_stop", &every(plan.early_stop))
            .with("keep_best", &plan.keep_best)
            .with("training data", &hash(train))
            .with("validation data", &hash(validation))
    }

    /// With one more fact.
    pub fn with(mut self, name: &str, value: &impl ToString) -> Self {
        self.0.insert(name.into(), value.to_string());
        self
    }

    /// One line for each fact that differs: what it was in `then`, what it is now.
    pub fn differences(&self, then: &Identity) -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(then.0.keys()).collect();
        let value = |of: &Identity, name: &String| of.0.get(name).map_or("absent".into(), String::clone);
        names
            .into_iter()
            .filter(|name| self.0.get(*name) != then.0.get(*name))
            .map(|name| format!("  {name}: {} then, {} now", value(then, name), value(self, name)))
            .collect()
    }
}

/// 16 hexadecimal digits of the BLAKE3 hash of all tokens and labels, in order.
fn hash(examples: &[TokenExample]) -> String {
    let mut hasher = blake3::Hasher::new();
    for example in examples {
        hasher.update(&(example.len() as u64).to_le_bytes());
        for (id, label) in example.input_ids.iter().zip(&example.labels) {
            hasher.update(&id.to_le_bytes()).update(&label.to_le_bytes());
        }
    }
    hasher.finalize().to_hex()[..16].to_string()
}
