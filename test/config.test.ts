import { expect, test } from 'vitest';
import { type ModelConfig, PRESETS, parseModelConfig } from '../src/config.ts';
import { UserError } from '../src/errors.ts';

/** Parameters of a model with tied embeddings; the LayerNorm form has biases, the Llama form has none. */
function countParameters(config: ModelConfig): number {
  const { hiddenSize: C, intermediateSize: I, numLayers, numHeads, numKvHeads, vocabSize } = config;
  const kv = (C / numHeads) * numKvHeads;
  const bias = config.norm === 'layernorm' ? 1 : 0;
  const attention = C * (C + 2 * kv) + C * C + bias * (C + 2 * kv + C);
  const feedForward = (config.activation === 'swiglu' ? 3 : 2) * C * I + bias * (C + I);
  const norm = (1 + bias) * C;
  return vocabSize * C + numLayers * (attention + feedForward + 2 * norm) + norm;
}

test('the presets are valid and have their sizes', () => {
  for (const [name, preset] of Object.entries(PRESETS)) {
    expect(parseModelConfig(JSON.stringify(preset), name)).toEqual(preset);
  }
  expect(countParameters(PRESETS.nano)).toBeLessThan(200_000);
  expect(countParameters(PRESETS.mini) / 1e6).toBeCloseTo(5.25, 1);
  expect(countParameters(PRESETS.small) / 1e6).toBeGreaterThan(24);
  expect(countParameters(PRESETS.small) / 1e6).toBeLessThan(26);
});

test('a wrong configuration names the file, the field and the fix', () => {
  const cases: [unknown, RegExp][] = [
    ['{', /not valid JSON/],
    ['[]', /must be a JSON object/],
    ['null', /must be a JSON object/],
    [
      { ...PRESETS.nano, hiddenSize: undefined },
      /hiddenSize in c.json must be a positive whole number, it is undefined/,
    ],
    [{ ...PRESETS.nano, numLayers: 0 }, /numLayers.*it is 0/],
    [{ ...PRESETS.nano, numLayers: 1.5 }, /numLayers.*whole number/],
    [{ ...PRESETS.nano, numLayers: '2' }, /numLayers.*it is "2"/],
    [{ ...PRESETS.nano, norm: 'batchnorm' }, /norm.*layernorm, rmsnorm, it is "batchnorm"/],
    [{ ...PRESETS.nano, activation: 'relu' }, /activation.*gelu, swiglu/],
    [{ ...PRESETS.nano, dropout: 1 }, /dropout.*below 1/],
    [{ ...PRESETS.nano, ropeBase: 0 }, /ropeBase.*above 1/],
    [{ ...PRESETS.nano, hiddensize: 3 }, /unknown field hiddensize/],
    [{ ...PRESETS.nano, numHeads: 3, numKvHeads: 3 }, /hiddenSize 64 is not divisible by numHeads 3/],
    [{ ...PRESETS.nano, numHeads: 64 }, /head width 1 .*is odd/],
    [{ ...PRESETS.nano, numHeads: 4, numKvHeads: 3 }, /numHeads 4 is not divisible by numKvHeads 3/],
    [{ ...PRESETS.nano, numHeads: 2, numKvHeads: 4 }, /numHeads 2 is not divisible by numKvHeads 4/],
    [{ ...PRESETS.nano, vocabSize: 100 }, /vocabSize 100.*at least 262/],
    [{ ...PRESETS.nano, numExperts: 1, numExpertsPerToken: 1 }, /numExperts.*at least 2, it is 1/],
    [{ ...PRESETS.nano, numExperts: 4 }, /only one of numExperts and numExpertsPerToken/],
    [{ ...PRESETS.nano, numExpertsPerToken: 2 }, /only one of numExperts and numExpertsPerToken/],
    [
      { ...PRESETS.nano, numExperts: 4, numExpertsPerToken: 5 },
      /numExpertsPerToken 5 is more than numExperts 4/,
    ],
  ];
  for (const [json, message] of cases) {
    expect(() => parseModelConfig(json, 'c.json')).toThrow(UserError);
    expect(() => parseModelConfig(json, 'c.json')).toThrow(message);
    expect(() => parseModelConfig(json, 'c.json')).toThrow('c.json');
  }
});
