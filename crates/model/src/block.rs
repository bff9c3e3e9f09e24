//! One decoder block, forward and backward: x += attention(norm(x)), x += mlp(norm(x)).
//!
//! Legend: T rows · C hidden · F ffn · H heads · K kv heads · D head dim · R rank.
//! What the backward needs is kept ([`Kept`]); norms, SwiGLU and dropout are computed again from it.

mod buffers;
mod narrow;

pub use buffers::{BlockRows, Branches, Kept, Scratch, ScratchSize};
pub use narrow::Narrow;

use crate::config::Config;
use crate::linear::group::{self, Backward, Forward};
use crate::linear::{Linear, Pass};
use crate::parameter::{NormWeight, Parameter};
use tolmach_engine::{Attention, Backend, Out, RopeDirection, Segment};

/// The linear layers of a block, in the order of their dropout sites.
pub const LINEAR_LAYERS: [&str; 7] =
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

pub struct Block<B: Backend> {
    pub input_layernorm: NormWeight<B>,
    pub q_proj: Linear<B>,
    pub k_proj: Linear<B>,
    pub v_proj: Linear<B>,
    pub o_proj: Linear<B>,
    pub post_attention_layernorm: NormWeight<B>,
    pub gate_proj: Linear<B>,
    pub up_proj: Linear<B>,
    pub down_proj: Linear<B>,
}

/// What all blocks of one pass share.
pub struct Context<'a, B: Backend> {
    pub backend: &'a B,
    pub config: &'a Config,
    pub pass: Pass,
    /// T
    pub rows: usize,
    /// cos and sin of every row's position, `[T, D]`
    pub rope: &'a B::Buffer,
    pub segments: &'a [Segment],
}

impl<B: Backend> Context<'_, B> {
    fn attention(&self) -> Attention<'_> {
        let c = self.config;
        Attention {
            heads: c.num_attention_heads,
            kv_heads: c.num_key_value_heads,
            head_dim: c.head_dim,
            scale: 1.0 / (c.head_dim as f64).sqrt(),
            segments: self.segments,
        }
    }
}

impl<B: Backend> Block<B> {
    /// In place on the residual stream `x [T, C]`. `site` is 7 · the block's index. With a cache, a pass of decoding:
    /// the new keys and values go into it.
    pub fn forward(
        &self,
        ctx: &Context<B>,
        site: u64,
        x: &mut B::Buffer,
        kept: &mut Kept<B>,
        scratch: &mut Scratch<B>,
        cache: Option<&mut B::Cache>,
    ) {
        let (b, t, c) = (ctx.backend, ctx.rows, ctx.config.hidden_size);
        b.copy_rows(x, 0, &mut kept.x_in, 0, t, c);
        self.attention_forward(ctx, site, x, kept, scratch, cache);
        b.copy_rows(x, 0, &mut kept.x_mid, 0, t, c);
        self.mlp_forward(ctx, site, x, kept, scratch);
    }

    /// The part of [`Block::forward`] that the backward reads, again: fills `kept` from the block's input
    /// `x [T, C]`, to the same bits. What `x` holds afterwards is of no use.
    pub fn recompute(
        &self,
        ctx: &Context<B>,
        site: u64,
        x: &mut B::Buffer,
        kept: &mut Kept<B>,
        scratch: &mut Scratch<B>,
    ) {
        let (b, t, c) = (ctx.backend, ctx.rows, ctx.config.hidden_size);
        b.copy_rows(x, 0, &mut kept.x_in, 0, t, c);
        self.attention_forward(ctx, site, x, kept, scratch, None);
        b.copy_rows(x, 0, &mut kept.x_mid, 0, t, c);
        self.gate_and_up(ctx, site, x, kept, scratch);
        let Scratch { h, linear, .. } = scratch;
        self.down_proj.branch(b, ctx.pass, site + 6, h, t, &mut kept.u[6], linear);
    }

