//! The engines by name, and what is known of each service: limits, price, where its key usually lies.

use crate::engine::{Limits, Price};
use serde::{Deserialize, Serialize};

/// Who translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// A translation memory, looked up exactly.
    Memory,
    /// An OPUS-MT, M2M100 or NLLB model, run here.
    Marian,
    /// Yandex Cloud Translate, v2.
    Yandex,
    /// Google Cloud Translation, Basic (v2).
    Google,
    /// The DeepL API.
    DeepL,
    /// A LibreTranslate server.
    LibreTranslate,
    /// A chat model behind OpenAI's protocol.
    OpenAi,
    /// Any service that takes one text.
    Http,
}

impl EngineKind {
    pub const ALL: [EngineKind; 8] = [
        EngineKind::Memory,
        EngineKind::Marian,
        EngineKind::Yandex,
        EngineKind::Google,
        EngineKind::DeepL,
        EngineKind::LibreTranslate,
        EngineKind::OpenAi,
        EngineKind::Http,
    ];

    pub fn name(self) -> &'static str {
        match self {
            EngineKind::Memory => "memory",
            EngineKind::Marian => "marian",
            EngineKind::Yandex => "yandex",
            EngineKind::Google => "google",
            EngineKind::DeepL => "deepl",
            EngineKind::LibreTranslate => "libretranslate",
            EngineKind::OpenAi => "openai",
            EngineKind::Http => "http",
        }
    }

    /// The environment variable where its key is looked for, if the recipe names none.
    pub fn usual_key_variable(self) -> Option<&'static str> {
        match self {
            EngineKind::Yandex => Some("YANDEX_API_KEY"),
            EngineKind::Google => Some("GOOGLE_API_KEY"),
            EngineKind::DeepL => Some("DEEPL_API_KEY"),
            EngineKind::OpenAi => Some("OPENAI_API_KEY"),
            EngineKind::Memory | EngineKind::Marian | EngineKind::LibreTranslate | EngineKind::Http => None,
        }
    }

    /// What its documentation allows, or what is decent where it says nothing.
    pub fn limits(self) -> Limits {
        let of = |characters, segments| Limits { characters, segments, concurrency: 4, ..Limits::UNLIMITED };
        match self {
            // They know their own.
            EngineKind::Memory | EngineKind::Marian => Limits::UNLIMITED,
            // 1,000,000 characters per hour: the start and the hour after it together stay below.
            EngineKind::Yandex => Limits {
                requests_per_second: Some(20.0),
                characters_per_second: Some(800_000.0 / 3600.0),
                character_burst: 200_000,
                ..of(10_000, 100)
            },
            // 6,000,000 characters per minute.
            EngineKind::Google => Limits { characters_per_second: Some(100_000.0), ..of(5_000, 128) },
            // 128 KiB: four bytes for each character, and room for quotes.
            EngineKind::DeepL => of(30_000, 50),
            EngineKind::LibreTranslate => of(2_000, 50),
            EngineKind::OpenAi => of(4_000, 40),
            EngineKind::Http => Limits { concurrency: 1, requests_per_second: Some(1.0), ..of(2_000, 100) },
        }
    }

    /// The list price as it was found in November 2026, without monthly fees and free allowances; recipes say
    /// otherwise with `price_per_million`. `None` where there is none, or none that we know.
    ///
    /// - Yandex: 3.93 USD, <https://yandex.cloud/en/docs/translate/pricing> as cited on 2026-06-13; in other
    ///   regions the list is in roubles or tenge.
    /// - Google: 20 USD beyond the first 500,000 characters a month, <https://cloud.google.com/translate/pricing>.
    /// - DeepL: API Pro in 2026, 25 USD (20 EUR in the euro zone) and a monthly fee of about 5,
    ///   <https://support.deepl.com/hc/en-us/articles/360020685720>, <https://www.deepl.com/pro-api>.
    pub fn price(self) -> Option<Price> {
        let usd = |per_million| Some(Price { per_million, currency: "USD".to_string() });
        match self {
            EngineKind::Yandex => usd(3.93),
            EngineKind::Google => usd(20.0),
            EngineKind::DeepL => usd(25.0),
            // Free, or charged by the token, which depends on the model.
            EngineKind::Memory
            | EngineKind::Marian
            | EngineKind::LibreTranslate
            | EngineKind::OpenAi
            | EngineKind::Http => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_and_messages_name_an_engine_alike() {
        for kind in EngineKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
