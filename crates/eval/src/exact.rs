//! Exact match: the reply is the reference.

use unicode_normalization::UnicodeNormalization;

/// Whether a reply says exactly what the reference says. Letter case, one final period, white space at
/// the ends, the length of white space within, and the way accents are encoded (NFC) do not count;
/// everything else does.
pub fn exact_match(reply: &str, reference: &str) -> bool {
    normalise(reply) == normalise(reference)
}

fn normalise(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_suffix(['.', '。', '।']).unwrap_or(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    // Lower-casing can take a text out of NFC, so NFC comes last.
    words.join(" ").to_lowercase().nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_count() {
        for (reply, reference) in [
            (" Париж.\n", "париж"),
            ("ПАРИЖ", "Париж."),
            ("И\u{306}од", "Йод"), // decomposed
            ("Кошка  спит\nдома.", "Кошка спит дома."),
            ("東京。", "東京"),
            ("", " . "),
        ] {
            assert!(exact_match(reply, reference), "{reply:?} {reference:?}");
        }
    }

    #[test]
    fn what_counts() {
        for (reply, reference) in [
            ("Париж!", "Париж"),
            ("Париж..", "Париж"),
            ("Это Париж", "Париж"),
            ("елка", "ёлка"),
            ("3", "3,0"),
            ("", "Париж"),
            ("кошка спитдома", "кошка спит дома"),
        ] {
            assert!(!exact_match(reply, reference), "{reply:?} {reference:?}");
        }
    }
}
