//! The last block, only as far as labels need it: keys and values of all rows, but queries, o_proj and
//! the MLP of those rows alone that a labelled row lies among. Causal attention makes that exact.
//!
//! Letters as in [`super`]; M rows that ask.

use super::{Block, Context, Kept, Scratch};
use crate::linear::group::{self, Backward, Forward};
use std::ops::Range;
use tolmach_engine::{Attention, Backend, Out, RopeDirection, Segment};

/// Which rows of a pass ask in the last block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Narrow {
    /// `[M]`: rows of the pass, ascending within each segment
    pub rows: Vec<usize>,
    /// Queries are counted in `rows`, keys in the pass
    pub segments: Vec<Segment>,
    /// `[N]`: where each labelled row stands in `rows`
    pub labelled: Vec<usize>,
}

impl Narrow {
    /// In each segment all rows from the first labelled one on: attention
    /// counts a segment's queries from its end.
    pub fn new(segments: &[Segment], labelled: &[usize]) -> Self {
        let first = |rows: &Range<usize>| {
            labelled.iter().copied().filter(|row| rows.contains(row)).min().unwrap_or(rows.end)
        };
        let mut rows = Vec::new();
        let mut place = std::collections::HashMap::new();
        let segments = segments
            .iter()
            .map(|segment| {
                let start = rows.len();
                for row in first(&segment.q)..segment.q.end {
                    place.insert(row, rows.len());
                    rows.push(row);
                }
                Segment { q: start..rows.len(), ..segment.clone() }
            })
            .collect();
        let labelled = labelled.iter().map(|row| place[row]).collect();
        Self { rows, segments, labelled }
    }

    fn attention<B: Backend>(&self, ctx: &Context<B>) -> Attention<'_> {
        Attention { segments: &self.segments, ..ctx.attention() }
    }
}

impl<B: Backend> Block<B> {
    /// From the residual stream `x [T, C]` to its rows that ask, `top [M, C]`; `top_ctx` is of those M rows,
    /// with their RoPE table.
    pub fn forward_narrow(
        &self,
        (ctx, top_ctx): (&Context<B>, &Context<B>),
        narrow: &Narrow,
        site: u64,
        x: &B::Buffer,
        top: &mut B::Buffer,
        kept: &mut Kept<B>,
        scratch: &mut Scratch<B>,
    ) {
        let (b, t, m, config) = (ctx.backend, ctx.rows, top_ctx.rows, ctx.config);
        let (h, kh, d, c) =
            (config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.hidden_size);
        b.copy_rows(x, 0, &mut kept.x_in, 0, t, c);
        {
            let Scratch { norm, narrow_norm, linear, .. } = &mut *scratch;
            let Kept { q, k, v, attn, lse, u, .. } = &mut *kept;
            let w = &self.input_layernorm.parameter.value;
            b.rms_norm(x, w, config.rms_norm_eps, t, c, norm);
            b.gather_rows(norm, &narrow.rows, c, narrow_norm);
            self.q_proj.forward(b, ctx.pass, site, narrow_norm, m, Out::Set, q, &mut u[0], linear);
            let [_, of_k, of_v, of_o, ..] = u;
            let layers = [
                Forward { layer: &self.k_proj, y: k, branch: of_k },
                Forward { layer: &self.v_proj, y: v, branch: of_v },
            ];
            group::forward(b, (ctx.pass, site + 1), norm, t, layers, linear);
            b.rope(q, top_ctx.rope, m, h, d, RopeDirection::Forward);
            b.rope(k, ctx.rope, t, kh, d, RopeDirection::Forward);
            b.attention(narrow.attention(ctx), q, k, v, attn, lse);
            b.gather_rows(x, &narrow.rows, c, top);
            self.o_proj.forward(b, ctx.pass, site + 3, attn, m, Out::Add, top, of_o, linear);
        }
        b.copy_rows(top, 0, &mut kept.x_mid, 0, m, c);
        self.mlp_forward(top_ctx, site, top, kept, scratch);
    }

    /// From the gradient `dtop [M, C]` of the rows that ask (overwritten) to that of the block's input,
    /// `dx [T, C]` (set). With `need_dx` false the latter is not computed.
    pub fn backward_narrow(
        &mut self,
        (ctx, top_ctx): (&Context<B>, &Context<B>),
        narrow: &Narrow,
        site: u64,
        dtop: &mut B::Buffer,
        dx: &mut B::Buffer,
        need_dx: bool,
        kept: &Kept<B>,
        scratch: &mut Scratch<B>,
    ) {
        self.mlp_backward(top_ctx, site, dtop, kept, scratch);
        let (b, t, m, config) = (ctx.backend, ctx.rows, top_ctx.rows, ctx.config);
        let (h, kh, d, c) =
            (config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.hidden_size);
        let Scratch { norm, dnorm, dattn, dq, dk, dv, narrow_norm, narrow_dnorm, linear, .. } = scratch;
        let Kept { x_in, q, k, v, attn, lse, u, .. } = kept;
        let dn = Some((Out::Set, &mut *dattn));
        self.o_proj.backward(b, ctx.pass, site + 3, attn, &u[3], dtop, m, dn, linear);
        b.attention_backward(narrow.attention(ctx), q, k, v, attn, lse, dattn, dq, dk, dv);
        b.rope(dq, top_ctx.rope, m, h, d, RopeDirection::Backward);
        b.rope(dk, ctx.rope, t, kh, d, RopeDirection::Backward);
        let (w, dw) = self.input_layernorm.split();
        b.rms_norm(x_in, w, config.rms_norm_eps, t, c, norm);
        b.gather_rows(norm, &narrow.rows, c, narrow_norm);
        let below = need_dx || dw.is_some();
        let dn = below.then_some((Out::Set, &mut *narrow_dnorm));
        self.q_proj.backward(b, ctx.pass, site, narrow_norm, &u[0], dq, m, dn, linear);
        let layers = [
            Backward { layer: &mut self.k_proj, branch: &u[1], dy: dk },
            Backward { layer: &mut self.v_proj, branch: &u[2], dy: dv },
        ];
        let dn = below.then_some((Out::Set, &mut *dnorm));
        group::backward(b, (ctx.pass, site + 1), norm, t, layers, dn, linear);
        if below {
            b.gather_rows_backward(narrow_dnorm, &narrow.rows, c, dnorm);
            b.clear(dx, t * c);
            b.gather_rows_backward(dtop, &narrow.rows, c, dx);
            b.rms_norm_backward(x_in, w, config.rms_norm_eps, t, c, dnorm, dx, dw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_from_the_first_label_of_each_segment_on() {
        let segments = [Segment::whole(0..3), Segment::after(0..3, 3..8), Segment::after(0..3, 8..10)];
        let narrow = Narrow::new(&segments, &[6, 4, 9]);
        assert_eq!(narrow.rows, [4, 5, 6, 7, 9]);
        assert_eq!(narrow.labelled, [2, 0, 4]);
        let queries: Vec<_> = narrow.segments.iter().map(|s| (s.q.clone(), s.kv.clone())).collect();
        assert_eq!(queries, [(0..0, 0..3), (0..4, 3..8), (4..5, 8..10)]);
        assert_eq!(narrow.segments[2].prefix, 0..3);
    }
}
