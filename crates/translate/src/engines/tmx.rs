//! Reading TMX 1.4 (Translation Memory eXchange), one translation unit at a time.
//!
//! The text of a segment is what a reader sees: native codes (`<bpt>`, `<ept>`, `<it>`, `<ph>`, `<ut>`)
//! are dropped, highlighted text (`<hi>`) stays.

use crate::LanguagePair;
use crate::language::affinity;
use quick_xml::XmlVersion;
use quick_xml::events::{BytesRef, BytesStart, Event};
use std::io::BufRead;

/// What was wrong, and at which byte of the text.
#[derive(Debug)]
pub(crate) struct TmxError {
    pub offset: u64,
    pub message: String,
}

/// Call `unit(source, target)` for every translation unit that holds both languages, in order.
/// Returns how many units hold only others.
pub(crate) fn read_tmx(
    input: impl BufRead,
    pair: &LanguagePair,
    mut unit: impl FnMut(&str, &str),
) -> Result<usize, TmxError> {
    let mut xml = quick_xml::Reader::from_reader(input);
    let mut buffer = Vec::new();
    let mut state = State::default();
    let mut other_languages = 0;
    loop {
        buffer.clear();
        let event = xml.read_event_into(&mut buffer);
        let step = match event {
            Ok(Event::Eof) => break,
            Ok(event) => state.step(&event),
            Err(e) => Err(e.to_string()),
        };
        match step {
            Ok(Step::More) => {}
            Ok(Step::UnitDone) => match state.unit_for(pair) {
                Some((source, target)) => unit(source, target),
                None => other_languages += 1,
            },
            Err(message) => return Err(TmxError { offset: xml.buffer_position(), message }),
        }
    }
    if state.closed {
        Ok(other_languages)
    } else {
        let message = match state.root {
            true => "it ends before </tmx>: the file is cut off".to_string(),
            false => "it holds no <tmx> element".to_string(),
        };
        Err(TmxError { offset: xml.buffer_position(), message })
    }
}

enum Step {
    More,
    UnitDone,
}

#[derive(Default)]
struct State {
    root: bool,
    closed: bool,
    /// (language, text) of the variants of the unit being read.
    variants: Vec<(String, String)>,
    in_segment: bool,
    /// Depth of native codes within the segment.
    codes: usize,
}

impl State {
    fn step(&mut self, event: &Event<'_>) -> Result<Step, String> {
        match event {
            Event::Start(element) => self.open(element)?,
            Event::Empty(element) if element.name().as_ref() == "tuv" => self.open(element)?,
            Event::End(element) => return Ok(self.close(element.name().as_ref())),
            Event::Text(text) => self.push(&text.xml10_content()),
            Event::CData(text) => self.push(&text.xml10_content()),
            Event::GeneralRef(reference) if self.in_segment => self.push(&resolve(reference)?),
            _ => {}
        }
        Ok(Step::More)
    }

