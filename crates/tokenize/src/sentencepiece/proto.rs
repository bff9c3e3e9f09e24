//! `tokenizer.model` as bytes: just enough of the Protocol Buffers wire format (proto2) to read a
//! SentencePiece `ModelProto`. Fields that do not change the arithmetic are skipped.

/// Why a file is no SentencePiece model.
pub type Reason = String;

/// What a piece is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    Normal,
    /// Stands for what the vocabulary cannot spell (`<unk>`); there is exactly one.
    Unknown,
    /// `<s>`, `</s>`: never found in a text.
    Control,
    /// Always one token wherever a text spells it.
    UserDefined,
    /// Takes part in merges, but is taken apart again in the result.
    Unused,
    /// One byte of a character that the vocabulary cannot spell (`<0x0A>`).
    Byte,
}

impl PieceKind {
    fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }

    /// Pieces of this kind are looked for in a text.
    pub fn is_in_text(self) -> bool {
        matches!(self, Self::Normal | Self::UserDefined | Self::Unused)
    }
}

#[derive(Clone, Debug)]
pub struct Piece {
    pub text: String,
    /// Unigram: the log probability. BPE: minus the rank of the merge.
    pub score: f32,
    pub kind: PieceKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelType {
    Unigram,
    Bpe,
    /// `WORD` and `CHAR`, which no language model uses.
    Other,
}

#[derive(Clone, Debug)]
pub struct TrainerSpec {
    pub model_type: ModelType,
    pub byte_fallback: bool,
    pub treat_whitespace_as_suffix: bool,
    pub bos_piece: String,
    pub eos_piece: String,
    pub pad_piece: String,
    /// What an unknown piece decodes to.
    pub unk_surface: String,
}

impl Default for TrainerSpec {
    fn default() -> Self {
        TrainerSpec {
            model_type: ModelType::Unigram,
            byte_fallback: false,
            treat_whitespace_as_suffix: false,
            bos_piece: "<s>".into(),
            eos_piece: "</s>".into(),
            pad_piece: "<pad>".into(),
            unk_surface: " \u{2047} ".into(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct NormalizerSpec {
    pub precompiled_charsmap: Vec<u8>,
    pub add_dummy_prefix: bool,
    pub remove_extra_whitespaces: bool,
    pub escape_whitespaces: bool,
}

impl Default for NormalizerSpec {
    fn default() -> Self {
        NormalizerSpec {
            precompiled_charsmap: Vec::new(),
            add_dummy_prefix: true,
            remove_extra_whitespaces: true,
            escape_whitespaces: true,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct ModelProto {
    pub pieces: Vec<Piece>,
    pub trainer: TrainerSpec,
    pub normalizer: NormalizerSpec,
    /// Rules for decoded text; absent almost everywhere.
    pub denormalizer: Option<NormalizerSpec>,
}

impl ModelProto {
    /// # Errors
    /// The bytes are no `ModelProto`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Reason> {
        let mut model = ModelProto::default();
        let mut fields = Fields { bytes, at: 0 };
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => {
                    let row = model.pieces.len();
                    let piece = parse_piece(value.bytes()?);
                    model.pieces.push(piece.map_err(|reason| format!("piece {row}: {reason}"))?);
                }
                2 => model.trainer.read(value.bytes()?).map_err(|r| format!("trainer_spec: {r}"))?,
                3 => model.normalizer.read(value.bytes()?).map_err(|r| format!("normalizer_spec: {r}"))?,
                5 => {
                    let spec = model.denormalizer.get_or_insert_default();
                    spec.read(value.bytes()?).map_err(|r| format!("denormalizer_spec: {r}"))?;
                }
                _ => {}
            }
        }
        Ok(model)
    }
}

fn parse_piece(bytes: &[u8]) -> Result<Piece, Reason> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: PieceKind::Normal };
    let mut fields = Fields { bytes, at: 0 };
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => piece.text = value.string()?,
            2 => piece.score = value.float()?,
            3 => {
                let kind = value.varint()?;
                piece.kind = PieceKind::from_number(kind).ok_or_else(|| format!("unknown type {kind}"))?;
            }
            _ => {}
        }
    }
    Ok(piece)
}

impl TrainerSpec {
    fn read(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let mut fields = Fields { bytes, at: 0 };
        while let Some((number, value)) = fields.next()? {
            match number {
                3 => {
                    self.model_type = match value.varint()? {
                        1 => ModelType::Unigram,
                        2 => ModelType::Bpe,
                        _ => ModelType::Other,
                    }
                }
                24 => self.treat_whitespace_as_suffix = value.varint()? != 0,
                35 => self.byte_fallback = value.varint()? != 0,
                44 => self.unk_surface = value.string()?,
                46 => self.bos_piece = value.string()?,
                47 => self.eos_piece = value.string()?,
                48 => self.pad_piece = value.string()?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl NormalizerSpec {
    fn read(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let mut fields = Fields { bytes, at: 0 };
        while let Some((number, value)) = fields.next()? {
            match number {
                2 => self.precompiled_charsmap = value.bytes()?.to_vec(),
                3 => self.add_dummy_prefix = value.varint()? != 0,
                4 => self.remove_extra_whitespaces = value.varint()? != 0,
                5 => self.escape_whitespaces = value.varint()? != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The fields of one message, in file order.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

enum Value<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Fields<'a> {
    /// The next field's number and value; `None` at the end.
    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Reason> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => {
                let mut word = [0; 4];
                word.copy_from_slice(self.take(4)?);
                Value::Fixed32(u32::from_le_bytes(word))
            }
            other => return Err(format!("not Protocol Buffers: wire type {other} at byte {}", self.at)),
        };
        Ok(Some((tag >> 3, value)))
    }

    fn varint(&mut self) -> Result<u64, Reason> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(format!("not Protocol Buffers: a number without end at byte {}", self.at))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Reason> {
        let rest = &self.bytes[self.at..];
        if length > rest.len() {
            return Err(format!("cut short: {length} more bytes announced, {} left", rest.len()));
        }
        self.at += length;
        Ok(&rest[..length])
    }
}

impl<'a> Value<'a> {
    fn varint(&self) -> Result<u64, Reason> {
        match self {
            Value::Varint(value) => Ok(*value),
            other => Err(other.unexpected("a number")),
        }
    }

    fn float(&self) -> Result<f32, Reason> {
        match self {
            Value::Fixed32(bits) => Ok(f32::from_bits(*bits)),
            other => Err(other.unexpected("a float")),
        }
    }

    fn bytes(&self) -> Result<&'a [u8], Reason> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(other.unexpected("bytes")),
        }
    }

    fn string(&self) -> Result<String, Reason> {
        let text = std::str::from_utf8(self.bytes()?);
        text.map(String::from).map_err(|_| "a text is not UTF-8".into())
    }

    fn unexpected(&self, expected: &str) -> Reason {
        let found = match self {
            Value::Varint(_) => "a number",
            Value::Fixed64 => "a 64-bit value",
            Value::Bytes(_) => "bytes",
            Value::Fixed32(_) => "a 32-bit value",
        };
        format!("expected {expected}, found {found}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_read_and_unknown_ones_skipped() {
        let mut bytes = vec![0x0A, 13, 0x0A, 3];
        bytes.extend("▁".as_bytes());
        bytes.extend([0x15]);
        bytes.extend((-1.5f32).to_le_bytes());
        bytes.extend([0x18, 4, 0x79]); // a 64-bit field 15 that nobody knows, cut short
        let reason = ModelProto::parse(&bytes).unwrap_err();
        assert!(reason.contains("piece 0") && reason.contains("cut short"), "{reason}");
        bytes[1] = 12;
        bytes.truncate(14);
        bytes.extend([0x12, 5, 0x18, 2, 0x98, 0x02, 1]); // trainer_spec: BPE, byte_fallback
        bytes.extend([0x1A, 2, 0x20, 0]); // normalizer_spec: remove_extra_whitespaces
        let model = ModelProto::parse(&bytes).unwrap();
        assert_eq!((model.pieces[0].text.as_str(), model.pieces[0].score), ("▁", -1.5));
        assert_eq!(model.pieces[0].kind, PieceKind::UserDefined);
        assert_eq!(model.trainer.model_type, ModelType::Bpe);
        assert!(model.trainer.byte_fallback && model.normalizer.add_dummy_prefix);
        assert!(!model.normalizer.remove_extra_whitespaces);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ModelProto::parse(&bytes);
        }
    }
}
