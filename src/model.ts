/**
 * @file Lesson 1: the GPT, read from top to bottom.
 *
 * A decoder-only transformer (Vaswani et al. 2017; Radford et al. 2019): token embeddings, a stack of blocks that each
 * attend and then transform, a last normalisation, and one score per vocabulary entry. Positions enter by rotation
 * (Su et al. 2021). With `norm: 'layernorm', activation: 'gelu'` it is GPT-NeoX with sequential residuals; with
 * `norm: 'rmsnorm', activation: 'swiglu'` and fewer key/value heads it is Llama; with `numExperts`, each block has several
 * feed-forward layers of which a token uses a few (`nn/mixture-of-experts.ts`).
 *
 * Legend: B batch, T time (tokens), P past (cached tokens), C channels (`hiddenSize`), H query heads, G key/value heads,
 * D width of a head, V vocabulary.
 */

import type { ModelConfig } from './config.ts';
import { dropout, LayerNorm, Linear, RmsNorm, silu } from './nn/layers.ts';
import { MixtureOfExperts, type Transformed } from './nn/mixture-of-experts.ts';
import { listParameters, type ParameterSpec, type Parameters } from './nn/parameters.ts';
import { lookingBack, rotaryTables } from './nn/positions.ts';
import {
  arange,
  broadcastTo,
  concat,
  gather,
  gelu,
  gemm,
  matmul,
  rotary,
  softmax,
  split,
  type Tensor,
  tensor,
} from './tensor/index.ts';

/** What attention needs to know besides the activations. */
export interface Context {
  /** Position of each token, int32 `[B, T]`. */
  readonly positions: Tensor;
  /** Added to the scores: 0 where a token may look, very negative where not. `[B or 1, 1, T, P + T]`. */
  readonly mask: Tensor;
  /** Keys and values of earlier tokens, a pair per block, `[B, G, P, D]` each. */
  readonly past?: readonly KeysValues[];
  /** int32 scalar that seeds dropout; none: no dropout. */
  readonly dropoutKey?: Tensor;
}

export interface KeysValues {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** A score that softmax turns into exactly zero. */
export const MASKED = -1e9;

/** Lower-triangular mask `[1, 1, T, T]`: a token sees itself and what came before. */
export function causalMask(length: number): Tensor {
  const mask = new Float32Array(length * length);
  for (let query = 0; query < length; query++)
    mask.fill(MASKED, query * length + query + 1, (query + 1) * length);
  return tensor(mask, [1, 1, length, length]);
}

/** Multi-head attention: each token gathers from earlier tokens, weighted by how well its query fits their keys. */
export class CausalSelfAttention {
  readonly config: ModelConfig;
  readonly c_attn: Linear;
  readonly c_proj: Linear;
  readonly cos: Tensor;
  readonly sin: Tensor;

  constructor(parameters: Parameters, config: ModelConfig, block: number) {
    const { hiddenSize, numHeads, numKvHeads, numLayers } = config;
    const headSize = hiddenSize / numHeads;
    this.config = config;
    // Queries of all heads, then keys, then values, in one product.
    this.c_attn = new Linear(parameters.at('c_attn'), hiddenSize, (numHeads + 2 * numKvHeads) * headSize, {
      init: { std: 0.02 },
      bias: hasBias(config) && lookingBack(config, block),
    });
    this.c_proj = new Linear(parameters.at('c_proj'), hiddenSize, hiddenSize, {
      init: { std: residualStd(numLayers) },
      bias: hasBias(config),
    });
    [this.cos, this.sin] = rotaryTables(config.contextLength, headSize, config.ropeBase);
  }

