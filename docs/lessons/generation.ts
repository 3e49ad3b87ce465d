/** @file The worked example of the lesson on generation: `npx tsx docs/lessons/generation.ts` */

import { beamSearch } from '../../src/beam-search.ts';
import type { Decoder } from '../../src/decoder.ts';
import {
  createHistory,
  keepMinP,
  keepTopK,
  keepTopP,
  penalizeFrequency,
  penalizePresence,
  penalizeRepetition,
  scaleByTemperature,
  softmaxOf,
} from '../../src/sampling.ts';

// What may follow 我爱吃, and how a model scores it.
const words = ['米饭', '面条', '水果', '石头', '昨天'];
const logits = Float32Array.of(2, 1.5, 1, -1, -2);

const show = (name: string, numbers: Float32Array | Float64Array, digits: number): void =>
  console.log(
    [name.padEnd(22), ...Array.from(numbers, (number) => number.toFixed(digits).padStart(7))].join(''),
  );

console.log(words.join(' '));
show('scores', logits, 2);
for (const temperature of [2, 1, 0.5, 0.1])
  show(`temperature ${temperature}`, softmaxOf(scaleByTemperature(logits, temperature)), 3);
show('top-k 2', softmaxOf(keepTopK(logits, 2)), 3);
show('top-p 0.8', softmaxOf(keepTopP(logits, 0.8)), 3);
show('min-p 0.2', softmaxOf(keepMinP(logits, 0.2)), 3);

// The same samplers where the model is less sure.
const flat = scaleByTemperature(logits, 3);
show('flatter', softmaxOf(flat), 3);
show('flatter, top-k 2', softmaxOf(keepTopK(flat, 2)), 3);
show('flatter, top-p 0.8', softmaxOf(keepTopP(flat, 0.8)), 3);
show('flatter, min-p 0.2', softmaxOf(keepMinP(flat, 0.2)), 3);

const history = createHistory();
for (const word of ['米饭', '石头', '米饭']) history.add(words.indexOf(word));
show('repetition 1.2', penalizeRepetition(logits, history.words, 1.2), 2);
show('frequency 0.4', penalizeFrequency(logits, history.counts, 0.4), 2);
show('presence 0.4', penalizePresence(logits, history.counts, 0.4), 2);

/** Probabilities of the next of the tokens A, B, C and the end, after what was written. */
const TOKENS = ['A', 'B', 'C', '.'];
const TREE: Readonly<Record<string, readonly number[]>> = {
  '': [0.5, 0.4, 0.1, 0],
  A: [0.25, 0.25, 0.2, 0.3],
  B: [0.05, 0, 0, 0.95],
  C: [0.1, 0.1, 0.1, 0.7],
};

/** A decoder that reads its scores from the tree. */
function treeDecoder(batchSize: number): Decoder {
  let written: string[] = [];
  const scores = (): Float32Array[] =>
    written.map((text) => Float32Array.from(TREE[text] ?? [0, 0, 0, 1], (p) => Math.log(p)));
  return {
    batchSize,
    maxLength: 10,
    async prefill() {
      written = Array.from({ length: batchSize }, () => '');
      return scores();
    },
    async step(tokens) {
      written = written.map((text, b) => text + (TOKENS[tokens[b]] ?? ''));
      return scores();
    },
    reorder(sources) {
      written = written.map((_, b) => written[sources[b] ?? b]);
    },
    async prepare() {},
    async release() {},
  };
}

for (const width of [1, 2]) {
  const found = await beamSearch({
    decoder: treeDecoder(width),
    prompt: [0],
    maxNewTokens: 2,
    ends: (tokens) => tokens.at(-1) === TOKENS.indexOf('.'),
  });
  for (const { tokens, logProbability } of found) {
    const text = tokens.map((token) => TOKENS[token]).join('');
    const mean = logProbability / tokens.length;
    console.log(
      `beam of ${width}: ${text}  p ${Math.exp(logProbability).toFixed(3)}, mean log p ${mean.toFixed(3)}`,
    );
  }
}
