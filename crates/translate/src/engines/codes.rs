//! The languages of a pair as each service names them.
//!
//! What the user writes is an IETF tag (`en`, `pt-BR`, `zh-Hant`, also `zh_TW`); services disagree about
//! Chinese, regions and a few renamed languages.

/// A tag in its parts: language in lower case, `Script`, `REGION`.
struct Tag {
    language: String,
    script: Option<String>,
    region: Option<String>,
}

impl Tag {
    fn parse(tag: &str) -> Self {
        let mut parts = tag.split(['-', '_']);
        let language = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut tag = Tag { language, script: None, region: None };
        for part in parts {
            match part.len() {
                4 => tag.script = Some(part.to_ascii_lowercase()),
                2 | 3 => tag.region = Some(part.to_ascii_uppercase()),
                _ => {}
            }
        }
        tag
    }

    fn region(&self) -> &str {
        self.region.as_deref().unwrap_or_default()
    }

    fn is_traditional_chinese(&self) -> bool {
        self.language == "zh"
            && match self.script.as_deref() {
                Some(script) => script == "hant",
                None => matches!(self.region(), "TW" | "HK" | "MO"),
            }
    }
}

/// Yandex: ISO 639-1 and a few of its own (`pt-BR`, `sr-Latn`, `uzbcyr`).
pub fn yandex(tag: &str) -> String {
    let parsed = Tag::parse(tag);
    match (parsed.language.as_str(), parsed.script.as_deref(), parsed.region()) {
        ("pt", _, "BR") => "pt-BR".to_string(),
        ("sr", Some("latn"), _) => "sr-Latn".to_string(),
        ("uz", Some("cyrl"), _) => "uzbcyr".to_string(),
        ("nb", ..) => "no".to_string(),
        ("fil", ..) => "tl".to_string(),
        _ => parsed.language,
    }
}

/// Google: ISO 639-1, Chinese by region, Portuguese of Portugal apart.
pub fn google(tag: &str) -> String {
    let parsed = Tag::parse(tag);
    match (parsed.language.as_str(), parsed.region()) {
        ("zh", _) if parsed.is_traditional_chinese() => "zh-TW".to_string(),
        ("zh", _) => "zh-CN".to_string(),
        ("pt", "PT") => "pt-PT".to_string(),
        ("fr", "CA") => "fr-CA".to_string(),
        ("nb", _) => "no".to_string(),
        ("fil", _) => "tl".to_string(),
        _ => parsed.language,
    }
}

/// DeepL, language translated from: without regions.
pub fn deepl_source(tag: &str) -> String {
    match Tag::parse(tag).language.as_str() {
        "no" => "NB".to_string(),
        language => language.to_ascii_uppercase(),
    }
}

/// DeepL, language translated into: English, Portuguese and Chinese by their variants.
pub fn deepl_target(tag: &str) -> String {
    let parsed = Tag::parse(tag);
    match (parsed.language.as_str(), parsed.region()) {
        ("en", "GB") => "EN-GB".to_string(),
        ("en", _) => "EN-US".to_string(),
        ("pt", "BR") => "PT-BR".to_string(),
        ("pt", _) => "PT-PT".to_string(),
        ("es", "419") => "ES-419".to_string(),
        ("zh", _) if parsed.is_traditional_chinese() => "ZH-HANT".to_string(),
        ("zh", _) => "ZH-HANS".to_string(),
        ("no", _) => "NB".to_string(),
        (language, _) => language.to_ascii_uppercase(),
    }
}

/// The English name of a language, for a prompt; the tag itself where there is none here.
pub fn english_name(tag: &str) -> String {
    let parsed = Tag::parse(tag);
    let name = match parsed.language.as_str() {
        "zh" if parsed.is_traditional_chinese() => return "Traditional Chinese".to_string(),
        "zh" => return "Simplified Chinese".to_string(),
        "pt" if parsed.region() == "BR" => return "Brazilian Portuguese".to_string(),
        language => NAMES.iter().find(|(code, _)| *code == language).map(|(_, name)| *name),
    };
    match (name, parsed.script.as_deref()) {
        (Some(name), Some("latn")) => format!("{name} in Latin script"),
        (Some(name), Some("cyrl")) => format!("{name} in Cyrillic script"),
        (Some(name), _) => name.to_string(),
        (None, _) => format!("the language with the code `{tag}`"),
    }
}

