//! The engine `memory`: a translation memory, looked up exactly after the same normalisation of both sides.
//!
//! A memory is a TMX file or JSONL of `{"source", "target"}`. A unit of several lines is aligned line by
//! line with the cuts of [`crate::segment`], so memories of whole fields and of single lines both serve.
//! Where one source has several targets the last one wins: corrections are appended.

use super::tmx::read_tmx;
use crate::LanguagePair;
use crate::engine::{Answer, Engine, EngineError, Limits, Manner, Miss};
use crate::structure::{Line, lines, markers_length};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;
use unicode_normalization::{UnicodeNormalization, is_nfc};

#[derive(Debug, Error)]
pub enum MemoryError {
    #[error("cannot read the translation memory {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path}:{line}: {message}")]
    Malformed { path: PathBuf, line: usize, message: String },
    #[error("{path} is no translation memory: expected TMX, or JSONL of {{\"source\", \"target\"}}")]
    UnknownFormat { path: PathBuf },
    #[error("the translation memory {path} holds nothing from `{from}` to `{to}` ({units} units read)")]
    Empty { path: PathBuf, from: String, to: String, units: usize },
}

/// What was read from a memory file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MemoryReport {
    /// Translation units in the file.
    pub units: usize,
    /// Segments that can be looked up.
    pub segments: usize,
    /// Segments that had another target before; the last one counts.
    pub replaced: usize,
    /// Units whose two sides have different numbers of lines.
    pub unaligned: usize,
    /// Units without one of the two languages.
    pub other_languages: usize,
}

/// A translation memory, loaded whole.
pub struct Memory {
    targets: HashMap<Box<str>, Box<str>>,
    identity: String,
    report: MemoryReport,
}

#[derive(Deserialize)]
struct Unit<'a> {
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    target: Cow<'a, str>,
}

impl Memory {
    /// Read the memory at `path` (TMX or JSONL, told apart by content; gzip and UTF-16 are understood).
    ///
    /// # Errors
    /// The file cannot be read, is malformed (the line is named) or holds nothing for `pair`.
    pub fn open(path: &Path, pair: &LanguagePair) -> Result<Self, MemoryError> {
        let io = |source| MemoryError::Io { path: path.to_path_buf(), source };
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(File::open(path).map_err(io)?).map_err(io)?;
        let identity = format!("memory:{}", &hasher.finalize().to_hex()[..16]);
        let mut memory = Memory { targets: HashMap::new(), identity, report: MemoryReport::default() };

        let mut text = open_text(path).map_err(io)?;
        match first_character(&mut text).map_err(io)? {
            Some(b'<') => memory.read_tmx(path, text, pair)?,
            Some(b'{') => memory.read_jsonl(path, text)?,
            _ => return Err(MemoryError::UnknownFormat { path: path.to_path_buf() }),
        }
        memory.report.segments = memory.targets.len();
        if memory.targets.is_empty() {
            let (from, to, units) = (pair.from.clone(), pair.to.clone(), memory.report.units);
            return Err(MemoryError::Empty { path: path.to_path_buf(), from, to, units });
        }
        Ok(memory)
    }

    pub fn report(&self) -> &MemoryReport {
        &self.report
    }

    /// The target of a segment.
    pub fn get(&self, segment: &str) -> Option<&str> {
        self.targets.get(normalise(segment).as_ref()).map(AsRef::as_ref)
    }

    fn read_tmx(&mut self, path: &Path, text: impl BufRead, pair: &LanguagePair) -> Result<(), MemoryError> {
        let other = read_tmx(text, pair, |source, target| self.add_unit(source, target));
        let other = other.map_err(|e| MemoryError::Malformed {
            path: path.to_path_buf(),
            line: line_at(path, e.offset),
            message: e.message,
        })?;
        self.report.units += other;
        self.report.other_languages = other;
        Ok(())
    }

