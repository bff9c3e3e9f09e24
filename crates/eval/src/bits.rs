//! Bits per byte: how surprised a model is by a text, whatever its tokens.

use crate::error::{Error, Result};
use crate::prepare::Text;
use std::ops::Range;
use tolmach_engine::Backend;
use tolmach_model::{Batch, Decoder, Side, Workspace};

/// Tokens of one pass.
const PASS_TOKENS: usize = 2048;

/// Total surprise over some texts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bits {
    /// −Σ ln p over the scored tokens
    pub nats: f64,
    pub tokens: usize,
    /// UTF-8 bytes of what was scored
    pub bytes: usize,
}

impl Bits {
    /// Σ nats / ln 2 / Σ bytes over all texts together, so a long text weighs more than a short one.
    /// Of an instruction example the answer is scored, given its prompt; of a plain text all of it.
    /// EOS is not counted, as in other harnesses: it is no byte of the text. `None` of nothing.
    pub fn per_byte(self) -> Option<f64> {
        (self.bytes > 0).then(|| self.nats / std::f64::consts::LN_2 / self.bytes as f64)
    }
}

/// Score texts with one side of a model; `progress` gets the number of texts done.
///
/// # Errors
/// A token id outside the vocabulary; a loss that is not a number.
pub(crate) fn score<B: Backend>(
    model: &Decoder<B>,
    side: Side,
    texts: &[Text],
    mut progress: impl FnMut(usize),
) -> Result<Bits> {
    let mut workspace: Option<Workspace<B>> = None;
    let mut bits = Bits::default();
    let mut done = 0;
    for pass in passes(texts) {
        let packed = Packed::new(&texts[pass.clone()]);
        let losses = model.losses(&mut workspace, packed.batch(), side)?;
        let mut rest = losses.as_slice();
        for text in &texts[pass] {
            let (own, after) = rest.split_at(text.rows.len());
            rest = after;
            let nats: f64 = own.iter().sum();
            if !nats.is_finite() {
                return Err(Error::NotFinite { side: crate::side_name(side), id: text.id.clone() });
            }
            bits.nats += nats;
            bits.tokens += own.len();
            bits.bytes += text.bytes;
            done += 1;
        }
        progress(done);
    }
    Ok(bits)
}

/// Runs of texts of at most [`PASS_TOKENS`] tokens, at least one text each.
fn passes(texts: &[Text]) -> Vec<Range<usize>> {
    let mut passes: Vec<Range<usize>> = Vec::new();
    let mut tokens = 0;
    for (i, text) in texts.iter().enumerate() {
        match passes.last_mut() {
            Some(pass) if tokens + text.ids.len() <= PASS_TOKENS => pass.end = i + 1,
            _ => {
                passes.push(i..i + 1);
                tokens = 0;
            }
        }
        tokens += text.ids.len();
    }
    passes
}

/// Texts laid end to end.
#[derive(Default)]
struct Packed {
    input_ids: Vec<u32>,
    positions: Vec<u32>,
    segments: Vec<Range<usize>>,
    rows: Vec<usize>,
    targets: Vec<u32>,
}

impl Packed {
    fn new(texts: &[Text]) -> Packed {
        let mut packed = Packed::default();
        for text in texts {
            let start = packed.input_ids.len();
            packed.input_ids.extend(&text.ids);
            packed.positions.extend(0..text.ids.len() as u32);
            packed.segments.push(start..packed.input_ids.len());
            packed.rows.extend(text.rows.iter().map(|row| start + row));
            packed.targets.extend(&text.targets);
        }
        packed
    }

    fn batch(&self) -> Batch<'_> {
        Batch {
            input_ids: &self.input_ids,
            positions: &self.positions,
            segments: &self.segments,
            prefixes: &[],
            rows: &self.rows,
            targets: &self.targets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn text(ids: &[u32], rows: Range<usize>, bytes: usize) -> Text {
        let rows: Vec<usize> = rows.collect();
        let targets = rows.iter().map(|&t| ids[t + 1]).collect();
        Text { id: "x".into(), ids: ids.to_vec(), rows, targets, bytes }
    }

    #[test]
    fn bits_are_those_of_the_softmax_however_texts_are_packed() {
        let model = testing::model(1);
        let texts = [text(&[1, 40, 50, 60, 2], 0..3, 7), text(&[1, 9, 8, 7, 6], 2..4, 5)];
        let bits = score(&model, Side::Base, &texts, |_| ()).unwrap();
        assert_eq!((bits.tokens, bits.bytes), (5, 12));

        let mut nats = 0.0;
        for text in &texts {
            let vocab = model.config.vocab_size;
            let batch = Batch {
                input_ids: &text.ids,
                positions: &[0, 1, 2, 3, 4],
                segments: std::slice::from_ref(&(0..5)),
                prefixes: &[],
                rows: &text.rows,
                targets: &text.targets,
            };
            let logits = model.logits(&mut None, batch, Side::Base).unwrap();
            for (row, &target) in logits.chunks(vocab).zip(&text.targets) {
                let sum: f64 = row.iter().map(|&l| f64::from(l).exp()).sum();
                nats += sum.ln() - f64::from(row[target as usize]);
            }
        }
        assert!((bits.nats - nats).abs() < 1e-4, "{} {nats}", bits.nats);
        let per_byte = bits.per_byte().unwrap();
        assert!((per_byte - nats / 2f64.ln() / 12.0).abs() < 1e-5);
        assert_eq!(Bits::default().per_byte(), None);
    }

    #[test]
    fn passes_hold_every_text_once() {
        let texts: Vec<Text> =
            [1000, 1000, 48, 1, 3000, 10].iter().map(|&n| text(&vec![5; n], 0..0, 1)).collect();
        assert_eq!(passes(&texts), [0..3, 3..4, 4..5, 5..6]);
        assert!(passes(&[]).is_empty());
    }

    #[test]
    fn a_loss_that_is_no_number_names_the_example() {
        let mut model = testing::model(1);
        model.norm.parameter.value.fill(f32::NAN);
        let message =
            score(&model, Side::Base, &[text(&[1, 2, 3], 0..2, 2)], |_| ()).unwrap_err().to_string();
        assert!(message.contains("base") && message.contains("`x`"), "{message}");
    }
}
