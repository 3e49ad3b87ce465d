import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { saveCheckpoint } from '../src/checkpoint.ts';
import { createDecoder } from '../src/decoder.ts';
import { measurePerplexity, slideWindows } from '../src/perplexity.ts';
import { softmaxOf } from '../src/sampling.ts';
import type { Runtime } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { SPECIAL } from '../src/tokenizer.ts';
import { expectClose } from './support/close.ts';
import { runHere } from './support/command.ts';
import { fc } from './support/property.ts';
import { CONFIG, DOCUMENTS, freshWeights, tokenizer, withFolder } from './support/tiny.ts';

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
});

const measure = (documents: readonly string[], stride: number, weights = freshWeights()) =>
  measurePerplexity({ runtime, config: CONFIG, weights, tokenizer, documents, stride });

describe('windows', () => {
  test('by hand: 8 tokens through windows of 4, each 2 further', () => {
    const ids = Int32Array.of(10, 11, 12, 13, 14, 15, 16, 17);
    const shown = slideWindows(ids, 4, 2).map(({ ids, targets, countedFrom }) => [
      [...ids],
      [...targets],
      countedFrom,
    ]);
    expect(shown).toEqual([
      [[10, 11, 12, 13], [11, 12, 13, 14], 0],
      [[12, 13, 14, 15], [13, 14, 15, 16], 2],
      [[14, 15, 16], [15, 16, 17], 2],
    ]);
    expect(slideWindows(Int32Array.of(10), 4, 2)).toEqual([]);
  });

  test('every token but the first is counted once, with as much before it as promised', () => {
    const lengths = fc
      .integer({ min: 1, max: 9 })
      .chain((length) =>
        fc.tuple(fc.constant(length), fc.integer({ min: 1, max: length }), fc.integer({ min: 1, max: 60 })),
      );
    fc.assert(
      fc.property(lengths, ([length, stride, total]) => {
        const ids = Int32Array.from({ length: total }, (_, i) => i);
        const counted: number[] = [];
        for (const window of slideWindows(ids, length, stride)) {
          expect(window.ids.length).toBeLessThanOrEqual(length);
          expect([...window.targets]).toEqual(Array.from(window.ids, (id) => id + 1));
          for (let i = window.countedFrom; i < window.targets.length; i++) {
            counted.push(window.targets[i]);
            expect(i + 1).toBeGreaterThanOrEqual(Math.min(window.targets[i], length - stride + 1));
          }
        }
        expect(counted).toEqual([...ids.subarray(1)]);
      }),
    );
  });
});

describe('perplexity', () => {
  test('of a model that knows nothing is the size of the vocabulary', async () => {
    const weights = freshWeights();
    weights['embedding.weight'].data.fill(0 as never);
    const { tokens, bytes, perToken, perByte, bitsPerByte } = await measure(['天地', '玄 x'], 16, weights);
    expectClose([perToken], [CONFIG.vocabSize], { relative: 1e-4 });
    expect(bytes).toBe(11);
    expect(tokens).toBe(tokenizer.encode('天地').length + tokenizer.encode('玄 x').length);
    expectClose([perByte], [CONFIG.vocabSize ** (tokens / bytes)], { relative: 1e-4 });
    expectClose([bitsPerByte], [Math.log2(perByte)], { relative: 1e-9 });
  });

  test('is that of the full forward pass, whatever the windows of a text that fits into one', async () => {
    const weights = freshWeights();
    const text = DOCUMENTS[0].slice(0, 20);
    const ids = [SPECIAL.eos, ...tokenizer.encode(text)];
    expect(ids.length).toBeLessThan(CONFIG.contextLength);
    const decoder = await createDecoder({ runtime, config: CONFIG, weights, batchSize: 1 });
    let nats = 0;
    for (let at = 1; at < ids.length; at++) {
      const [logits] = await decoder.prefill([ids.slice(0, at)]);
      nats -= Math.log(softmaxOf(logits)[ids[at]]);
    }
    await decoder.release();
    for (const stride of [1, 16, 32])
      expectClose([(await measure([text], stride)).nats], [nats], { relative: 1e-4 });
  });

  test('the command prints it, and refuses windows that would leave text out', async () => {
    await withFolder(async (folder) => {
      const dir = join(folder, 'pretrain_final');
      const params = freshWeights();
      saveCheckpoint(dir, { params, config: CONFIG, tokenizer, stage: 'pretrain' });
      const file = join(folder, 'text.txt');
      writeFileSync(file, DOCUMENTS.slice(0, 3).join('\n<|endoftext|>\n'));
      const options = [file, '--checkpoint', dir, '--threads', '1'];
      const shown = await runHere('perplexity', options);
      expect(shown).toMatch(/text\.txt: 3 document\(s\), \d+ bytes, \d+ tokens/);
      expect(shown).toContain('Windows of 32 tokens, each 16 after the one before');
      const overlapping = JSON.parse(await runHere('perplexity', [...options, '--json']));
      const beside = JSON.parse(await runHere('perplexity', [...options, '--json', '--stride', '32']));
      expect(overlapping).toMatchObject({ contextLength: 32, stride: 16, tokens: beside.tokens });
      expect(shown).toContain(overlapping.perToken.toPrecision(5));
      expect(beside.nats).not.toBe(overlapping.nats);
    });
  });
});
