import { beforeAll, describe, expect, it } from 'vitest';
import type { Message } from '../src/chat-format.ts';
import { type ModelConfig, PRESETS } from '../src/config.ts';
import { UserError } from '../src/errors.ts';
import { GPT, gptParameters } from '../src/model.ts';
import { bindParameters, countParameters } from '../src/nn/parameters.ts';
import { createTrainer, createTrainState, type LossFunction } from '../src/nn/train-step.ts';
import {
  adaptedParameters,
  applyLora,
  type Lora,
  type LoraOptions,
  loraParameters,
  mergeLora,
  quantizeBase,
  TARGET_MODULES,
  trainLora,
  unmergeLora,
} from '../src/stages/lora.ts';
import { keyOf } from '../src/stages/pretrain.ts';
import { type SftData, sftBatch, sftBatchSpec, sftLoss, supervisedFineTune } from '../src/stages/sft.ts';
import type { SavedState } from '../src/stages/stage.ts';
import {
  createRandom,
  dequantize,
  type Graph,
  gradients,
  type NdArray,
  quantize,
  type Runtime,
  tensor,
  trace,
} from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { expectClose } from './support/close.ts';
import { randomLora } from './support/lora.ts';
import {
  CHATS,
  CONFIG,
  contextFor,
  DIGITS,
  freshWeights,
  recordingIo,
  Stopped,
  sameBits,
} from './support/tiny.ts';

const ATTENTION: LoraOptions = { r: 3, alpha: 6, dropout: 0, targetModules: ['c_attn', 'c_proj'] };
const LLAMA: ModelConfig = { ...CONFIG, norm: 'rmsnorm', activation: 'swiglu', numKvHeads: 1, numLayers: 2 };
const FORMS: readonly (readonly [string, ModelConfig, LoraOptions])[] = [
  ['GPT-NeoX', CONFIG, { ...ATTENTION, targetModules: ['c_attn', 'c_proj', 'linear1', 'linear2'] }],
  ['Llama', LLAMA, { ...ATTENTION, alpha: 4, targetModules: TARGET_MODULES }],
  [
    'a mixture of experts',
    { ...LLAMA, numExperts: 3, numExpertsPerToken: 2 },
    { ...ATTENTION, alpha: 4, targetModules: TARGET_MODULES },
  ],
];
const IDS = tensor([7, 300, 12, 55, 90, 271], [2, 3], 'int32');
const answering = (answer: (i: number) => string): SftData => {
  const chats = CHATS.map(([question], i): Message[] => [
    question,
    { role: 'assistant', content: answer(i) },
  ]);
  return { conversations: chats.slice(0, 40), heldOut: chats.slice(40) };
};
/** The base answers each question with a digit of its own; with an adapter it is to answer all of them with 3. */
const BASE_DATA = answering((i) => DIGITS[(i % 16) % 4]);
const DATA = answering(() => '3');
const SETTINGS = { epochs: 12, batchSize: 4, learningRate: 2e-2, quantizeBase: false };

let runtime: Runtime;
let chatWeights: Record<string, NdArray>;

beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
  const options = { epochs: 40, batchSize: 4, learningRate: 2e-2 };
  chatWeights = (await supervisedFineTune(contextFor(runtime), freshWeights(), BASE_DATA, options)).weights;
});

/** Scores of the model over a few tokens. */
function logitsOf(config: ModelConfig, params: Record<string, NdArray>, lora?: Lora): Float32Array {
  const model = new GPT(lora ? adaptedParameters(params, lora) : bindParameters(params), config);
  return model.logits(model.forward(IDS).hidden).data as Float32Array;
}

const copyOf = (params: Record<string, NdArray>): Record<string, NdArray> =>
  Object.fromEntries(
    Object.entries(params).map(([name, each]) => [name, { ...each, data: each.data.slice() }]),
  );