    /// In place on the gradient of the residual stream `dx [T, C]`. With `need_dx` false the gradient
    /// of the block's input is not computed (nothing below it is trained).
    pub fn backward(
        &mut self,
        ctx: &Context<B>,
        site: u64,
        dx: &mut B::Buffer,
        need_dx: bool,
        kept: &Kept<B>,
        scratch: &mut Scratch<B>,
    ) {
        self.mlp_backward(ctx, site, dx, kept, scratch);
        self.attention_backward(ctx, site, dx, need_dx, kept, scratch);
    }

    fn attention_forward(
        &self,
        ctx: &Context<B>,
        site: u64,
        x: &mut B::Buffer,
        kept: &mut Kept<B>,
        scratch: &mut Scratch<B>,
        cache: Option<&mut B::Cache>,
    ) {
        let (b, t, config) = (ctx.backend, ctx.rows, ctx.config);
        let (h, kh, d) = (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let Scratch { norm, linear, .. } = scratch;
        let Kept { q, k, v, attn, lse, u, .. } = kept;
        let w = &self.input_layernorm.parameter.value;
        b.rms_norm(x, w, config.rms_norm_eps, t, config.hidden_size, norm);
        let [of_q, of_k, of_v, of_o, ..] = u;
        let layers = [
            Forward { layer: &self.q_proj, y: q, branch: of_q },
            Forward { layer: &self.k_proj, y: k, branch: of_k },
            Forward { layer: &self.v_proj, y: v, branch: of_v },
        ];
        group::forward(b, (ctx.pass, site), norm, t, layers, linear);
        b.rope(q, ctx.rope, t, h, d, RopeDirection::Forward);
        b.rope(k, ctx.rope, t, kh, d, RopeDirection::Forward);
        match cache {
            None => b.attention(ctx.attention(), q, k, v, attn, lse),
            Some(cache) => b.attention_cached(ctx.attention(), q, k, v, cache, attn),
        }
        self.o_proj.forward(b, ctx.pass, site + 3, attn, t, Out::Add, x, of_o, linear);
    }

    fn attention_backward(
        &mut self,
        ctx: &Context<B>,
        site: u64,
        dx: &mut B::Buffer,
        need_dx: bool,
        kept: &Kept<B>,
        scratch: &mut Scratch<B>,
    ) {
        let (b, t, config) = (ctx.backend, ctx.rows, ctx.config);
        let (h, kh, d) = (config.num_attention_heads, config.num_key_value_heads, config.head_dim);
        let Scratch { norm, dnorm, dattn, dq, dk, dv, linear, .. } = scratch;
        let Kept { x_in, q, k, v, attn, lse, u, .. } = kept;
        self.o_proj.backward(
            b,
            ctx.pass,
            site + 3,
            attn,
            &u[3],
            dx,
            t,
            Some((Out::Set, &mut *dattn)),
            linear,
        );
        b.attention_backward(ctx.attention(), q, k, v, attn, lse, dattn, dq, dk, dv);
        b.rope(dq, ctx.rope, t, h, d, RopeDirection::Backward);
        b.rope(dk, ctx.rope, t, kh, d, RopeDirection::Backward);
        let (w, dw) = self.input_layernorm.split();
        b.rms_norm(x_in, w, config.rms_norm_eps, t, config.hidden_size, norm);
        let below = need_dx || dw.is_some();
        let layers = [
            Backward { layer: &mut self.q_proj, branch: &u[0], dy: dq },
            Backward { layer: &mut self.k_proj, branch: &u[1], dy: dk },
            Backward { layer: &mut self.v_proj, branch: &u[2], dy: dv },
        ];
        let dn = below.then_some((Out::Set, &mut *dnorm));
        group::backward(b, (ctx.pass, site), norm, t, layers, dn, linear);
        if below {
            b.rms_norm_backward(x_in, w, config.rms_norm_eps, t, config.hidden_size, dnorm, dx, dw);
        }
    }

    fn mlp_forward(
        &self,
        ctx: &Context<B>,
        site: u64,
        x: &mut B::Buffer,
        kept: &mut Kept<B>,
        scratch: &mut Scratch<B>,
    ) {
        self.gate_and_up(ctx, site, x, kept, scratch);
        let Scratch { h, linear, .. } = scratch;
        self.down_proj.forward(
            ctx.backend,
            ctx.pass,
            site + 6,
            h,
            ctx.rows,
            Out::Add,
            x,
            &mut kept.u[6],
            linear,
        );
    }

    /// From `x [T, C]` to `scratch.h [T, F]`.
    fn gate_and_up(
        &self,
        ctx: &Context<B>,
        site: u64,
        x: &B::Buffer,
        kept: &mut Kept<B>,
        scratch: &mut Scratch<B>,
    ) {
        let (b, t, config) = (ctx.backend, ctx.rows, ctx.config);
        let Scratch { norm, h, linear, .. } = scratch;
        let Kept { gate, up, u, .. } = kept;
        let w = &self.post_attention_layernorm.parameter.value;
        b.rms_norm(x, w, config.rms_norm_eps, t, config.hidden_size, norm);
        let [_, _, _, _, of_gate, of_up, _] = u;
        let layers = [
            Forward { layer: &self.gate_proj, y: gate, branch: of_gate },
            Forward { layer: &self.up_proj, y: up, branch: of_up },
        ];
        group::forward(b, (ctx.pass, site + 4), norm, t, layers, linear);
        b.swiglu(gate, up, t * config.intermediate_size, h);
    }

    fn mlp_backward(
        &mut self,
        ctx: &Context<B>,
        site: u64,
        dx: &mut B::Buffer,
        kept: &Kept<B>,
        scratch: &mut Scratch<B>,
    ) {
        let (b, t, config) = (ctx.backend, ctx.rows, ctx.config);
        let len = t * config.intermediate_size;
        let Scratch { norm, dnorm, h, dh, linear, .. } = scratch;
        let Kept { x_mid, gate, up, u, .. } = kept;
        b.swiglu(gate, up, len, h);
        self.down_proj.backward(b, ctx.pass, site + 6, h, &u[6], dx, t, Some((Out::Set, &mut *dh)), linear);
        let (dgate, dup) = (h, dh); // h has been read, and dh becomes dup
        b.swiglu_backward(gate, up, len, dup, dgate);
        let (w, dw) = self.post_attention_layernorm.split();
        b.rms_norm(x_mid, w, config.rms_norm_eps, t, config.hidden_size, norm);
        let layers = [
            Backward { layer: &mut self.gate_proj, branch: &u[4], dy: dgate },
            Backward { layer: &mut self.up_proj, branch: &u[5], dy: dup },
        ];
        let dn = Some((Out::Set, &mut *dnorm));
        group::backward(b, (ctx.pass, site + 4), norm, t, layers, dn, linear);
        b.rms_norm_backward(x_mid, w, config.rms_norm_eps, t, config.hidden_size, dnorm, dx, dw);
    }

    pub fn linear_layers(&self) -> [&Linear<B>; 7] {
        [
            &self.q_proj,
            &self.k_proj,
            &self.v_proj,
            &self.o_proj,
            &self.gate_proj,
            &self.up_proj,
            &self.down_proj,
        ]
    }

    /// In the order of [`LINEAR_LAYERS`].
    pub fn linear_layers_mut(&mut self) -> [&mut Linear<B>; 7] {
        [
            &mut self.q_proj,
            &mut self.k_proj,
            &mut self.v_proj,
            &mut self.o_proj,
            &mut self.gate_proj,
            &mut self.up_proj,
            &mut self.down_proj,
        ]
    }

    /// Whether a backward has anything to compute in this block.
    pub fn is_trained(&self) -> bool {
        self.input_layernorm.trained
            || self.post_attention_layernorm.trained
            || self.linear_layers().iter().any(|l| l.is_trained())
    }

    /// Every trained tensor, in a fixed order.
    pub fn parameters_mut(&mut self) -> Vec<&mut Parameter<B>> {
        let Block {
            input_layernorm,
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            post_attention_layernorm,
            gate_proj,
            up_proj,
            down_proj,
        } = self;
        let mut all = Vec::new();
        for norm in [input_layernorm, post_attention_layernorm] {
            if norm.trained {
                all.push(&mut norm.parameter);
            }
        }
        for layer in [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj] {
            all.extend(layer.parameters_mut());
        }
        all
    }
}
