//! Too long for a translator's request, or for the sequence length of training.

use super::{Rule, RuleDescriptor};
use crate::example::Body;
use serde::{Deserialize, Serialize};

pub(super) const DESCRIPTOR: RuleDescriptor = RuleDescriptor {
    rule: Rule::TooLong,
    drops: "a field or a whole example above a number of characters",
    defaults: "{ max_field_chars = 2000, max_total_chars = 3000 }",
};

/// Lengths in characters (Unicode scalar values).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    pub max_field_chars: usize,
    pub max_total_chars: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_field_chars: 2000, max_total_chars: 3000 }
    }
}

pub(super) fn check(body: &Body, options: &Options) -> Option<String> {
    let mut total = 0;
    for (name, text) in body.fields() {
        let chars = text.chars().count();
        if chars > options.max_field_chars {
            return Some(format!("{name} has {chars} characters, more than {}", options.max_field_chars));
        }
        total += chars;
    }
    let limit = options.max_total_chars;
    (total > limit).then(|| format!("{total} characters in all, more than {limit}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{alpaca, talk};
    use super::*;

    #[test]
    fn both_limits_count_characters_not_bytes() {
        let options = Options { max_field_chars: 4, max_total_chars: 8 };
        assert_eq!(check(&alpaca("ждём", "", "1234"), &options), None);
        assert_eq!(
            check(&alpaca("ждёмс", "", "1"), &options).unwrap(),
            "instruction has 5 characters, more than 4"
        );
        assert_eq!(
            check(&talk(&["1234", "1234", "1", "2"]), &options).unwrap(),
            "10 characters in all, more than 8"
        );
    }
}
