//! What the user can switch and tune: the `[clean]` section of a recipe.

use crate::error::Error;
use crate::rules::Rule;
use crate::rules::{about_language, code, links_only, markup, mentions_translation};
use crate::rules::{near_duplicates, too_long, wrong_language};
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// The `[clean]` section. Every rule is on by default; `rule = false` switches it off, and where a
/// rule has settings `rule = { setting = value }` tunes it.
///
/// ```toml
/// [clean]
/// code = false
/// too_long = { max_field_chars = 1000, max_total_chars = 2000 }
/// about_language = { phrases = ["crossword"] }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CleanConfig {
    /// Mend what cannot be seen: line ends, byte order marks, invisible characters, odd spaces.
    pub repair: bool,
    /// How many dropped examples of each rule the report shows.
    pub report_examples: usize,
    pub empty: bool,
    pub markers: bool,
    pub control_characters: bool,
    pub too_long: Switch<too_long::Options>,
    pub wrong_language: Switch<wrong_language::Options>,
    pub mentions_translation: Switch<mentions_translation::Options>,
    pub code: Switch<code::Options>,
    pub markup: Switch<markup::Options>,
    pub links_only: Switch<links_only::Options>,
    pub about_language: Switch<about_language::Options>,
    pub duplicates: bool,
    pub near_duplicates: Switch<near_duplicates::Options>,
}

impl Default for CleanConfig {
    fn default() -> Self {
        Self {
            repair: true,
            report_examples: 3,
            empty: true,
            markers: true,
            control_characters: true,
            too_long: Switch::default(),
            wrong_language: Switch::default(),
            mentions_translation: Switch::default(),
            code: Switch::default(),
            markup: Switch::default(),
            links_only: Switch::default(),
            about_language: Switch::default(),
            duplicates: true,
            near_duplicates: Switch::default(),
        }
    }
}

impl CleanConfig {
    /// Switch one rule. A rule that was off comes on with its defaults.
    pub fn set(&mut self, rule: Rule, on: bool) {
        match rule {
            Rule::Empty => self.empty = on,
            Rule::Markers => self.markers = on,
            Rule::ControlCharacters => self.control_characters = on,
            Rule::TooLong => self.too_long.set(on),
            Rule::WrongLanguage => self.wrong_language.set(on),
            Rule::MentionsTranslation => self.mentions_translation.set(on),
            Rule::Code => self.code.set(on),
            Rule::Markup => self.markup.set(on),
            Rule::LinksOnly => self.links_only.set(on),
            Rule::AboutLanguage => self.about_language.set(on),
            Rule::Duplicates => self.duplicates = on,
            Rule::NearDuplicates => self.near_duplicates.set(on),
        }
    }

    /// Whether a rule is on.
    pub fn is_on(&self, rule: Rule) -> bool {
        match rule {
            Rule::Empty => self.empty,
            Rule::Markers => self.markers,
            Rule::ControlCharacters => self.control_characters,
            Rule::TooLong => self.too_long.options().is_some(),
            Rule::WrongLanguage => self.wrong_language.options().is_some(),
            Rule::MentionsTranslation => self.mentions_translation.options().is_some(),
            Rule::Code => self.code.options().is_some(),
            Rule::Markup => self.markup.options().is_some(),
            Rule::LinksOnly => self.links_only.options().is_some(),
            Rule::AboutLanguage => self.about_language.options().is_some(),
            Rule::Duplicates => self.duplicates,
            Rule::NearDuplicates => self.near_duplicates.options().is_some(),
        }
    }

    /// Refuse values that make no sense, before anything starts.
    ///
    /// # Errors
    /// [`Error::Config`] names the setting, its value and what is allowed.
    pub fn validate(&self) -> Result<(), Error> {
        let share = |key, value: f64| {
            let expected = "a number above 0 and at most 1";
            let good = value > 0.0 && value <= 1.0;
            if good { Ok(()) } else { Err(Error::Config { key, found: value.to_string(), expected }) }
        };
        let positive = |key, value: usize| {
            let expected = "a whole number of at least 1";
            if value > 0 { Ok(()) } else { Err(Error::Config { key, found: value.to_string(), expected }) }
        };
        if let Some(options) = self.too_long.options() {
            positive("too_long.max_field_chars", options.max_field_chars)?;
            positive("too_long.max_total_chars", options.max_total_chars)?;
        }
        if let Some(options) = self.wrong_language.options() {
            share("wrong_language.max_foreign_share", options.max_foreign_share)?;
            positive("wrong_language.min_letters", options.min_letters)?;
        }
        if let Some(options) = self.code.options() {
            positive("code.min_score", options.min_score)?;
        }
        if let Some(options) = self.links_only.options() {
            share("links_only.max_link_share", options.max_link_share)?;
        }
        if let Some(options) = self.near_duplicates.options() {
            share("near_duplicates.similarity", options.similarity)?;
        }
        Ok(())
    }
}