    fn open(&mut self, element: &BytesStart<'_>) -> Result<(), String> {
        let name = element.name();
        if !self.root {
            if name.as_ref() != "tmx" {
                return Err(format!("expected the element <tmx>, found <{}>", name.as_ref()));
            }
            self.root = true;
        }
        match name.as_ref() {
            "tu" => self.variants.clear(),
            "tuv" => self.variants.push((language_of(element)?, String::new())),
            "seg" if self.variants.is_empty() => return Err("<seg> outside <tuv>".to_string()),
            "seg" => self.in_segment = true,
            "bpt" | "ept" | "it" | "ph" | "ut" if self.in_segment => self.codes += 1,
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, name: &str) -> Step {
        match name {
            "seg" => (self.in_segment, self.codes) = (false, 0),
            "bpt" | "ept" | "it" | "ph" | "ut" => self.codes = self.codes.saturating_sub(1),
            "tu" => return Step::UnitDone,
            "tmx" => self.closed = true,
            _ => {}
        }
        Step::More
    }

    fn push(&mut self, text: &str) {
        if self.in_segment
            && self.codes == 0
            && let Some((_, segment)) = self.variants.last_mut()
        {
            segment.push_str(text);
        }
    }

    fn unit_for(&self, pair: &LanguagePair) -> Option<(&str, &str)> {
        Some((self.variant(&pair.from)?, self.variant(&pair.to)?))
    }

    /// The text in the closest language to `wanted`; the first of several.
    fn variant(&self, wanted: &str) -> Option<&str> {
        let close = self.variants.iter().filter_map(|(tag, text)| Some((affinity(wanted, tag)?, text)));
        let best = close.reduce(|best, next| if next.0 > best.0 { next } else { best });
        best.map(|(_, text)| text.as_str())
    }
}

/// `xml:lang`, or `lang` as TMX before 1.4 had it.
fn language_of(element: &BytesStart<'_>) -> Result<String, String> {
    for name in ["xml:lang", "lang"] {
        if let Some(attribute) = element.try_get_attribute(name).map_err(|e| e.to_string())? {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?;
            return Ok(value.into_owned());
        }
    }
    Err("<tuv> names no language: the attribute xml:lang is missing".to_string())
}

fn resolve(reference: &BytesRef<'_>) -> Result<String, String> {
    let name: &str = reference;
    if let Some(c) = reference.resolve_char_ref().map_err(|e| e.to_string())? {
        return Ok(c.to_string());
    }
    quick_xml::escape::resolve_predefined_entity(name)
        .map(str::to_string)
        .ok_or_else(|| format!("the entity &{name}; is not defined"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, from: &str, to: &str) -> Result<Vec<(String, String)>, TmxError> {
        let mut units = Vec::new();
        let pair = LanguagePair::new(from, to).unwrap();
        read_tmx(text.as_bytes(), &pair, |s, t| units.push((s.to_string(), t.to_string())))?;
        Ok(units)
    }

    const HEAD: &str = r#"<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE tmx SYSTEM "tmx14.dtd">
        <tmx version="1.4"><header srclang="en"><note>not a &lt;seg&gt;</note></header><body>"#;

    fn pair(s: &str, t: &str) -> (String, String) {
        (s.to_string(), t.to_string())
    }

    #[test]
    fn text_is_what_a_reader_sees() {
        let text = format!(
            r#"{HEAD}<tu><tuv xml:lang="en"><seg>Fish &amp; <bpt i="1">&lt;b></bpt>chips<ept i="1"/> &#x2014; <hi>now</hi><ph/></seg></tuv>
            <tuv xml:lang="ru"><prop>x</prop><seg><![CDATA[Рыба <и> чипсы]]></seg></tuv></tu></body></tmx>"#
        );
        assert_eq!(read(&text, "en", "ru").unwrap(), [pair("Fish & chips — now", "Рыба <и> чипсы")]);
    }

    #[test]
    fn regions_fall_back_and_the_closest_wins() {
        let text = format!(
            r#"{HEAD}<tu><tuv xml:lang="en-GB"><seg>colour</seg></tuv><tuv xml:lang="en-US"><seg>color</seg></tuv>
            <tuv lang="RU-RU"><seg>цвет</seg></tuv></tu>
            <tu><tuv xml:lang="de"><seg>Farbe</seg></tuv><tuv xml:lang="ru"><seg>цвет</seg></tuv></tu></body></tmx>"#
        );
        assert_eq!(read(&text, "en-US", "ru").unwrap(), [pair("color", "цвет")]);
        assert_eq!(read(&text, "en", "ru").unwrap(), [pair("colour", "цвет")]);
    }

    #[test]
    fn a_damaged_file_is_refused_with_the_place() {
        let cut = format!(r#"{HEAD}<tu><tuv xml:lang="en"><seg>Half"#);
        assert!(read(&cut, "en", "ru").unwrap_err().message.contains("</tmx>"));
        let crossed = format!("{HEAD}<tu><tuv xml:lang=\"en\"></tu></tuv></body></tmx>");
        let error = read(&crossed, "en", "ru").unwrap_err();
        assert!(error.offset > 100, "{error:?}");
        assert!(read("<html></html>", "en", "ru").unwrap_err().message.contains("<html>"));
        let nameless = format!("{HEAD}<tu><tuv><seg>a</seg></tuv></tu></body></tmx>");
        assert!(read(&nameless, "en", "ru").unwrap_err().message.contains("xml:lang"));
        assert!(read("", "en", "ru").unwrap_err().message.contains("no <tmx>"));
    }
}
