/** @file The worked example of the lesson on serving: `npx tsx docs/lessons/serving.ts` */

import { PRESETS } from '../../src/config.ts';
import type { SharedDecoder } from '../../src/decoder.ts';
import { createEngine } from '../../src/engine.ts';
import { GREEDY } from '../../src/sampling.ts';
import { createRandom } from '../../src/tensor/index.ts';
import { Tokenizer } from '../../src/tokenizer.ts';

const [prompt, answer] = [20, 100];
const sum = (from: number, to: number): number => ((from + to) * (to - from + 1)) / 2;
console.log(`an answer of ${answer} tokens to a prompt of ${prompt}, tokens that the model computes`);
console.log(`  everything anew for each token: ${sum(prompt, prompt + answer - 1)}`);
console.log(`  with a cache:                   ${prompt + answer - 1}`);

const { numLayers, numKvHeads, numHeads, hiddenSize, contextLength } = PRESETS.mini;
const perToken = 2 * numLayers * numKvHeads * (hiddenSize / numHeads) * 4;
console.log(`the cache of mini: 2 x ${numLayers} x ${hiddenSize} x 4 = ${perToken} bytes a token,`);
console.log(`  ${((perToken * contextLength) / 2 ** 20).toFixed(1)} MiB for a full context`);

// Steps that each answer takes; its first token comes with the reading of its prompt.
const STEPS = { A: 5, B: 2, C: 8, D: 3, E: 4 };
const SLOTS = 3;
const [letters, lengths] = [Object.keys(STEPS), Object.values(STEPS)];
const total = lengths.reduce((a, b) => a + b);
const report = (name: string, steps: number): void =>
  console.log(`${name}: ${steps} steps, ${Math.round((100 * total) / (SLOTS * steps))}% of the places used`);

let inGroups = 0;
for (let first = 0; first < lengths.length; first += SLOTS)
  inGroups += Math.max(...lengths.slice(first, first + SLOTS));
report('in groups, each as long as its longest', inGroups);

// The engine of the server, over a decoder that computes nothing and writes down who has which place in each step.
const owner: string[] = [];
const rows = Array.from({ length: SLOTS }, () => '');
const scores = new Float32Array(262);
const decoder: SharedDecoder = {
  batchSize: SLOTS,
  maxLength: contextLength,
  admit: async (slot, prompt) => {
    owner[slot] = letters[prompt[0]];
    return scores;
  },
  step: async (tokens) =>
    rows.map((row, slot) => {
      rows[slot] = row + (tokens[slot] < 0 ? '.' : owner[slot]);
      return scores;
    }),
  dismiss: () => {},
  prepare: async () => {},
  reorder: () => {},
  prefill: async () => [scores],
  release: async () => {},
};
const tokenizer = Tokenizer.train(['x'], { vocabSize: 262 });
const engine = createEngine({ decoder, tokenizer, queue: letters.length });
await Promise.all(
  lengths.map((steps, letter) =>
    engine.write({
      prompt: [letter],
      maxNewTokens: steps + 1,
      sampling: GREEDY,
      random: createRandom(1),
      onToken: () => {},
    }),
  ),
);
report('each place taken again as it becomes free', rows[0].length);
rows.forEach((row, slot) => {
  console.log(`  slot ${slot}  ${row.split('').join(' ')}`);
});

const event = `data: ${JSON.stringify({
  id: 'chatcmpl-0123456789abcdef0123456789abcdef',
  object: 'chat.completion.chunk',
  created: 1800000000,
  model: 'sft_final',
  choices: [{ index: 0, delta: { content: '好' }, logprobs: null, finish_reason: null }],
})}\n\n`;
const bytes = new TextEncoder().encode(event).length;
console.log(`one token of 3 bytes as an event of a stream: ${bytes} bytes`);
