//! The translation memory: what the segments of the training rows are in Russian.

use super::rows::Row;
use super::wording::{Bilingual, both};
use anyhow::{Result, bail};
use std::collections::HashMap;
use std::fmt::Write;

/// One unit for each different segment of `rows`, in the order of their first occurrence. A segment
/// is one line of a field.
///
/// # Errors
/// A segment would need two different translations (case does not tell segments apart here:
/// an engine may fold it), or a field's lines do not pair up.
pub fn build<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Result<Vec<Bilingual>> {
    let mut units: Vec<Bilingual> = Vec::new();
    let mut known: HashMap<String, String> = HashMap::new();
    for row in rows {
        for ((name, en), (_, ru)) in row.en.each().into_iter().zip(row.ru.each()) {
            let (en, ru): (Vec<&str>, Vec<&str>) = (en.lines().collect(), ru.lines().collect());
            if en.len() != ru.len() {
                bail!("{}: the {name} has {} lines in English and {} in Russian", row.id, en.len(), ru.len());
            }
            for (en, ru) in en.into_iter().zip(ru) {
                if en.is_empty() {
                    continue;
                }
                let key = en.to_lowercase();
                let target = known.entry(key).or_insert_with(|| {
                    units.push(both(en, ru));
                    ru.to_string()
                });
                if target != ru {
                    bail!("{}: {en:?} is both {target:?} and {ru:?}", row.id);
                }
            }
        }
    }
    Ok(units)
}

/// The units as TMX 1.4.
pub fn to_tmx(units: &[Bilingual]) -> String {
    let mut tmx = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<tmx version=\"1.4\">\n<header creationtool=\"xtask\" \
         creationtoolversion=\"1\" segtype=\"paragraph\" o-tmf=\"none\" adminlang=\"en\" srclang=\"en\" \
         datatype=\"plaintext\"/>\n<body>\n",
    );
    for unit in units {
        let (en, ru) = (escaped(&unit.en), escaped(&unit.ru));
        // Writing to a String cannot fail.
        let _ = writeln!(
            tmx,
            "<tu><tuv xml:lang=\"en\"><seg>{en}</seg></tuv><tuv xml:lang=\"ru\"><seg>{ru}</seg></tuv></tu>"
        );
    }
    tmx.push_str("</body>\n</tmx>\n");
    tmx
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::rows::Fields;

    fn row(en: [&str; 3], ru: [&str; 3]) -> Row {
        let fields = |[instruction, input, output]: [&str; 3]| Fields {
            instruction: instruction.into(),
            input: input.into(),
            output: output.into(),
        };
        Row { id: "r".into(), kind: "k", en: fields(en), ru: fields(ru) }
    }

    #[test]
    fn each_line_is_one_unit_and_comes_once() {
        let rows = [
            row(["Go.", "", "one\ntwo"], ["Иди.", "", "один\nдва"]),
            row(["Go.", "", "two"], ["Иди.", "", "два"]),
        ];
        let units = build(&rows).unwrap();
        assert_eq!(units, [both("Go.", "Иди."), both("one", "один"), both("two", "два")]);
    }

    #[test]
    fn a_segment_with_two_translations_is_refused() {
        let rows = [
            row(["Go.", "", "light"], ["Иди.", "", "свет"]),
            row(["Run.", "", "Light"], ["Беги.", "", "лёгкий"]),
        ];
        let error = build(&rows).unwrap_err().to_string();
        assert!(error.contains("свет") && error.contains("лёгкий"), "{error}");
    }

    #[test]
    fn lines_that_do_not_pair_up_are_refused() {
        let error = build(&[row(["Go.", "", "a\nb"], ["Иди.", "", "а"])]).unwrap_err().to_string();
        assert!(error.contains("2 lines in English and 1 in Russian"), "{error}");
    }

    #[test]
    fn tmx_escapes_what_xml_needs() {
        assert!(to_tmx(&[both("a < b & c", "а")]).contains("<seg>a &lt; b &amp; c</seg>"));
    }
}