  /** `x [B, T, C]` to the output `[B, T, C]` and this block's new keys and values `[B, G, T, D]`. */
  forward(x: Tensor, { positions, mask }: Context, past?: KeysValues): { output: Tensor } & KeysValues {
    const { hiddenSize, numHeads: H, numKvHeads: G } = this.config;
    const [B, T] = x.shape;
    const D = hiddenSize / H;

    const projected = this.c_attn
      .forward(x)
      .reshape([B, T, H + 2 * G, D])
      .transpose([0, 2, 1, 3]); // [B, H+2G, T, D]
    const [q, k, values] = split(projected, [H, G, G], 1);
    const keys = rotary(k, positions, this.cos, this.sin); // [B, G, T, D]
    // The H/G query heads that share a key head stand one after another: read them as one long list of queries.
    const queries = rotary(q, positions, this.cos, this.sin).reshape([B, G, (H / G) * T, D]);

    // softmax(Q Kᵀ / √d) V
    const scoresAgainst = (other: Tensor): Tensor =>
      matmul(queries, other, { transposeB: true, scale: 1 / Math.sqrt(D) }).reshape([
        B,
        H,
        T,
        other.shape[2],
      ]);
    const scores = past ? concat([scoresAgainst(past.keys), scoresAgainst(keys)], -1) : scoresAgainst(keys);
    const weights = softmax(scores.add(mask)); // [B, H, T, P+T]

    const average = (part: Tensor, of: Tensor): Tensor =>
      matmul(part.reshape([B, G, (H / G) * T, of.shape[2]]), of);
    let heads: Tensor;
    if (past) {
      const [old, recent] = split(weights, [past.keys.shape[2], T], -1);
      heads = average(old, past.values).add(average(recent, values));
    } else heads = average(weights, values);

    const merged = heads.reshape([B, H, T, D]).transpose([0, 2, 1, 3]).reshape([B, T, hiddenSize]);
    return { output: this.c_proj.forward(merged), keys, values };
  }
}

/** Each token by itself: widen, bend, narrow. */
export class FeedForward {
  readonly linear1: Linear;
  readonly linear2: Linear;
  readonly gate: Linear | undefined;

  constructor(parameters: Parameters, config: ModelConfig) {
    const { hiddenSize, intermediateSize, activation, numLayers } = config;
    const bias = hasBias(config);
    const options = { init: { std: 0.02 }, bias };
    this.gate =
      activation === 'swiglu'
        ? new Linear(parameters.at('gate'), hiddenSize, intermediateSize, options)
        : undefined;
    this.linear1 = new Linear(parameters.at('linear1'), hiddenSize, intermediateSize, options);
    this.linear2 = new Linear(parameters.at('linear2'), intermediateSize, hiddenSize, {
      init: { std: residualStd(numLayers) },
      bias,
    });
  }

  forward(x: Tensor): Transformed {
    const wide = this.linear1.forward(x); // [..., 4C]
    const bent = this.gate ? silu(this.gate.forward(x)).mul(wide) : gelu(wide);
    return { output: this.linear2.forward(bent) };
  }
}

/** Attention, then feed-forward, each on a normalised copy whose result is added back to the stream. */
export class TransformerBlock {
  readonly attention_norm: LayerNorm | RmsNorm;
  readonly attention: CausalSelfAttention;
  readonly feed_forward_norm: LayerNorm | RmsNorm;
  readonly feed_forward: FeedForward | MixtureOfExperts;
  readonly dropoutRate: number;
  /** Which of the blocks this is, from 0. */
  readonly block: number;

  constructor(parameters: Parameters, config: ModelConfig, block: number) {
    this.attention_norm = norm(parameters.at('attention_norm'), config);
    this.attention = new CausalSelfAttention(parameters.at('attention'), config, block);
    this.feed_forward_norm = norm(parameters.at('feed_forward_norm'), config);
    this.feed_forward = feedForward(parameters.at('feed_forward'), config);
    this.dropoutRate = config.dropout;
    this.block = block;
  }

  forward(x: Tensor, context: Context): { x: Tensor } & KeysValues & Pick<Transformed, 'balance'> {
    const key = (site: number): Tensor | undefined => context.dropoutKey?.add(2 * this.block + site);
    const { output, keys, values } = this.attention.forward(
      this.attention_norm.forward(x),
      context,
      context.past?.[this.block],
    );
    const attended = x.add(dropout(output, this.dropoutRate, key(1)));
    const { output: transformed, balance } = this.feed_forward.forward(
      this.feed_forward_norm.forward(attended),
    );
    return { x: attended.add(dropout(transformed, this.dropoutRate, key(2))), keys, values, balance };
  }
}

/** What the model makes of tokens. */
export interface Hidden {
  /** The last hidden states `[B, T, C]`. */
  readonly hidden: Tensor;
  /** Keys and values of every block. */
  readonly cache: readonly KeysValues[];
  /** Mean balancing loss of the blocks' experts, a scalar, to be added in training; undefined without experts. */
  readonly balance: Tensor | undefined;
}

/** The whole model. */
export class GPT {
  readonly config: ModelConfig;
  readonly embedding: Tensor;
  readonly blocks: readonly TransformerBlock[];
  readonly norm: LayerNorm | RmsNorm;

