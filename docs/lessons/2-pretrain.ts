/** @file The worked example of lesson 2: `npx tsx docs/lessons/2-pretrain.ts` */

import { countRows, cutRows, packDocuments } from '../../src/data/pack.ts';
import { learningRateAt } from '../../src/nn/optimizer.ts';
import { crossEntropy, tensor } from '../../src/tensor/index.ts';

const documents = [Int32Array.of(11, 12, 13), Int32Array.of(21, 22), Int32Array.of(31, 32, 33, 34)];
const stream = packDocuments(documents, { contextLength: 4, separator: 3 });
console.log(`stream: ${stream.join(' ')}`);
const rows = Array.from({ length: countRows(stream.length, 4) }, (_, row) => row);
const { ids, targets } = cutRows(stream, { contextLength: 4, rows });
for (const row of rows) {
  const part = (all: Int32Array): string => all.subarray(row * 4, row * 4 + 4).join(' ');
  console.log(`row ${row}: inputs ${part(ids)}, targets ${part(targets)}`);
}

console.log('cross entropy of the scores 2, 1, 0, -1');
for (const target of [0, 1, 2, 3]) {
  const { losses } = crossEntropy(tensor([2, 1, 0, -1], [1, 4]), tensor([target], [1], 'int32'));
  console.log(`  target ${target}: ${losses.item().toFixed(3)} nats`);
}
console.log(`knowing nothing about 2000 tokens: ln 2000 = ${Math.log(2000).toFixed(3)} nats`);

const bitsPerByte = (nats: number, bytes: number): string => (nats / Math.LN2 / bytes).toFixed(3);
console.log(`3 nats a token of 3.48 bytes: ${bitsPerByte(3, 3.48)} bits per byte`);
console.log(`2 nats a token of 1.9 bytes: ${bitsPerByte(2, 1.9)} bits per byte`);

const schedule = { peak: 2e-3, warmupSteps: 100, totalSteps: 600, finalFraction: 0.1 };
for (const step of [0, 49, 99, 349, 599])
  console.log(`learning rate of step ${step}: ${learningRateAt(step, schedule).toExponential(3)}`);
