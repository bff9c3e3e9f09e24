//! What is known of a language: its script, its name, its commonest words.

use whichlang::Lang;

/// A writing system, as far as cleaning must tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Script {
    Latin,
    Cyrillic,
    Greek,
    Arabic,
    Hebrew,
    Devanagari,
    Bengali,
    Tamil,
    Armenian,
    Georgian,
    Thai,
    Hangul,
    /// Chinese characters.
    Han,
    /// Hiragana and katakana.
    Kana,
    Other,
}

impl Script {
    /// `None` for what is no letter.
    pub fn of(c: char) -> Option<Script> {
        if c.is_ascii() {
            return c.is_ascii_alphabetic().then_some(Script::Latin);
        }
        if !c.is_alphabetic() {
            return None;
        }
        Some(match u32::from(c) {
            0x00aa..=0x024f | 0x0250..=0x02af | 0x1e00..=0x1eff | 0xff21..=0xff5a => Script::Latin,
            0x0370..=0x03ff | 0x1f00..=0x1fff => Script::Greek,
            0x0400..=0x052f | 0x1c80..=0x1c8f | 0x2de0..=0x2dff => Script::Cyrillic,
            0x0531..=0x0588 => Script::Armenian,
            0x0590..=0x05ff => Script::Hebrew,
            0x0600..=0x06ff | 0x0750..=0x077f | 0xfb50..=0xfdff | 0xfe70..=0xfeff => Script::Arabic,
            0x0900..=0x097f => Script::Devanagari,
            0x0980..=0x09ff => Script::Bengali,
            0x0b80..=0x0bff => Script::Tamil,
            0x0e00..=0x0e7f => Script::Thai,
            0x10a0..=0x10ff | 0x1c90..=0x1cbf => Script::Georgian,
            0x1100..=0x11ff | 0x3130..=0x318f | 0xac00..=0xd7af => Script::Hangul,
            0x3040..=0x30ff | 0x31f0..=0x31ff => Script::Kana,
            0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff => Script::Han,
            _ => Script::Other,
        })
    }
}

/// A language that cleaning knows something about.
#[derive(Debug)]
pub struct Language {
    /// ISO 639-1 code.
    pub code: &'static str,
    /// English name.
    pub name: &'static str,
    pub scripts: &'static [Script],
    /// Its commonest function words; empty where the script alone tells enough.
    pub common_words: &'static [&'static str],
}

impl Language {
    /// By code; a region is ignored (`pt-BR`).
    pub fn find(code: &str) -> Option<&'static Language> {
        let main = code.split(['-', '_']).next().unwrap_or(code).to_ascii_lowercase();
        LANGUAGES.iter().find(|language| language.code == main)
    }

    /// What whichlang takes `text` for. It knows 16 languages and always names one of them.
    pub fn detect(text: &str) -> Option<&'static Language> {
        Language::find(match whichlang::detect_language(text) {
            Lang::Ara => "ar",
            Lang::Cmn => "zh",
            Lang::Deu => "de",
            Lang::Eng => "en",
            Lang::Fra => "fr",
            Lang::Hin => "hi",
            Lang::Ita => "it",
            Lang::Jpn => "ja",
            Lang::Kor => "ko",
            Lang::Nld => "nl",
            Lang::Por => "pt",
            Lang::Rus => "ru",
            Lang::Spa => "es",
            Lang::Swe => "sv",
            Lang::Tur => "tr",
            Lang::Vie => "vi",
        })
    }

    /// Share of the words of `text` that are common words of this language.
    pub fn common_share(&self, text: &str) -> f64 {
        let (mut words, mut common) = (0usize, 0usize);
        for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
            words += 1;
            common += usize::from(self.common_words.iter().any(|known| known.eq_ignore_ascii_case(word)));
        }
        if words == 0 { 0.0 } else { common as f64 / words as f64 }
    }

    /// As [`Self::common_share`], but sure not to take a list of names for running text: capitalised
    /// words do not count ("Los Angeles", "La Paz"), and it takes two different ones.
    pub(crate) fn running_share(&self, text: &str) -> f64 {
        let (mut words, mut common) = (0usize, 0usize);
        let (mut first, mut different) = (None, false);
        for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
            words += 1;
            if self.common_words.contains(&word) {
                common += 1;
                different |= *first.get_or_insert(word) != word;
            }
        }
        if different { common as f64 / words as f64 } else { 0.0 }
    }
}