  constructor(parameters: Parameters, config: ModelConfig) {
    this.config = config;
    this.embedding = parameters
      .at('embedding')
      .get('weight', [config.vocabSize, config.hiddenSize], { std: 0.02 });
    this.blocks = Array.from(
      { length: config.numLayers },
      (_, i) => new TransformerBlock(parameters.at('blocks').at(i), config, i),
    );
    this.norm = norm(parameters.at('norm'), config);
  }

  /** From token ids int32 `[B, T]`. Without a context: positions `0 .. T-1`, causal mask. */
  forward(tokens: Tensor, context: Partial<Context> = {}): Hidden {
    const [B, T] = tokens.shape;
    const complete: Context = {
      ...context,
      positions: context.positions ?? broadcastTo(arange(T).reshape([1, T]), [B, T]),
      mask: context.mask ?? causalMask(T),
    };
    const cache: KeysValues[] = [];
    const balances: Tensor[] = [];
    let x = dropout(gather(this.embedding, tokens), this.config.dropout, context.dropoutKey); // [B, T, C]
    this.blocks.forEach((block) => {
      const { x: next, keys, values, balance } = block.forward(x, complete);
      x = next;
      cache.push({ keys, values });
      if (balance) balances.push(balance);
    });
    const total = balances.length > 0 ? balances.reduce((a, b) => a.add(b)) : undefined;
    return { hidden: this.norm.forward(x), cache, balance: total?.div(balances.length) };
  }

  /** Scores of the next token `[M, V]` from hidden states `[..., C]`: the embedding table read the other way round. */
  logits(hidden: Tensor): Tensor {
    return gemm(hidden.reshape([-1, this.config.hiddenSize]), this.embedding, undefined, {
      transposeB: true,
    });
  }
}

/** All weights of a model of this configuration. */
export function gptParameters(config: ModelConfig): Record<string, ParameterSpec> {
  return listParameters((parameters) => new GPT(parameters, config));
}

/**
 * The matrices inside the blocks by name (but for routers, which score experts as the embedding scores tokens), each with the widths of those that stand side by side in it: queries, keys and
 * values in `c_attn`.
 */
export function hiddenMatrices(config: ModelConfig): Record<string, readonly number[]> {
  const { hiddenSize, numHeads, numKvHeads } = config;
  const keys = (hiddenSize / numHeads) * numKvHeads;
  const inBlocks = Object.entries(gptParameters(config)).filter(
    ([name, { shape }]) =>
      name.startsWith('blocks.') && shape.length === 2 && !name.endsWith('router.weight'),
  );
  return Object.fromEntries(
    inBlocks.map(([name, { shape }]) => [
      name,
      name.endsWith('c_attn.weight') ? [hiddenSize, keys, keys] : [shape[1]],
    ]),
  );
}

function feedForward(parameters: Parameters, config: ModelConfig): FeedForward | MixtureOfExperts {
  const { hiddenSize, numExperts, numExpertsPerToken } = config;
  if (numExperts === undefined || numExpertsPerToken === undefined)
    return new FeedForward(parameters, config);
  const shape = { hiddenSize, numExperts, numExpertsPerToken };
  return new MixtureOfExperts(parameters, shape, (expert) => new FeedForward(expert, config));
}

/** GPT's linear layers have biases, Llama's have none. */
function hasBias(config: ModelConfig): boolean {
  return config.norm === 'layernorm';
}

function norm(parameters: Parameters, config: ModelConfig): LayerNorm | RmsNorm {
  return config.norm === 'layernorm'
    ? new LayerNorm(parameters, config.hiddenSize)
    : new RmsNorm(parameters, config.hiddenSize);
}

/** Layers that write into the residual stream start smaller, so that its variance does not grow with depth (GPT-2). */
function residualStd(numLayers: number): number {
  return 0.02 / Math.sqrt(2 * numLayers);
}