describe('a new adapter', () => {
  it('has the size that the lesson says', () => {
    const options = { ...ATTENTION, r: 8, alpha: 16 };
    const trainable = countParameters(loraParameters(PRESETS.mini, options));
    expect(trainable).toBe(73_728);
    expect(trainable / (trainable + countParameters(gptParameters(PRESETS.mini)))).toBeLessThan(0.02);
  });

  it.each(FORMS)('changes nothing yet: %s', (_, config, options) => {
    const params = freshWeights(config);
    const lora = applyLora({ config }, options);
    expect(logitsOf(config, params, lora)).toEqual(logitsOf(config, params));
    expect(sameBits(mergeLora({ config, params }, lora).params, params)).toBe(true);
  });

  it('starts as PEFT does: A uniform within ±1/√in, B zero', () => {
    const { weights } = applyLora({ config: PRESETS.mini }, { ...ATTENTION, r: 8 });
    const A = weights['blocks.3.attention.c_attn.lora_A'].data as Float32Array;
    const bound = 1 / Math.sqrt(256);
    expect(Math.max(...A)).toBeLessThanOrEqual(bound);
    expect(Math.min(...A)).toBeGreaterThanOrEqual(-bound);
    const deviation = Math.sqrt(A.reduce((sum, a) => sum + a * a, 0) / A.length);
    expect(deviation).toBeCloseTo(bound / Math.sqrt(3), 2);
    expect(weights['blocks.3.attention.c_attn.lora_B'].data.every((b) => b === 0)).toBe(true);
  });

  it('depends on the seed', () => {
    const [one, same, other] = [1, 1, 2].map(
      (seed) => applyLora({ config: CONFIG }, ATTENTION, seed).weights,
    );
    expect(sameBits(one, same)).toBe(true);
    expect(sameBits(one, other)).toBe(false);
  });

  it.each([
    [{ ...ATTENTION, targetModules: ['c_attn', 'gate'] as const }, /no layer named gate.*--target-modules/],
    [{ ...ATTENTION, r: 17 }, /rank 17 is larger.*\(16\).*--lora-r/],
  ])('is refused where the model has no place for it', (options, message) => {
    expect(() => applyLora({ config: CONFIG }, options)).toThrow(UserError);
    expect(() => applyLora({ config: CONFIG }, options)).toThrow(message);
  });
});

describe.each(FORMS)('merging: %s', (_, config, options) => {
  const params = freshWeights(config);
  const lora = randomLora(config, options);
  const merged = mergeLora({ config, params }, lora);

  it('gives what the adapter gives beside the base', () => {
    const unmerged = logitsOf(config, params, lora);
    expectClose(logitsOf(config, merged.params), unmerged, { relative: 0, absolute: 1e-5 });
    const base = logitsOf(config, params);
    expect(Math.max(...unmerged.map((value, i) => Math.abs(value - base[i])))).toBeGreaterThan(1e-2);
  });

  it('is undone by unmerging', () => {
    const restored = unmergeLora(merged, lora).params;
    for (const name of Object.keys(params)) {
      expectClose(restored[name].data as Float32Array, params[name].data as Float32Array, {
        relative: 0,
        absolute: 1e-6,
      });
    }
  });

  it('leaves the base alone and shares what is not adapted', () => {
    expect(sameBits(params, freshWeights(config))).toBe(true);
    for (const name of Object.keys(params)) {
      const adapted = `${name.replace(/weight$/, 'lora_A')}` in lora.weights && name.endsWith('weight');
      expect(merged.params[name] === params[name], name).toBe(!adapted);
    }
  });
});

it('computes h = W x + (α / r) B A x', () => {
  const lora: Lora = {
    options: { r: 1, alpha: 2, dropout: 0, targetModules: ['c_proj'] },
    weights: {
      'layer.lora_A': { dtype: 'float32', shape: [2, 1], data: Float32Array.of(1, -1) },
      'layer.lora_B': { dtype: 'float32', shape: [1, 3], data: Float32Array.of(1, 2, 3) },
    },
  };
  const { adapter } = adaptedParameters({}, lora).at('layer');
  // x = (5, 2): A x = 3, times α / r = 2, times B = (6, 12, 18), beside W x = (10, 10, 10)
  const h = adapter?.(tensor([10, 10, 10], [1, 3]), tensor([5, 2], [1, 2]));
  expect(h?.data).toEqual(Float32Array.of(16, 22, 28));
});