    fn read_jsonl(&mut self, path: &Path, mut text: impl BufRead) -> Result<(), MemoryError> {
        let mut row = String::new();
        for line in 1.. {
            row.clear();
            let malformed = |message| MemoryError::Malformed { path: path.to_path_buf(), line, message };
            if text.read_line(&mut row).map_err(|e| malformed(e.to_string()))? == 0 {
                break;
            }
            if row.trim().is_empty() {
                continue;
            }
            let unit: Unit = serde_json::from_str(&row)
                .map_err(|e| malformed(format!("expected {{\"source\": \"…\", \"target\": \"…\"}}: {e}")))?;
            self.add_unit(&unit.source, &unit.target);
        }
        Ok(())
    }

    /// Take in one unit, line by line. A unit of unequal line counts cannot be attributed.
    fn add_unit(&mut self, source: &str, target: &str) {
        self.report.units += 1;
        let (source, target) = (source.trim(), target.trim());
        let source_lines: Vec<Line<'_>> = lines(source).collect();
        let target_lines: Vec<&str> =
            target.split_inclusive(crate::structure::is_line_break).map(str::trim).collect();
        if source_lines.len() != target_lines.len() {
            self.report.unaligned += 1;
            return;
        }
        for (source, mut target) in source_lines.into_iter().zip(target_lines) {
            // A marker that the source line keeps outside must not come in again by the target.
            if !source.before.trim().is_empty() {
                target = &target[markers_length(target)..];
            }
            if !source.segment.is_empty() && !target.is_empty() {
                self.add(source.segment, target);
            }
        }
    }

    fn add(&mut self, source: &str, target: &str) {
        let key: Box<str> = normalise(source).into();
        if let Some(before) = self.targets.insert(key, target.into())
            && *before != *target
        {
            self.report.replaced += 1;
        }
    }
}

impl Engine for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    /// With the hash of the file's content: an edited memory gives other answers.
    fn identity(&self) -> String {
        self.identity.clone()
    }

    fn limits(&self) -> Limits {
        Limits { segments: 4096, ..Limits::UNLIMITED }
    }

    fn manner(&self) -> Manner {
        Manner::Lookup
    }

    fn is_free(&self) -> bool {
        true
    }

    fn translate(&self, segments: &[&str], _pair: &LanguagePair) -> Result<Vec<Answer>, EngineError> {
        let answer = |segment: &&str| self.get(segment).map(str::to_string).ok_or(Miss::NotInMemory);
        Ok(segments.iter().map(answer).collect())
    }
}

/// The form in which sources are compared: Unicode NFC, white space collapsed to single spaces, without
/// control characters (XML cannot hold them, so a TMX never does).
fn normalise(text: &str) -> Cow<'_, str> {
    let is_other = |c: char| c.is_control() || (c.is_whitespace() && c != ' ');
    let untidy =
        text.starts_with(' ') || text.ends_with(' ') || text.contains("  ") || text.contains(is_other);
    if !untidy && is_nfc(text) {
        return Cow::Borrowed(text);
    }
    let composed: String = text.nfc().filter(|c| !c.is_control() || c.is_whitespace()).collect();
    Cow::Owned(composed.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The text of a file as UTF-8 without a byte-order mark, unpacked if it is gzip.
fn open_text(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut reader: Box<dyn BufRead> = Box::new(BufReader::with_capacity(1 << 18, File::open(path)?));
    if reader.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
        reader = Box::new(BufReader::with_capacity(1 << 18, flate2::bufread::MultiGzDecoder::new(reader)));
    }
    let start = reader.fill_buf()?;
    if start.starts_with(b"\xEF\xBB\xBF") {
        reader.consume(3);
    } else if start.starts_with(b"\xFF\xFE") || start.starts_with(b"\xFE\xFF") {
        // Many tools write TMX as UTF-16; such files are small enough to decode whole.
        let little = start[0] == 0xFF;
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        return Ok(Box::new(Cursor::new(decode_utf16(&bytes[2..], little)?.into_bytes())));
    }
    Ok(reader)
}

fn decode_utf16(bytes: &[u8], little: bool) -> io::Result<String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let unit = |pair: &[u8; 2]| if little { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) };
    let text: Result<String, _> = char::decode_utf16(pairs.iter().map(unit)).collect();
    match text {
        Ok(text) if rest.is_empty() => Ok(text),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no valid UTF-16")),
    }
}