const NAMES: [(&str, &str); 57] = [
    ("ar", "Arabic"),
    ("az", "Azerbaijani"),
    ("ba", "Bashkir"),
    ("be", "Belarusian"),
    ("bg", "Bulgarian"),
    ("bn", "Bengali"),
    ("ca", "Catalan"),
    ("cs", "Czech"),
    ("cv", "Chuvash"),
    ("da", "Danish"),
    ("de", "German"),
    ("el", "Greek"),
    ("en", "English"),
    ("es", "Spanish"),
    ("et", "Estonian"),
    ("eu", "Basque"),
    ("fa", "Persian"),
    ("fi", "Finnish"),
    ("fr", "French"),
    ("ga", "Irish"),
    ("he", "Hebrew"),
    ("hi", "Hindi"),
    ("hr", "Croatian"),
    ("hu", "Hungarian"),
    ("hy", "Armenian"),
    ("id", "Indonesian"),
    ("is", "Icelandic"),
    ("it", "Italian"),
    ("ja", "Japanese"),
    ("ka", "Georgian"),
    ("kk", "Kazakh"),
    ("ko", "Korean"),
    ("ky", "Kyrgyz"),
    ("lt", "Lithuanian"),
    ("lv", "Latvian"),
    ("mn", "Mongolian"),
    ("nb", "Norwegian"),
    ("nl", "Dutch"),
    ("no", "Norwegian"),
    ("pl", "Polish"),
    ("pt", "Portuguese"),
    ("ro", "Romanian"),
    ("ru", "Russian"),
    ("sk", "Slovak"),
    ("sl", "Slovenian"),
    ("sr", "Serbian"),
    ("sv", "Swedish"),
    ("sw", "Swahili"),
    ("ta", "Tamil"),
    ("tg", "Tajik"),
    ("th", "Thai"),
    ("tr", "Turkish"),
    ("tt", "Tatar"),
    ("uk", "Ukrainian"),
    ("ur", "Urdu"),
    ("uz", "Uzbek"),
    ("vi", "Vietnamese"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_its_own_codes() {
        for (tag, in_yandex, in_google, source, target) in [
            ("ru", "ru", "ru", "RU", "RU"),
            ("en", "en", "en", "EN", "EN-US"),
            ("en-GB", "en", "en", "EN", "EN-GB"),
            ("pt_br", "pt-BR", "pt", "PT", "PT-BR"),
            ("pt", "pt", "pt", "PT", "PT-PT"),
            ("pt-PT", "pt", "pt-PT", "PT", "PT-PT"),
            ("zh", "zh", "zh-CN", "ZH", "ZH-HANS"),
            ("zh-Hant", "zh", "zh-TW", "ZH", "ZH-HANT"),
            ("zh_TW", "zh", "zh-TW", "ZH", "ZH-HANT"),
            ("zh-Hans-HK", "zh", "zh-CN", "ZH", "ZH-HANS"),
            ("sr-Latn", "sr-Latn", "sr", "SR", "SR"),
            ("nb", "no", "no", "NB", "NB"),
        ] {
            assert_eq!(yandex(tag), in_yandex, "yandex {tag}");
            assert_eq!(google(tag), in_google, "google {tag}");
            assert_eq!(deepl_source(tag), source, "deepl from {tag}");
            assert_eq!(deepl_target(tag), target, "deepl to {tag}");
        }
    }

    #[test]
    fn a_prompt_names_the_language() {
        assert_eq!(english_name("ru-RU"), "Russian");
        assert_eq!(english_name("sr-Latn"), "Serbian in Latin script");
        assert_eq!(english_name("xx"), "the language with the code `xx`");
    }
}
