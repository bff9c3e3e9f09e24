//! A field that is little more than links: what lies behind them is not in the data set.

use super::{Pattern, Rule, RuleDescriptor};
use crate::example::Body;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;

pub(super) const DESCRIPTOR: RuleDescriptor = RuleDescriptor {
    rule: Rule::LinksOnly,
    drops: "a field whose letters are mostly links",
    defaults: "{ max_link_share = 0.5 }",
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Share of a field's letters and digits that may lie in links (0 to 1].
    pub max_link_share: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { max_link_share: 0.5 }
    }
}

static LINK: LazyLock<Pattern> =
    LazyLock::new(|| Pattern::new(r#"(?:\bhttps?://|\bftp://|\bwww\.)[^\s<>"'()\[\]]+"#));

pub(super) fn check(body: &Body, options: &Options) -> Option<String> {
    body.fields().find_map(|(name, text)| {
        let linked: usize = LINK.find_iter(text).map(|link| letters(&link)).sum();
        let share = linked as f64 / letters(text).max(1) as f64;
        (share > options.max_link_share).then(|| format!("{:.0} % of {name} are links", 100.0 * share))
    })
}

fn letters(text: &str) -> usize {
    text.chars().filter(|c| c.is_alphanumeric()).count()
}

#[cfg(test)]
mod tests {
    use super::super::testing::alpaca;
    use super::*;

    fn found(text: &str) -> bool {
        check(&alpaca("Summarise the article.", text, "It is about bees."), &Options::default()).is_some()
    }

    #[test]
    fn fields_of_links_are_found() {
        assert!(found("https://www.nytimes.com/2020/08/22/world/news.html"));
        assert!(found("Link: https://en.wikipedia.org/wiki/Bee"));
        assert!(found("1. www.bees.org/about-us\n2. https://honey.example.com/shop"));
    }

    #[test]
    fn links_within_text_stay() {
        assert!(!found("The museum (www.museum.org) opens at nine and closes at five in the afternoon."));
        assert!(!found(""));
        assert!(!found("3.14 and e.g. this"));
    }

    #[test]
    fn the_share_can_be_tuned() {
        let body = alpaca("Do it.", "See www.museum.org for the opening hours of today.", "Fine.");
        assert!(check(&body, &Options { max_link_share: 0.1 }).is_some());
        assert!(check(&body, &Options { max_link_share: 1.0 }).is_none());
    }
}