/** The graph that a trainer compiles. */
async function trainingGraph(loss: LossFunction, weights: Record<string, NdArray>): Promise<Graph> {
  let captured: Graph | undefined;
  const spy: Runtime = {
    name: 'spy',
    compile: async (graph) => {
      captured = graph;
      return { graph, run: async () => ({}), release: async () => {} };
    },
  };
  await createTrainer({ runtime: spy, loss, batch: sftBatchSpec(4, 32), state: createTrainState(weights) });
  return captured!;
}

/** A batch of three packed questions. */
function someBatch(): Record<string, NdArray> {
  const random = createRandom(3);
  const row = () => ({
    ids: Int32Array.from({ length: 32 }, () => random.integer(CONFIG.vocabSize)),
    targets: Int32Array.from({ length: 32 }, () => random.integer(CONFIG.vocabSize)),
    lossMask: Float32Array.from({ length: 32 }, () => random.integer(2)),
    positions: Int32Array.from({ length: 32 }, (_, i) => i),
    segments: new Int32Array(32).fill(1),
  });
  return sftBatch([row(), row(), row(), row()], keyOf(1, 1));
}

describe('the training graph', () => {
  const lora = applyLora({ config: CONFIG }, ATTENTION);
  const params = freshWeights();
  const loraLoss = sftLoss(CONFIG, (weights, key) => adaptedParameters(params, { ...lora, weights }, key));
  const names = Object.keys(lora.weights);

  it('takes and gives state for A and B alone', async () => {
    const graph = await trainingGraph(loraLoss, lora.weights);
    const states = ['weight', 'mean', 'variance'].flatMap((kind) => names.map((name) => `${kind}:${name}`));
    const scalars = ['learningRate', 'meanCorrection', 'rootVarianceCorrection'];
    const batch = Object.keys(sftBatchSpec(4, 32)).map((name) => `batch:${name}`);
    expect(Object.keys(graph.inputs).sort()).toEqual([...scalars, ...batch, ...states].sort());
    expect(Object.keys(graph.outputs).sort()).toEqual(['gradientNorm', 'loss', ...states].sort());
  });

  it('holds no gradient of a frozen weight', async () => {
    const shapes = Object.entries(params).flatMap(([name, { shape }]) =>
      shape.length === 2 && !name.startsWith('embedding') ? [shape.join(), [...shape].reverse().join()] : [],
    );
    shapes.push(params['embedding.weight'].shape.join());
    const made = (graph: Graph): string[] =>
      graph.nodes.flatMap(({ outputs }) => outputs.map(({ shape }) => shape.join()));
    const frozen = made(await trainingGraph(loraLoss, lora.weights)).filter((each) => shapes.includes(each));
    const full = made(await trainingGraph(sftLoss(CONFIG), params)).filter((each) => shapes.includes(each));
    expect(frozen).toEqual([]);
    expect(full.length).toBeGreaterThan(10);
  });

  it('has the gradients that follow from those of the whole weights', async () => {
    const random = randomLora(CONFIG, ATTENTION);
    const batch = someBatch();
    const gradientsOf = async (loss: LossFunction, weights: Record<string, NdArray>) => {
      const all = Object.keys(weights);
      const graph = trace({ ...weights, ...batch }, (symbolic) => {
        const { loss: value } = loss(symbolic, symbolic);
        const parts = gradients(
          value,
          all.map((name) => symbolic[name]),
        ); // prettier-ignore
        return Object.fromEntries(parts.map((part, i) => [all[i], part]));
      });
      const executable = await runtime.compile(graph);
      const results = await executable.run({ ...weights, ...batch });
      await executable.release();
      return Object.fromEntries(all.map((name) => [name, results[name].data as Float32Array]));
    };
    const actual = await gradientsOf(
      sftLoss(CONFIG, (weights, key) => adaptedParameters(params, { ...random, weights }, key)),
      random.weights,
    );
    const whole = await gradientsOf(sftLoss(CONFIG), mergeLora({ config: CONFIG, params }, random).params);
    for (const path of ['blocks.0.attention.c_attn', 'blocks.0.attention.c_proj']) {
      const [A, B] = ['A', 'B'].map((each) => random.weights[`${path}.lora_${each}`]);
      const dW = whole[`${path}.weight`];
      const [inputs, r, outputs] = [A.shape[0], A.shape[1], B.shape[1]];
      const scale = ATTENTION.alpha / ATTENTION.r;
      // W' = W + s A B: dA = s dW' Bᵀ, dB = s Aᵀ dW'
      const dA = new Float32Array(inputs * r);
      const dB = new Float32Array(r * outputs);
      for (let i = 0; i < inputs; i++) {
        for (let k = 0; k < r; k++) {
          for (let j = 0; j < outputs; j++) {
            dA[i * r + k] += scale * dW[i * outputs + j] * Number(B.data[k * outputs + j]);
            dB[k * outputs + j] += scale * dW[i * outputs + j] * Number(A.data[i * r + k]);
          }
        }
      }
      expectClose(actual[`${path}.lora_A`], dA, { relative: 1e-3, absolute: 1e-6 }, `${path} A`);
      expectClose(actual[`${path}.lora_B`], dB, { relative: 1e-3, absolute: 1e-6 }, `${path} B`);
    }
  });

  it('drops inputs of the adapter, and of nothing else, anew in every step', async () => {
    const { options, weights } = randomLora(CONFIG, { ...ATTENTION, dropout: 0.5 });
    const lossOf = async (given: Record<string, NdArray>, seed: number): Promise<number> => {
      const loss = sftLoss(CONFIG, (each, key) => adaptedParameters(params, { options, weights: each }, key));
      const batch = { ...someBatch(), dropoutKey: keyOf(seed, 0) };
      const graph = trace({ ...given, ...batch }, (symbolic) => ({ loss: loss(symbolic, symbolic).loss }));
      const executable = await runtime.compile(graph);
      const value = Number((await executable.run({ ...given, ...batch })).loss.data[0]);
      await executable.release();
      return value;
    };
    expect(await lossOf(weights, 1)).toBe(await lossOf(weights, 1));
    expect(await lossOf(weights, 1)).not.toBe(await lossOf(weights, 2));
    // With B at zero the adapter adds nothing, whatever it drops.
    const fresh = applyLora({ config: CONFIG }, options).weights;
    expect(await lossOf(fresh, 1)).toBe(await lossOf(fresh, 2));
  });
});