/// Skip white space at the start and look at what follows.
fn first_character(text: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let buffer = text.fill_buf()?;
        let Some(&first) = buffer.first() else { return Ok(None) };
        // A line break is not skipped: rows are counted from the start of the file.
        if !matches!(first, b' ' | b'\t') {
            let next = buffer.iter().copied().find(|b| !b.is_ascii_whitespace());
            return Ok(next);
        }
        text.consume(1);
    }
}

/// The number of the line that holds byte `offset` of the text.
fn line_at(path: &Path, offset: u64) -> usize {
    let Ok(text) = open_text(path) else { return 1 };
    let newlines = text.take(offset).bytes().filter(|b| matches!(b, Ok(b'\n'))).count();
    newlines + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn memory(name: &str, content: impl AsRef<[u8]>) -> Result<Memory, MemoryError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        Memory::open(&path, &LanguagePair::new("en", "ru").unwrap())
    }

    const TMX: &str = r#"<tmx version="1.4"><header/><body><tu><tuv xml:lang="en-US"><seg>Hello</seg></tuv>
        <tuv xml:lang="ru"><seg>Привет</seg></tuv></tu></body></tmx>"#;

    #[test]
    fn both_sides_are_normalised_alike() {
        // é is written in two ways: composed in the memory, decomposed in the question.
        let m =
            memory("m.jsonl", "{\"source\": \" Caf\u{e9}  is\\topen \", \"target\": \" Кафе  открыто \"}\n");
        assert_eq!(m.unwrap().get("Cafe\u{301} is\u{a0}open"), Some("Кафе  открыто"));
        assert_eq!(normalise("a\u{7}b \u{1b}c"), "ab c");
    }

    #[test]
    fn units_of_several_lines_are_aligned() {
        let m = memory(
            "m.jsonl",
            concat!(
                r#"{"source": "1. One\n\n- Two\nThree", "target": "1. Раз\n\n- Два\n— Три"}"#,
                "\n\n",
                r#"{"source": "Four\nFive", "target": "Четыре пять"}"#,
                "\n"
            ),
        )
        .unwrap();
        assert_eq!(m.get("One"), Some("Раз"));
        assert_eq!(m.get("Two"), Some("Два"));
        assert_eq!(m.get("Three"), Some("— Три"));
        assert_eq!(m.get("Four"), None);
        assert_eq!((m.report().units, m.report().segments, m.report().unaligned), (2, 3, 1));
    }

    #[test]
    fn the_last_target_of_a_source_counts() {
        let m =
            memory("m.jsonl", "{\"source\":\"a\",\"target\":\"б\"}\n{\"source\":\"a\",\"target\":\"а\"}\n")
                .unwrap();
        assert_eq!(m.get("a"), Some("а"));
        assert_eq!(m.report().replaced, 1);
    }

    #[test]
    fn tmx_comes_plain_gzipped_and_as_utf_16() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(TMX.as_bytes()).unwrap();
        let utf16: Vec<u8> =
            std::iter::once(0xfeff).chain(TMX.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let bom = [b"\xEF\xBB\xBF", TMX.as_bytes()].concat();
        for content in [TMX.as_bytes().to_vec(), gz.finish().unwrap(), utf16, bom] {
            assert_eq!(memory("m.tmx", content).unwrap().get("Hello"), Some("Привет"));
        }
    }

    #[test]
    fn faults_name_the_file_and_the_line() {
        let text = |e: Result<Memory, MemoryError>| e.err().unwrap().to_string();
        let error = text(memory("m.jsonl", "{\"source\":\"a\",\"target\":\"б\"}\n\n{\"source\":\"b\"}\n"));
        assert!(error.contains("m.jsonl:3") && error.contains("target"), "{error}");
        let error = text(memory("m.tmx", TMX.replace("</tu>", "</tux>")));
        assert!(error.contains("m.tmx:2"), "{error}");
        assert!(text(memory("m.csv", "source,target\n")).contains("is no translation memory"));
        assert!(text(memory("m.tmx", TMX.replace("\"ru\"", "\"de\""))).contains("from `en` to `ru`"));
        let missing = Memory::open(Path::new("/nowhere/m.tmx"), &LanguagePair::new("en", "ru").unwrap());
        assert!(text(missing).contains("/nowhere/m.tmx"));
    }
}
