//! A position in bytes that may end anywhere.

/// Why bytes are not what they should be.
pub type Reason = String;

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Reason> {
        let rest = &self.bytes[self.at..];
        if length > rest.len() {
            return Err(format!(
                "cut short at byte {}: {length} more announced, {} left",
                self.at,
                rest.len()
            ));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Reason> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub fn u32(&mut self) -> Result<u32, Reason> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Result<u64, Reason> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number of things that take at least so many bytes each, all of them still to come.
    pub fn count(&mut self, bytes_each: usize) -> Result<usize, Reason> {
        let count = self.u64()?;
        let left = self.bytes.len() - self.at;
        match usize::try_from(count) {
            Ok(count) if count <= left / bytes_each => Ok(count),
            _ => Err(format!("cut short at byte {}: {count} values announced, {left} bytes left", self.at)),
        }
    }

    pub fn text(&mut self) -> Result<String, Reason> {
        let length = self.count(1)?;
        let at = self.at;
        let bytes = self.take(length)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| format!("the text at byte {at} is not UTF-8"))
    }
}
