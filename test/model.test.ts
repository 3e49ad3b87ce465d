import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { type ModelConfig, PRESETS } from '../src/config.ts';
import { createDecoder } from '../src/decoder.ts';
import { GPT, gptParameters } from '../src/model.ts';
import { bindParameters, countParameters, initializeParameters } from '../src/nn/parameters.ts';
import { rotaryTables } from '../src/nn/positions.ts';
import { createTrainer, createTrainState, type LossFunction } from '../src/nn/train-step.ts';
import { decodeSafetensors } from '../src/safetensors.ts';
import {
  createRandom,
  crossEntropy,
  gradients,
  interpret,
  matmul,
  type NdArray,
  type Runtime,
  rotary,
  tensor,
  trace,
} from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { expectClose, relativeError } from './support/close.ts';

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 2 });
});

const TINY: ModelConfig = {
  ...PRESETS.nano,
  vocabSize: 50,
  contextLength: 24,
  hiddenSize: 32,
  numHeads: 4,
  numKvHeads: 4,
  intermediateSize: 48,
};
const VARIANTS: Record<string, ModelConfig> = {
  'multi-head': TINY,
  'grouped-query': { ...TINY, numKvHeads: 2 },
  'multi-query': { ...TINY, numKvHeads: 1 },
  llama: { ...TINY, numKvHeads: 2, norm: 'rmsnorm', activation: 'swiglu' },
  'mixture of experts': { ...TINY, numExperts: 4, numExpertsPerToken: 2 },
  'llama with experts, one a token': {
    ...{ ...TINY, numKvHeads: 2, norm: 'rmsnorm', activation: 'swiglu' },
    ...{ numExperts: 3, numExpertsPerToken: 1 },
  },
};

/** Weights large enough that every part of the model matters. */
function weightsOf(config: ModelConfig, seed = 1): Record<string, NdArray> {
  const weights = initializeParameters(gptParameters(config), seed);
  for (const { data } of Object.values(weights))
    for (let i = 0; i < data.length; i++) (data as Float32Array)[i] *= 5;
  return weights;
}

function logitsOf(config: ModelConfig, weights: Record<string, NdArray>, tokens: number[][]): Float32Array {
  const model = new GPT(bindParameters(weights), config);
  const ids = tensor(tokens.flat(), [tokens.length, tokens[0].length], 'int32');
  return model.logits(model.forward(ids).hidden).data as Float32Array;
}

function lossOf(config: ModelConfig): LossFunction {
  return (weights, { ids, targets }) => {
    const model = new GPT(bindParameters(weights), config);
    const { losses } = crossEntropy(model.logits(model.forward(ids).hidden), targets.reshape([-1]));
    return { loss: losses.mean() };
  };
}