describe('training', () => {
  it('teaches the model something new without moving its weights', async () => {
    const before = copyOf(chatWeights);
    const context = contextFor(runtime);
    const lora = applyLora({ config: CONFIG }, { ...ATTENTION, dropout: 0.05 });
    const { weights, evaluations } = await trainLora(context, chatWeights, lora, DATA, SETTINGS);
    const [{ before: first, after, unit }] = evaluations;
    expect(unit).toBe('nats');
    expect(first).toBeGreaterThan(1);
    expect(after).toBeLessThan(0.2 * first!);
    expect(sameBits(chatWeights, before)).toBe(true);
    expect(Object.keys(weights).sort()).toEqual(Object.keys(lora.weights).sort());
    for (const name of Object.keys(weights)) expect(weights[name].shape).toEqual(lora.weights[name].shape);
    expect(sameBits(weights, lora.weights)).toBe(false);
  });

  it('goes on after an interruption as if there had been none', async () => {
    const lora = applyLora({ config: CONFIG }, { ...ATTENTION, dropout: 0.1 });
    const config = { ...CONFIG, dropout: 0.1 };
    const run = (context: ReturnType<typeof contextFor>) =>
      trainLora(context, chatWeights, lora, DATA, { ...SETTINGS, epochs: 2 });
    const whole = contextFor(runtime, { config });
    const expected = await run(whole);
    const steps = whole.io.records.length;
    expect(steps).toBeGreaterThan(3);
    for (const stopAfter of [1, steps - 1]) {
      let kept: SavedState | undefined;
      const keep = ({ tensors, state }: SavedState): void => {
        kept = { tensors: copyOf(tensors), state: JSON.parse(JSON.stringify(state)) };
      };
      const first = contextFor(runtime, { config, io: recordingIo({ stopAfter, keep }) });
      await expect(run(first)).rejects.toThrow(Stopped);
      // Only A and B are in the saved state.
      expect(Object.keys(kept!.tensors)).toHaveLength(3 * Object.keys(lora.weights).length);
      const second = contextFor(runtime, { config, io: recordingIo({ resumed: kept }) });
      const result = await run(second);
      expect(sameBits(result.weights, expected.weights)).toBe(true);
      expect(result.evaluations).toEqual(expected.evaluations);
      expect([...first.io.records, ...second.io.records]).toEqual(whole.io.records);
    }
  });

  it('works beside a base of eight bits, and says what that costs', async () => {
    const lora = applyLora({ config: CONFIG }, ATTENTION);
    const settings = { ...SETTINGS, quantizeBase: true };
    const { evaluations } = await trainLora(contextFor(runtime), chatWeights, lora, DATA, settings);
    expect(evaluations.map(({ name }) => name.en)).toEqual([
      'held-out loss on answer tokens (int8 base)',
      'held-out loss on answer tokens (float32 base)',
    ]);
    const [int8, float32] = evaluations;
    expect(int8.before).not.toBe(float32.before);
    expect(Math.abs(int8.before! - float32.before!)).toBeLessThan(0.05);
    expect(int8.after).toBeLessThan(0.2 * int8.before!);
    expect(float32.after).toBeLessThan(0.2 * float32.before!);
  });

  it('reports nothing where nothing is held out', async () => {
    const lora = applyLora({ config: CONFIG }, ATTENTION);
    const data = { ...DATA, heldOut: [] };
    const settings = { ...SETTINGS, epochs: 1 };
    expect((await trainLora(contextFor(runtime), chatWeights, lora, data, settings)).evaluations).toEqual([]);
  });
});

