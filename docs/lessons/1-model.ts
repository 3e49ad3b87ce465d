/** @file The worked example of lesson 1: `npx tsx docs/lessons/1-model.ts` */

import { PRESETS, type PresetName } from '../../src/config.ts';
import { causalMask, gptParameters } from '../../src/model.ts';
import { countParameters } from '../../src/nn/parameters.ts';
import { matmul, rotary, softmax, type Tensor, tensor } from '../../src/tensor/index.ts';

const show = (t: Tensor, width: number): void => {
  const numbers = Array.from(t.data as Float32Array, (x) => x.toFixed(3).padStart(6));
  for (let at = 0; at < numbers.length; at += width)
    console.log(`  ${numbers.slice(at, at + width).join(' ')}`);
};

console.log('attention weights of three tokens, softmax(QKᵀ/√2 + mask), with Q = K = [1 0], [0 1], [1 1]');
const q = tensor([1, 0, 0, 1, 1, 1], [1, 1, 3, 2]);
const scores = matmul(q, q, { transposeB: true, scale: 1 / Math.sqrt(2) });
show(softmax(scores.add(causalMask(3))), 3);

console.log('RoPE: the product of a query at position m and a key at position n');
const cosines = tensor(
  Float32Array.from({ length: 100 }, (_, p) => Math.cos(p)),
  [100, 1],
);
const sines = tensor(
  Float32Array.from({ length: 100 }, (_, p) => Math.sin(p)),
  [100, 1],
);
const turn = (position: number): Tensor =>
  rotary(tensor([1, 0], [1, 1, 1, 2]), tensor([position], [1, 1], 'int32'), cosines, sines);
for (const [m, n] of [
  [5, 3],
  [47, 45],
  [47, 40],
]) {
  const product = matmul(turn(m), turn(n), { transposeB: true }).item();
  console.log(`  m=${m} n=${n}: ${product.toFixed(3)}, and cos(${m - n}) is ${Math.cos(m - n).toFixed(3)}`);
}

console.log('parameters');
for (const name of Object.keys(PRESETS) as PresetName[])
  console.log(`  ${name}: ${countParameters(gptParameters(PRESETS[name]))}`);
const mini = Object.entries(gptParameters(PRESETS.mini));
const count = (prefix: string): number =>
  countParameters(Object.fromEntries(mini.filter(([name]) => name.startsWith(prefix))));
for (const prefix of ['embedding', 'blocks.0.attention.', 'blocks.0.feed_forward.', 'blocks.0.', 'norm'])
  console.log(`  mini ${prefix}: ${count(prefix)}`);