const fn language(
    code: &'static str,
    name: &'static str,
    scripts: &'static [Script],
    common_words: &'static [&'static str],
) -> Language {
    Language { code, name, scripts, common_words }
}

use Script::{
    Arabic, Armenian, Bengali, Cyrillic, Devanagari, Georgian, Greek, Han, Hangul, Hebrew, Kana, Latin,
    Tamil, Thai,
};

pub(crate) static LANGUAGES: &[Language] = &[
    language("ar", "Arabic", &[Arabic], &[]),
    language("be", "Belarusian", &[Cyrillic], &[]),
    language("bg", "Bulgarian", &[Cyrillic], &[]),
    language("bn", "Bengali", &[Bengali], &[]),
    language("ca", "Catalan", &[Latin], &[]),
    language("cs", "Czech", &[Latin], &[]),
    language("da", "Danish", &[Latin], &[]),
    language(
        "de",
        "German",
        &[Latin],
        &[
            "der", "die", "das", "und", "ist", "nicht", "ein", "eine", "einen", "zu", "den", "dem", "mit",
            "für", "auf", "von", "ich", "sie", "es", "wir", "auch", "sich", "im", "sind", "wird", "als",
            "dass", "werden",
        ],
    ),
    language("el", "Greek", &[Greek], &[]),
    language(
        "en",
        "English",
        &[Latin],
        &[
            "the", "of", "and", "to", "a", "in", "is", "that", "for", "it", "as", "with", "on", "are", "be",
            "this", "by", "or", "you", "i", "not", "from", "an", "have", "was", "we", "they", "your", "can",
            "at", "he", "she", "his", "her", "their", "my", "what", "how", "will",
        ],
    ),
    language(
        "es",
        "Spanish",
        &[Latin],
        &[
            "el", "la", "los", "las", "de", "del", "y", "que", "en", "es", "un", "una", "por", "con", "para",
            "no", "se", "su", "al", "lo", "como", "más", "está", "son", "mi", "yo", "tu", "muy",
        ],
    ),
    language("et", "Estonian", &[Latin], &[]),
    language("eu", "Basque", &[Latin], &[]),
    language("fa", "Persian", &[Arabic], &[]),
    language("fi", "Finnish", &[Latin], &[]),
    language(
        "fr",
        "French",
        &[Latin],
        &[
            "le", "la", "les", "de", "des", "du", "et", "est", "un", "une", "que", "qui", "dans", "pour",
            "pas", "sur", "au", "avec", "je", "il", "elle", "nous", "vous", "ce", "ne", "son", "sont", "en",
            "d", "l",
        ],
    ),
    language("he", "Hebrew", &[Hebrew], &[]),
    language("hi", "Hindi", &[Devanagari], &[]),
    language("hr", "Croatian", &[Latin], &[]),
    language("hu", "Hungarian", &[Latin], &[]),
    language("hy", "Armenian", &[Armenian], &[]),
    language("id", "Indonesian", &[Latin], &[]),
    language(
        "it",
        "Italian",
        &[Latin],
        &[
            "il", "la", "lo", "gli", "le", "di", "del", "della", "e", "è", "che", "un", "una", "per", "con",
            "non", "in", "si", "da", "sono", "come", "anche", "più", "mi", "ti", "questo",
        ],
    ),
    language("ja", "Japanese", &[Kana, Han], &[]),
    language("ka", "Georgian", &[Georgian], &[]),
    language("kk", "Kazakh", &[Cyrillic], &[]),
    language("ko", "Korean", &[Hangul], &[]),
    language("ky", "Kyrgyz", &[Cyrillic], &[]),
    language("la", "Latin", &[Latin], &[]),
    language("lt", "Lithuanian", &[Latin], &[]),
    language("lv", "Latvian", &[Latin], &[]),
    language("mk", "Macedonian", &[Cyrillic], &[]),
    language("mn", "Mongolian", &[Cyrillic], &[]),
    language("mr", "Marathi", &[Devanagari], &[]),
    language("ms", "Malay", &[Latin], &[]),
    language(
        "nl",
        "Dutch",
        &[Latin],
        &[
            "de", "het", "een", "en", "van", "is", "dat", "niet", "te", "op", "voor", "met", "zijn", "ik",
            "je", "hij", "aan", "ook", "om", "maar", "wordt", "deze", "bij", "naar",
        ],
    ),
    language("no", "Norwegian", &[Latin], &[]),
    language("pl", "Polish", &[Latin], &[]),
    language(
        "pt",
        "Portuguese",
        &[Latin],
        &[
            "o", "os", "a", "as", "de", "do", "da", "dos", "das", "e", "é", "que", "em", "um", "uma", "para",
            "com", "não", "se", "por", "mais", "como", "ao", "no", "na", "eu", "você", "são",
        ],
    ),
    language("ro", "Romanian", &[Latin], &[]),
    language("ru", "Russian", &[Cyrillic], &[]),
    language("sk", "Slovak", &[Latin], &[]),
    language("sl", "Slovenian", &[Latin], &[]),
    language("sr", "Serbian", &[Cyrillic, Latin], &[]),
    language(
        "sv",
        "Swedish",
        &[Latin],
        &[
            "och", "att", "det", "som", "en", "ett", "är", "på", "av", "för", "med", "till", "inte", "den",
            "har", "jag", "de", "om", "var", "från", "vi", "du", "kan",
        ],
    ),
    language("sw", "Swahili", &[Latin], &[]),
    language("ta", "Tamil", &[Tamil], &[]),
    language("th", "Thai", &[Thai], &[]),
    language("tl", "Tagalog", &[Latin], &[]),
    language(
        "tr",
        "Turkish",
        &[Latin],
        &[
            "ve", "bir", "bu", "da", "de", "için", "ile", "çok", "ne", "ben", "o", "var", "olarak", "daha",
            "gibi", "değil",
        ],
    ),
    language("tt", "Tatar", &[Cyrillic], &[]),
    language("uk", "Ukrainian", &[Cyrillic], &[]),
    language("ur", "Urdu", &[Arabic], &[]),
    language("uz", "Uzbek", &[Latin, Cyrillic], &[]),
    language(
        "vi",
        "Vietnamese",
        &[Latin],
        &[
            "và", "là", "của", "có", "không", "một", "trong", "được", "cho", "các", "tôi", "những", "với",
            "này", "để",
        ],
    ),
    language("zh", "Chinese", &[Han], &[]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_sorted_and_found_with_a_region() {
        assert!(LANGUAGES.is_sorted_by(|a, b| a.code < b.code));
        assert_eq!(Language::find("pt-BR").unwrap().name, "Portuguese");
        assert_eq!(Language::find("EN").unwrap().name, "English");
        assert!(Language::find("xx").is_none());
    }

    #[test]
    fn letters_have_their_script() {
        for (text, script) in
            [("aé", Latin), ("яЁ", Cyrillic), ("λ", Greek), ("漢", Han), ("かカ", Kana), ("한", Hangul)]
        {
            assert!(text.chars().all(|c| Script::of(c) == Some(script)), "{text}");
        }
        assert_eq!(Script::of('1'), None);
        assert_eq!(Script::of('€'), None);
    }
}