describe('a base of eight bits', () => {
  it('moves no weight by more than half a step of its column', () => {
    const [weight] = [chatWeights['blocks.0.attention.c_attn.weight']];
    const quantized = quantize(weight);
    const restored = dequantize(quantized).data;
    const scales = quantized.scales.data as Float32Array;
    (weight.data as Float32Array).forEach((value, i) => {
      expect(Math.abs(value - Number(restored[i]))).toBeLessThanOrEqual(0.5001 * scales[i % scales.length]);
    });
    expect(Math.max(...(quantized.values.data as Int8Array))).toBeLessThanOrEqual(127);
  });

  it('keeps a column of zeros', () => {
    const weight: NdArray = { dtype: 'float32', shape: [2, 2], data: Float32Array.of(0, 1, 0, -2) };
    expect(dequantize(quantize(weight)).data).toEqual(Float32Array.of(0, 2 * (64 / 127), 0, -2));
  });

  it('keeps the linear layers in int8, and everything else as it is', () => {
    const quantized = quantizeBase(chatWeights);
    for (const [name, { dtype }] of Object.entries(chatWeights)) {
      const isLinear = /\.(c_attn|c_proj|linear1|linear2)\.weight$/.test(name);
      expect(quantized[name].dtype, name).toBe(isLinear ? 'int8' : dtype);
      if (!isLinear) expect(quantized[name]).toBe(chatWeights[name]);
    }
    const logits = logitsOf(CONFIG, quantized);
    expectClose(logits, logitsOf(CONFIG, chatWeights), { relative: 0.05, absolute: 0.1 });
  });
});
