//! The directory of a zip file whose entries are stored, not compressed: where each lies in the file.
//!
//! Only what `torch.save` writes is understood, zip64 (files beyond 4 GiB) included. Format: PKWARE's
//! APPNOTE 6.3, sections 4.3.7 (local header), 4.3.12 (directory), 4.3.14–16 (end records), 4.5.3
//! (zip64 sizes).

use std::collections::HashMap;

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";
const DIRECTORY: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";

/// An end record is 22 bytes and a comment of at most 65,535.
const END_SIZE: usize = 22;
const MAX_COMMENT: usize = 0xFFFF;

/// The bytes `offset..offset + len` of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub offset: usize,
    pub len: usize,
}

/// All entries by name.
///
/// # Errors
/// What is wrong with the archive: truncated, compressed, or no zip file at all.
pub(crate) fn entries(file: &[u8]) -> Result<HashMap<String, Entry>, String> {
    let (count, mut at, end) = directory(file)?;
    let mut entries = HashMap::new();
    for _ in 0..count {
        if at >= end {
            return Err(format!("its directory promises {count} entries and holds {}", entries.len()));
        }
        let record = Record { bytes: file, start: at };
        record.expect(DIRECTORY, "directory entry")?;
        let name_length = record.u16(28)?;
        let name = std::str::from_utf8(record.slice(46, name_length)?)
            .map_err(|_| "the name of an entry is not UTF-8".to_string())?;
        let entry = locate(&record, name, name_length).map_err(|reason| format!("entry {name}: {reason}"))?;
        entries.insert(name.to_string(), entry);
        at += 46 + name_length + record.u16(30)? + record.u16(32)?;
    }
    Ok(entries)
}

/// How many entries there are, and where the directory begins and ends.
fn directory(file: &[u8]) -> Result<(u64, usize, usize), String> {
    let first = file.len().saturating_sub(END_SIZE + MAX_COMMENT);
    let last = file.len().checked_sub(END_SIZE).ok_or("it is too short")?;
    let is_end = |&at: &usize| {
        let record = Record { bytes: file, start: at };
        file[at..].starts_with(END)
            && record.u16(20).is_ok_and(|comment| at + END_SIZE + comment == file.len())
    };
    let at = (first..=last).rev().find(is_end).ok_or("its end is missing: it is probably truncated")?;
    let end = Record { bytes: file, start: at };
    let (mut count, mut start) = (end.u16(10)? as u64, end.u32(16)?);
    let mut directory_end = at;
    let locator = at.checked_sub(20).map(|start| Record { bytes: file, start });
    if let Some(locator) = locator.filter(|record| record.expect(LOCATOR_64, "").is_ok()) {
        let end_64 = Record { bytes: file, start: locator.size(8)? };
        end_64.expect(END_64, "zip64 end record")?;
        count = end_64.u64(32)?;
        start = end_64.size(48)?;
        directory_end = end_64.start;
    }
    if start > directory_end {
        return Err("its directory lies outside of it".into());
    }
    Ok((count, start, directory_end))
}

/// Where the data of a directory entry lies.
fn locate(record: &Record, name: &str, name_length: usize) -> Result<Entry, String> {
    if record.u16(8)? & 1 != 0 {
        return Err("is encrypted".into());
    }
    if record.u16(10)? != 0 {
        return Err("is compressed; torch.save stores its entries as they are".into());
    }
    let mut large = Zip64::find(record.slice(46 + name_length, record.u16(30)?)?);
    let len = large.or_stored(record.u32(24)?)?;
    let stored = large.or_stored(record.u32(20)?)?;
    let header = large.or_stored(record.u32(42)?)?;
    if len != stored {
        return Err(format!("has {len} bytes, of which {stored} are stored"));
    }
    let local = Record { bytes: record.bytes, start: header };
    local.expect(LOCAL, "header")?;
    let (local_name, local_extra) = (local.u16(26)?, local.u16(28)?);
    if local.slice(30, local_name)? != name.as_bytes() {
        return Err("has another name in its header".into());
    }
    let offset = header + 30 + local_name + local_extra;
    match record.bytes.len().checked_sub(offset) {
        Some(left) if len <= left => Ok(Entry { offset, len }),
        left => Err(format!("has {len} bytes, but only {} are left in the file", left.unwrap_or(0))),
    }
}

/// What a directory entry's zip64 field still holds: the sizes that do not fit into 32 bits, in order.
struct Zip64<'a>(&'a [u8]);

impl<'a> Zip64<'a> {
    /// Extra fields are a number and a length of 16 bits each, then the data; zip64 is number 1.
    fn find(mut extra: &'a [u8]) -> Self {
        while let Some((head, rest)) = extra.split_first_chunk::<4>() {
            let length = usize::from(u16::from_le_bytes([head[2], head[3]])).min(rest.len());
            let (data, next) = rest.split_at(length);
            if head[..2] == [1, 0] {
                return Zip64(data);
            }
            extra = next;
        }
        Zip64(&[])
    }

    /// `stored`, or the next large size where it stands for one.
    fn or_stored(&mut self, stored: usize) -> Result<usize, String> {
        if stored != u32::MAX as usize {
            return Ok(stored);
        }
        let (size, rest) = self.0.split_first_chunk::<8>().ok_or("lacks its zip64 size")?;
        self.0 = rest;
        usize::try_from(u64::from_le_bytes(*size)).map_err(|_| "is too large".to_string())
    }
}

/// Fields of a record, by their offset in it.
struct Record<'a> {
    bytes: &'a [u8],
    start: usize,
}

impl<'a> Record<'a> {
    fn slice(&self, at: usize, length: usize) -> Result<&'a [u8], String> {
        let start = self.start.checked_add(at);
        let range = start.and_then(|start| Some(start..start.checked_add(length)?));
        range
            .and_then(|range| self.bytes.get(range))
            .ok_or_else(|| "a record ends after the file".to_string())
    }

    fn expect(&self, signature: &[u8], what: &str) -> Result<(), String> {
        if self.slice(0, signature.len())? == signature {
            return Ok(());
        }
        Err(format!("there is no {what} at byte {}", self.start))
    }

    fn u16(&self, at: usize) -> Result<usize, String> {
        let bytes = self.slice(at, 2)?;
        Ok(usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
    }

    fn u32(&self, at: usize) -> Result<usize, String> {
        Ok(self.u16(at)? | self.u16(at + 2)? << 16)
    }

    fn u64(&self, at: usize) -> Result<u64, String> {
        Ok(self.u32(at)? as u64 | (self.u32(at + 4)? as u64) << 32)
    }

    fn size(&self, at: usize) -> Result<usize, String> {
        usize::try_from(self.u64(at)?).map_err(|_| "a size is too large".to_string())
    }
}