/// A rule with settings: off, or on with them. Written `false`, `true` or a table of settings.
#[derive(Clone, Debug, PartialEq)]
pub enum Switch<T> {
    Off,
    On(T),
}

impl<T> Switch<T> {
    /// The settings, if the rule is on.
    pub fn options(&self) -> Option<&T> {
        match self {
            Self::Off => None,
            Self::On(options) => Some(options),
        }
    }
}

impl<T: Default> Switch<T> {
    /// The settings to change, switching the rule on if it was off.
    pub fn options_mut(&mut self) -> &mut T {
        if let Self::Off = self {
            *self = Self::default();
        }
        match self {
            Self::On(options) => options,
            Self::Off => unreachable!("switched on above"),
        }
    }

    fn set(&mut self, on: bool) {
        match (on, &self) {
            (true, Self::Off) => *self = Self::default(),
            (true, Self::On(_)) => {}
            (false, _) => *self = Self::Off,
        }
    }
}

impl<T: Default> Default for Switch<T> {
    fn default() -> Self {
        Self::On(T::default())
    }
}

impl<T: Serialize> Serialize for Switch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_bool(false),
            Self::On(options) => options.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Switch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SwitchVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for SwitchVisitor<T> {
            type Value = Switch<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("true, false or a table of settings")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Self::Value, E> {
                Ok(if on { Switch::default() } else { Switch::Off })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Switch::On)
            }
        }

        deserializer.deserialize_any(SwitchVisitor(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RULES;
    use serde_json::json;

    fn parse(value: serde_json::Value) -> Result<CleanConfig, String> {
        serde_json::from_value(value).map_err(|e| e.to_string())
    }

    #[test]
    fn a_rule_is_written_as_a_boolean_or_as_its_settings() {
        let config =
            parse(json!({"code": false, "markup": true, "too_long": {"max_field_chars": 10}})).unwrap();
        assert_eq!(config.code, Switch::Off);
        assert_eq!(config.markup, Switch::default());
        let too_long = config.too_long.options().unwrap();
        assert_eq!(too_long.max_field_chars, 10);
        assert_eq!(too_long.max_total_chars, too_long::Options::default().max_total_chars);
    }

    #[test]
    fn a_saved_config_reads_back() {
        let mut config = CleanConfig::default();
        config.set(Rule::Code, false);
        config.about_language.options_mut().phrases.push("riddle".into());
        assert_eq!(parse(serde_json::to_value(&config).unwrap()).unwrap(), config);
    }

    #[test]
    fn unknown_rules_and_settings_are_refused() {
        assert!(parse(json!({"kode": false})).unwrap_err().contains("unknown field `kode`"));
        assert!(parse(json!({"too_long": {"max": 1}})).unwrap_err().contains("unknown field `max`"));
        assert!(parse(json!({"code": 3})).unwrap_err().contains("true, false or a table of settings"));
    }

    #[test]
    fn every_rule_can_be_switched() {
        for descriptor in RULES {
            let mut config = CleanConfig::default();
            config.set(descriptor.rule, false);
            let off: Vec<_> = RULES.iter().filter(|d| !config.is_on(d.rule)).map(|d| d.rule).collect();
            assert_eq!(off, [descriptor.rule]);
            config.set(descriptor.rule, true);
            assert_eq!(config, CleanConfig::default());
        }
    }

    #[test]
    fn listed_defaults_are_the_real_ones() {
        let real = serde_json::to_value(CleanConfig::default()).unwrap();
        for descriptor in RULES {
            let line = format!("{} = {}", descriptor.rule, descriptor.defaults);
            assert_eq!(toml::from_str::<CleanConfig>(&line).unwrap(), CleanConfig::default(), "{line}");
            let settings = real[descriptor.rule.name()].as_object().into_iter().flat_map(|o| o.keys());
            settings
                .for_each(|key| assert!(line.contains(&format!("{key} = ")), "{key} is missing in {line}"));
        }
    }

    #[test]
    fn senseless_values_are_named() {
        CleanConfig::default().validate().unwrap();
        let mut config = CleanConfig::default();
        config.near_duplicates.options_mut().similarity = 1.5;
        let error = config.validate().unwrap_err().to_string();
        assert_eq!(
            error,
            "[clean] near_duplicates.similarity = 1.5: expected a number above 0 and at most 1"
        );
        let mut config = CleanConfig::default();
        config.too_long.options_mut().max_field_chars = 0;
        assert!(config.validate().is_err());
    }
}
