//! Characters that are no text: traces of a broken encoding or a copied binary.

use super::{Rule, RuleDescriptor};
use crate::example::Body;

pub(super) const DESCRIPTOR: RuleDescriptor = RuleDescriptor {
    rule: Rule::ControlCharacters,
    drops: "control characters, U+FFFD and other characters that are no text",
    defaults: "true",
};

pub(super) fn check(body: &Body) -> Option<String> {
    body.fields().find_map(|(name, text)| {
        let bad = text.chars().find(|&c| is_no_text(c))?;
        Some(format!("{name} holds U+{:04X}", u32::from(bad)))
    })
}

/// C0 and C1 controls but tab and line ends, the replacement character, private use, non-characters.
fn is_no_text(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' => false,
        ' '..='~' => false,
        '\u{fffd}' | '\u{fff9}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'.. => true,
        _ => c.is_control() || u32::from(c) & 0xfffe == 0xfffe || ('\u{fdd0}'..='\u{fdef}').contains(&c),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::alpaca;
    use super::*;

    #[test]
    fn each_kind_is_found_and_named() {
        for (bad, name) in [
            ("\u{1}", "U+0001"),
            ("\u{7f}", "U+007F"),
            ("\u{85}", "U+0085"),
            ("\u{fffd}", "U+FFFD"),
            ("\u{f0b7}", "U+F0B7"),
            ("\u{ffff}", "U+FFFF"),
        ] {
            assert_eq!(check(&alpaca("a", "", &format!("x{bad}y"))).unwrap(), format!("output holds {name}"));
        }
    }

    #[test]
    fn text_of_any_script_is_text() {
        let text = "tab\tline\r\n «ёлка» 漢字 हिन्दी ‏עברית 👩‍👩‍👧 e\u{301} zero\u{200b}width";
        assert_eq!(check(&alpaca(text, text, text)), None);
    }
}