describe.each(['layernorm-gelu', 'grouped-query', 'llama'])('the %s model against PyTorch', (name) => {
  const path = `test/fixtures/gpt/${name}.safetensors`;
  const { tensors, metadata } = decodeSafetensors(readFileSync(path), path);
  const { config, optimizer } = JSON.parse(metadata['fixture']);
  const withPrefix = (prefix: string): Record<string, NdArray> =>
    Object.fromEntries(
      Object.entries(tensors)
        .filter(([key]) => key.startsWith(prefix))
        .map(([key, value]) => [key.slice(prefix.length), value]),
    );
  const weights = withPrefix('parameter.');
  const batch = { ids: tensors['ids'], targets: tensors['targets'] };
  const names = Object.keys(weights);

  it('has the same parameters', () => {
    const ours = gptParameters(config);
    expect(Object.keys(ours).sort()).toEqual(names.toSorted());
    for (const key of names) expect(ours[key].shape).toEqual(weights[key].shape);
  });

  it('has the same loss, logits and every gradient, interpreted and compiled', async () => {
    const graph = trace<string>({ ...weights, ...batch }, (symbolic) => {
      const model = new GPT(bindParameters(symbolic), config);
      const logits = model.logits(model.forward(symbolic['ids']).hidden);
      const loss = crossEntropy(logits, symbolic['targets'].reshape([-1])).losses.mean();
      const grads = gradients(
        loss,
        names.map((key) => symbolic[key]),
      );
      return { loss, logits, ...Object.fromEntries(names.map((key, i) => [`gradient.${key}`, grads[i]])) };
    });
    const feeds = { ...weights, ...batch };
    const executable = await runtime.compile(graph);
    for (const outputs of [interpret(graph, feeds), await executable.run(feeds)]) {
      expectClose(outputs['loss'].data, tensors['loss'].data, { relative: 1e-5 }, 'loss');
      expectClose(
        outputs['logits'].data,
        tensors['logits'].data,
        { relative: 1e-4, absolute: 1e-5 },
        'logits',
      );
      for (const key of names) {
        const expected = tensors[`gradient.${key}`].data as Float32Array;
        const error = relativeError(outputs[`gradient.${key}`].data as Float32Array, expected);
        expect(error, key).toBeLessThan(1e-4);
      }
    }
    await executable.release();
  });

  it('follows the same ten steps of AdamW', async () => {
    const trainer = await createTrainer({
      runtime,
      loss: lossOf(config),
      batch,
      state: createTrainState(weights),
      optimizer,
    });
    const losses = tensors['losses'].data as Float32Array;
    for (let step = 0; step < 10; step++) {
      const result = await trainer.step(batch, Number(tensors['learning_rates'].data[step]));
      expectClose([result.loss], [losses[step]], { relative: 1e-4 }, `loss of step ${step}`);
      expectClose(
        [result.gradientNorm],
        [tensors['gradient_norms'].data[step]],
        { relative: 1e-3 },
        'gradient norm',
      );
    }
    for (const key of names) {
      const error = relativeError(
        trainer.state.weights[key].data as Float32Array,
        tensors[`final.${key}`].data as Float32Array,
      );
      // A bias that starts at zero has moved ten small steps: its relative error is that of Adam's sign-like update.
      expect(error, key).toBeLessThan(1e-3);
    }
    await trainer.release();
  });
});

describe.each(Object.entries(VARIANTS))('%s attention', (_, config) => {
  const weights = weightsOf(config);
  const random = createRandom(7);
  const sequence = Array.from({ length: 12 }, () => random.integer(config.vocabSize));

  it('never lets a later token change an earlier logit', () => {
    const before = logitsOf(config, weights, [sequence]);
    const changed = [...sequence];
    changed[8] = (changed[8] + 1) % config.vocabSize;
    const after = logitsOf(config, weights, [changed]);
    const edge = 8 * config.vocabSize;
    expect(after.subarray(0, edge)).toEqual(before.subarray(0, edge));
    expect(after.subarray(edge)).not.toEqual(before.subarray(edge));
  });

  it('decodes with a cache exactly as in one forward pass, for prompts of different lengths', async () => {
    const V = config.vocabSize;
    const prompts = [sequence.slice(0, 3), sequence.slice(2, 9)];
    const decoder = await createDecoder({ runtime, config, weights, batchSize: 3, maxLength: 16 });
    const sequences = prompts.map((prompt) => [...prompt]);
    let logits = await decoder.prefill(prompts);
    for (let step = 0; step < 5; step++) {
      sequences.forEach((tokens, b) => {
        const full = logitsOf(config, weights, [tokens]);
        expectClose(logits[b], full.subarray(-V), { relative: 1e-3, absolute: 1e-4 }, `step ${step}`);
      });
      const next = sequences.map(() => random.integer(V));
      for (const [b, tokens] of sequences.entries()) tokens.push(next[b]);
      logits = await decoder.step(next);
    }
    await decoder.release();
  });
});

