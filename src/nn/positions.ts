/**
 * @file Where a token is: the rotation of queries and keys, and the heads that begin by looking back.
 *
 * Legend: H query heads, G key/value heads, D width of a head.
 */

import type { ModelConfig } from '../config.ts';
import { type Tensor, tensor } from '../tensor/index.ts';
import type { Initializer } from './parameters.ts';

/** cos and sin `[contextLength, D/2]` of the angle `position · base^(-2i/D)` (Su et al. 2021). */
export function rotaryTables(
  contextLength: number,
  headSize: number,
  base: number,
): [cos: Tensor, sin: Tensor] {
  const half = headSize / 2;
  const frequencies = rotaryFrequencies(headSize, base);
  const angles = Float64Array.from(
    { length: contextLength * half },
    (_, i) => Math.floor(i / half) * frequencies[i % half],
  );
  const shape = [contextLength, half];
  return [
    tensor(Float32Array.from(angles, Math.cos), shape),
    tensor(Float32Array.from(angles, Math.sin), shape),
  ];
}

/** By how much each pair of channels turns from one position to the next, the fastest first. */
function rotaryFrequencies(headSize: number, base: number): number[] {
  const half = headSize / 2;
  return Array.from({ length: half }, (_, i) => base ** (-i / half));
}

/** By how much the place looked back to leads over those beside it, in nats. */
const LEAD = 3;

/**
 * The first bias of a block's queries, keys and values, `[(H + 2G) D]`: 0, but for a quarter of the heads in the first half
 * of the blocks, where the first head looks one token back, the second two.
 *
 * To find what followed a word the last time, a later head needs to know which word stood before each place; heads that tell
 * it grow in every language model (Olsson et al. 2022, "In-context Learning and Induction Heads"), but late where text is
 * scarce. A bias in keys and queries alone is a score that depends on the distance alone: turned to positions m and n, the
 * pair `key = (a, 0)`, `query = (a cos kω, -a sin kω)` scores `a² cos((m - n - k) ω)`, which is largest k tokens back.
 * What the head does afterwards is up to training.
 */
export function lookingBack(config: ModelConfig, block: number): Initializer {
  const { hiddenSize, numLayers, numHeads: H, numKvHeads: G, ropeBase } = config;
  const D = hiddenSize / H;
  const heads = block < numLayers / 2 ? Math.floor(H / 4) : 0;
  // Slow pairs hardly tell neighbours apart.
  const fast = rotaryFrequencies(D, ropeBase).slice(0, Math.ceil(D / 8));
  const contrast = fast.reduce((sum, frequency) => sum + 1 - Math.cos(frequency), 0) / Math.sqrt(D);
  const size = Math.sqrt(LEAD / contrast);

  const values = new Float32Array((H + 2 * G) * D);
  for (let head = 0; head < heads; head++) {
    const query = head * D;
    const key = (H + Math.floor((head * G) / H)) * D;
    for (const [pair, frequency] of fast.entries()) {
      const angle = (head + 1) * frequency;
      values[key + pair] = size;
      values[query + pair] = size * Math.cos(angle);
      values[query + pair + D / 2] = -size * Math.sin(angle);
    }
  }
  return { values };
}
