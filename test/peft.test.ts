import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadLora, saveLora } from '../src/adapter.ts';
import { bindParameters } from '../src/nn/parameters.ts';
import { fromPeft, peftShapes, toPeft } from '../src/peft.ts';
import { decodeSafetensors } from '../src/safetensors.ts';
import { adaptedParameters, type LoraOptions, loraParameters, mergeLora } from '../src/stages/lora.ts';
import type { NdArray } from '../src/tensor/index.ts';
import { expectClose } from './support/close.ts';
import { logitsOf, readGptFixture } from './support/gpt-fixture.ts';
import { randomLora } from './support/lora.ts';
import { sameBits, withFolder } from './support/tiny.ts';

const OPTIONS: LoraOptions = {
  r: 3,
  alpha: 6,
  dropout: 0.05,
  targetModules: ['c_attn', 'c_proj', 'linear1', 'linear2'],
};

/** Adapters that PEFT wrote for the models of the other fixture: see scripts/fixtures/adapters.py. */
describe.each([
  ['gpt-neox', 'layernorm-gelu', OPTIONS],
  ['llama', 'llama', { ...OPTIONS, targetModules: ['c_attn', 'c_proj', 'gate', 'linear1', 'linear2'] }],
] as const)('an adapter for %s', (name, fixture, options) => {
  const folder = fileURLToPath(new URL(`fixtures/peft/${name}`, import.meta.url));
  const read = (file: string): Record<string, NdArray> =>
    decodeSafetensors(readFileSync(join(folder, file)), file).tensors;
  const base = readGptFixture(fixture);
  const { config, params } = base;
  const written = read('adapter_model.safetensors');
  const { logits } = read('logits.safetensors');
  const largest = Math.max(...(logits.data as Float32Array).map(Math.abs));

  it('from PEFT gives the logits that PEFT computes, beside the base and merged', () => {
    const lora = loadLora(folder, base, name);
    expect(lora.options.dropout).toBe(0.05);
    expect([...lora.options.targetModules].sort()).toEqual([...options.targetModules].sort());
    expect(lora.options.alpha / lora.options.r).toBe(2);
    const tolerance = { relative: 0, absolute: 1e-5 * largest };
    const beside = logitsOf(base, adaptedParameters(params, lora));
    expectClose(beside.data, logits.data, tolerance, 'beside the base');
    const merged = mergeLora(base, lora).params;
    expectClose(logitsOf(base, bindParameters(merged)).data, logits.data, tolerance, 'merged');
    // Without the adapter they are others altogether.
    const without = logitsOf(base, bindParameters(params)).data as Float32Array;
    const change = Math.max(...without.map((value, i) => Math.abs(value - Number(logits.data[i]))));
    expect(change).toBeGreaterThan(0.5 * largest);
  });

  it('has the tensors that PEFT writes, by name and shape', () => {
    const shapes = (tensors: Readonly<Record<string, { readonly shape: readonly number[] }>>) =>
      Object.fromEntries(Object.entries(tensors).map(([key, { shape }]) => [key, [...shape]]));
    expect(shapes(toPeft(randomLora(config, options), config))).toEqual(shapes(written));
    expect(peftShapes(loraParameters(config, options), config)).toEqual(shapes(written));
  });

  it('comes back from its folder to the last bit', async () => {
    const lora = randomLora(config, options);
    await withFolder((parent) => {
      const dir = join(parent, 'adapter');
      saveLora(dir, lora, { ...base, name: 'base' });
      const loaded = loadLora(dir, base, 'base');
      expect(loaded.options).toEqual(options);
      expect(sameBits(loaded.weights, lora.weights)).toBe(true);
    });
  });
});

it("keeps apart the A of Llama's query, key and value, at three times the rank", () => {
  const { config } = readGptFixture('llama');
  const options: LoraOptions = { r: 1, alpha: 2, dropout: 0, targetModules: ['c_attn', 'c_proj'] };
  const shared = randomLora(config, options);
  const tensors = toPeft(shared, config);
  expect(fromPeft(tensors, options, config)).toEqual(shared);

  const key = 'base_model.model.model.layers.1.self_attn.k_proj.lora_A.weight';
  const other = { ...tensors[key], data: (tensors[key].data as Float32Array).map((value) => -value) };
  const lora = fromPeft({ ...tensors, [key]: other }, options, config);
  expect(lora.options).toEqual({ ...options, r: 3, alpha: 6 });
  for (const [name, { shape }] of Object.entries(loraParameters(config, lora.options)))
    expect(lora.weights[name].shape, name).toEqual(shape);
  // x A B of the whole layer: that of the keys has changed its sign, and queries and values are as before.
  const update = (of: typeof lora, path: string): number[] => {
    const [A, B] = ['A', 'B'].map((each) => of.weights[`${path}.lora_${each}`]);
    const [r, outputs] = B.shape;
    return Array.from({ length: outputs }, (_, j) => {
      let total = 0;
      for (let k = 0; k < r; k++) total += Number(A.data[k]) * Number(B.data[k * outputs + j]);
      return total;
    });
  };
  const [H, G, D] = [config.numHeads, config.numKvHeads, config.hiddenSize / config.numHeads];
  const isKey = (j: number): boolean => j >= H * D && j < (H + G) * D;
  const path = 'blocks.1.attention.c_attn';
  expect(update(lora, path)).toEqual(update(shared, path).map((value, j) => (isKey(j) ? -value : value)));
  for (const same of ['blocks.0.attention.c_attn', 'blocks.1.attention.c_proj'])
    expect(update(lora, same), same).toEqual(update(shared, same));
});