it('decodes on beyond the size that the cache starts with', async () => {
  const config = { ...TINY, numKvHeads: 2, contextLength: 140 };
  const weights = initializeParameters(gptParameters(config), 4);
  const random = createRandom(5);
  const V = config.vocabSize;
  const some = (count: number): number[] => Array.from({ length: count }, () => random.integer(V));
  const sequences = [some(61), some(30)];
  const decoder = await createDecoder({ runtime, config, weights, batchSize: 2 });
  expect(decoder.maxLength).toBe(140);
  let logits = await decoder.prefill(sequences);
  for (let step = 0; step < 79; step++) {
    const next = [random.integer(V), step < 40 ? random.integer(V) : -1];
    sequences.forEach((tokens, b) => {
      if (next[b] >= 0) tokens.push(next[b]);
    });
    logits = await decoder.step(next);
    if (step % 8 !== 0 && step < 76) continue;
    const full = logitsOf(config, weights, [sequences[0]]).subarray(-V);
    expectClose(logits[0], full, { relative: 1e-3, absolute: 1e-4 }, `step ${step}`);
    if (next[1] < 0) continue;
    const other = logitsOf(config, weights, [sequences[1]]).subarray(-V);
    expectClose(logits[1], other, { relative: 1e-3, absolute: 1e-4 }, `step ${step}, second`);
  }
  expect(sequences[0].length).toBe(140);
  await expect(decoder.step([1, -1])).rejects.toThrow('full: 140 tokens');
  // A new prompt starts over.
  const [again] = await decoder.prefill([some(3)]);
  expect(again.length).toBe(V);
  await decoder.release();
});

it('compiles ahead what prompts of a length will need', async () => {
  const config = { ...TINY, numKvHeads: 2, contextLength: 100 };
  const weights = initializeParameters(gptParameters(config), 4);
  let compiled = 0;
  const counting: Runtime = {
    ...runtime,
    compile(graph) {
      compiled++;
      return runtime.compile(graph);
    },
  };
  const decoder = await createDecoder({ runtime: counting, config, weights, batchSize: 1 });
  for (const [length, graphs] of [
    [1, 2], // prompts of 16, a cache of 64
    [17, 3], // and prompts of 32
    [30, 3],
    [1000, 6], // and prompts of 64 and 100, a cache of 100
  ]) {
    await decoder.prepare(length);
    expect(compiled, `length ${length}`).toBe(graphs);
  }
  for (const length of [1, 20, 64, 65, 99]) {
    await decoder.prefill([new Int32Array(length).fill(7)]);
    await decoder.step([8]);
  }
  expect(compiled).toBe(6);
  await decoder.release();
});

it('attends by relative position only: turning queries and keys by the same shift leaves their products alone', () => {
  const random = createRandom(3);
  const vectors = () =>
    tensor(
      Float32Array.from({ length: 2 * 8 }, () => random.normal()),
      [1, 1, 2, 8],
    );
  const [q, k] = [vectors(), vectors()];
  const [cos, sin] = rotaryTables(40, 8, 10000);
  const products = (shift: number) => {
    const at = tensor([3 + shift, 11 + shift], [1, 2], 'int32');
    return matmul(rotary(q, at, cos, sin), rotary(k, at, cos, sin), { transposeB: true }).data;
  };
  expectClose(products(25), products(0), { relative: 1e-4, absolute: 1e-4 });
});

it('counts its parameters', () => {
  const count = (config: ModelConfig): number => countParameters(gptParameters(config));
  // 2000·256 embeddings; a block: 2 norms, 256·768+768, 256·256+256, 256·1024+1024, 1024·256+256; a last norm.
  const block = 4 * 256 + 256 * 768 + 768 + 256 * 256 + 256 + 256 * 1024 + 1024 + 1024 * 256 + 256;
  expect(count(PRESETS.mini)).toBe(2000 * 256 + 6 * block + 512);
  expect(count(PRESETS.small)).toBeGreaterThan(22e6);
  expect(count(PRESETS.small)).toBeLessThan(28e6);
});
