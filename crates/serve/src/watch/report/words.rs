//! The words of the report, English and Russian.

/// The language that a report is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    English,
    Russian,
}

impl Language {
    pub const ALL: [Self; 2] = [Self::English, Self::Russian];

    pub fn named(code: Option<&str>) -> Self {
        if code == Some("ru") { Self::Russian } else { Self::English }
    }

    /// For `lang`.
    pub fn code(self) -> &'static str {
        ["en", "ru"][self as usize]
    }

    /// One of two texts.
    pub fn of(self, texts: [&'static str; 2]) -> &'static str {
        texts[self as usize]
    }

    /// A figure as the language writes it.
    pub fn number(self, text: &str) -> String {
        match self {
            Self::English => text.to_string(),
            Self::Russian => text.replace('.', ","),
        }
    }
}

pub const TITLE: [&str; 2] = ["Report card", "Табель"];
pub const MEASURES_TITLE: [&str; 2] = ["Measures", "Показатели"];
pub const MEASURE: [&str; 2] = ["measure", "показатель"];
pub const BASE: [&str; 2] = ["base", "исходная"];
pub const TUNED: [&str; 2] = ["tuned", "обученная"];
pub const BARS: [&str; 2] = ["side by side", "рядом"];
pub const INTERVALS: [&str; 2] = [
    "In brackets: 95 % confidence intervals (Wilson), the thin line across a bar.",
    "В скобках: доверительные интервалы 95 % (Уилсон), тонкая черта на полосе.",
];
pub const CONTROL_TITLE: [&str; 2] = ["Control", "Контроль"];
pub const CONTROL: [&str; 2] = [
    "Bit for bit, over {logits} logits of {prompts} prompts:",
    "Побитно, по {logits} логитам {prompts} запросов:",
];
pub const ZERO_ADAPTER: [&str; 2] =
    ["a fresh adapter (B zero) equals the base", "новый адаптер (B из нулей) равен исходной модели"];
pub const BASE_SIDE: [&str; 2] = [
    "the base side beside the adapter equals the base",
    "исходная сторона рядом с адаптером равна исходной модели",
];
pub const CHANGES: [&str; 2] = ["the adapter changes something", "адаптер что-то меняет"];
pub const YES: [&str; 2] = ["yes", "да"];
pub const NO: [&str; 2] = ["NO", "НЕТ"];
pub const REPLIES_TITLE: [&str; 2] = ["Replies", "Ответы"];
pub const REFERENCE: [&str; 2] = ["reference", "образец"];
pub const EMPTY: [&str; 2] = ["(empty)", "(пусто)"];
pub const LOSS_TITLE: [&str; 2] = ["Training", "Обучение"];
pub const LOSS_NOTE: [&str; 2] = [
    "Thin: each step; line: running mean; dots: loss on held-out examples.",
    "Тонкая линия: каждый шаг; толстая: скользящее среднее; точки: потери на отложенных примерах.",
];
pub const BASE_MODEL: [&str; 2] = ["base model", "исходная модель"];
pub const ADAPTER: [&str; 2] = ["adapter", "адаптер"];
pub const LANGUAGE: [&str; 2] = ["language", "язык"];
pub const TEMPLATE: [&str; 2] = ["prompt template", "шаблон запроса"];
pub const DECODING: [&str; 2] = ["replies", "ответы"];
pub const EXAMPLES: [&str; 2] = ["held-out examples", "отложенных примеров"];
pub const SKIPPED: [&str; 2] = ["left out or cut", "пропущено или обрезано"];
pub const TIME: [&str; 2] = ["time", "время"];
pub const SECONDS: [&str; 2] = ["s", "с"];

/// A measure's title in Russian, by its name in `tolmach_eval::MEASURES`.
pub fn russian_measure(name: &str) -> Option<&'static str> {
    Some(match name {
        "exact_match" => "точные ответы, %",
        "target_language" => "ответы на целевом языке, %",
        "bits_per_byte" => "бит на байт ответов или текстов",
        "text_bits_per_byte" => "бит на байт связного текста",
        "stop_rate" => "ответы, которые заканчиваются сами, %",
        "repetition_rate" => "зацикленные ответы, %",
        "rep_4" => "повторы четвёрок токенов в ответе, %",
        "empty_rate" => "пустые ответы, %",
        "reply_tokens" => "средняя длина ответа, токенов",
        "source_exact_match" => "исходный язык: точные ответы, %",
        "source_language" => "исходный язык: ответы на нём, %",
        "source_bits_per_byte" => "исходный язык: бит на байт ответов или текстов",
        "source_text_bits_per_byte" => "исходный язык: бит на байт связного текста",
        "source_stop_rate" => "исходный язык: ответы, которые заканчиваются сами, %",
        "source_repetition_rate" => "исходный язык: зацикленные ответы, %",
        "source_rep_4" => "исходный язык: повторы четвёрок токенов в ответе, %",
        "source_empty_rate" => "исходный язык: пустые ответы, %",
        "source_reply_tokens" => "исходный язык: средняя длина ответа, токенов",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_measure_has_a_russian_title() {
        for measure in tolmach_eval::MEASURES {
            assert!(super::russian_measure(measure.name).is_some(), "{}", measure.name);
        }
    }
}
