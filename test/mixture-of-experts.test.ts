import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { loadCheckpoint, saveCheckpoint } from '../src/checkpoint.ts';
import type { TrainingOptions } from '../src/cli/training-options.ts';
import { configOf } from '../src/cli/training-settings.ts';
import { type ModelConfig, PRESETS } from '../src/config.ts';
import { GPT, gptParameters, hiddenMatrices } from '../src/model.ts';
import { withBalance } from '../src/nn/losses.ts';
import {
  BALANCE_WEIGHT,
  balancingLoss,
  countActiveParameters,
  MixtureOfExperts,
  route,
} from '../src/nn/mixture-of-experts.ts';
import {
  bindParameters,
  countParameters,
  initializeParameters,
  listParameters,
  type Parameters,
} from '../src/nn/parameters.ts';
import { createTrainer, createTrainState } from '../src/nn/train-step.ts';
import { fromPeft, peftShapes, toPeft } from '../src/peft.ts';
import { runPipeline } from '../src/pipeline.ts';
import { distill } from '../src/stages/distill.ts';
import { quantizeBase, TARGET_MODULES } from '../src/stages/lora.ts';
import { keyOf, pretrain, pretrainLoss } from '../src/stages/pretrain.ts';
import { sftLoss } from '../src/stages/sft.ts';
import type { SavedState } from '../src/stages/stage.ts';
import {
  createRandom,
  gradients,
  interpret,
  type NdArray,
  type Runtime,
  softmax,
  type Tensor,
  tensor,
  trace,
} from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { expectClose } from './support/close.ts';
import { randomLora } from './support/lora.ts';
import {
  CONFIG,
  contextFor,
  DOCUMENTS,
  figures,
  freshWeights,
  HELD_OUT_DOCUMENTS,
  recordingIo,
  Stopped,
  sameBits,
  tokenizer,
  withFolder,
} from './support/tiny.ts';
import { tinyPipeline } from './support/tiny-pipeline.ts';

const EXPERTS: ModelConfig = { ...CONFIG, numExperts: 4, numExpertsPerToken: 2 };
const LLAMA: ModelConfig = { ...EXPERTS, norm: 'rmsnorm', activation: 'swiglu', numKvHeads: 1, numLayers: 2 };
const IDS = tensor([7, 300, 12, 55, 90, 271], [2, 3], 'int32');

let runtime: Runtime;
beforeAll(async () => {
  runtime = await createNodeRuntime({ threads: 1 });
});

/** Weights large enough that experts differ. */
function weightsOf(config: ModelConfig, seed = 1): Record<string, NdArray> {
  const weights = freshWeights(config, seed);
  for (const { data } of Object.values(weights))
    for (let i = 0; i < data.length; i++) data[i] = 5 * Number(data[i]);
  return weights;
}

function logitsOf(config: ModelConfig, weights: Record<string, NdArray>): Float32Array {
  const model = new GPT(bindParameters(weights), config);
  return model.logits(model.forward(IDS).hidden).data as Float32Array;
}

describe('routing', () => {
  const LN2 = Math.log(2);
  // Probabilities 1/2, 1/4, 1/8, 1/8; then the same backwards.
  const scores = tensor([3 * LN2, 2 * LN2, LN2, LN2, LN2, LN2, 2 * LN2, 3 * LN2], [2, 4]);

  it('keeps the k largest probabilities, scaled to sum to 1', () => {
    const { gates, chosen } = route(scores, 2);
    expectClose(gates.data, [2 / 3, 1 / 3, 0, 0, 0, 0, 1 / 3, 2 / 3]);
    expect([...chosen.data]).toEqual([1, 1, 0, 0, 0, 0, 1, 1]);
  });

  it('of one expert keeps its probability, from which the router learns', () => {
    expectClose(route(scores, 1).gates.data, [0.5, 0, 0, 0, 0, 0, 0, 0.5]);
  });

  it('chooses exactly k where scores are equal', () => {
    expect([...route(tensor([1, 1, 1, 1], [1, 4]), 2).chosen.data]).toEqual([1, 1, 0, 0]);
  });

  it('to all experts is a softmax', () => {
    expectClose(route(scores, 4).gates.data, softmax(scores).data);
  });

  it('is the same whatever is added to the scores, however large they are', () => {
    const large = tensor([1e4, 9990, 0, -1e4], [1, 4]);
    const { gates } = route(large, 2);
    const share = 1 / (1 + Math.exp(-10));
    expectClose(gates.data, [share, 1 - share, 0, 0], { absolute: 1e-6 });
  });
});

describe('the balancing loss', () => {
  /** Every token has these scores, turned on by one expert from token to token. */
  const turning = (...scores: number[]): Tensor => {
    const E = scores.length;
    const rows = scores.map((_, turn) => scores.map((_, i) => scores[(i + turn) % E]));
    return tensor(rows.flat(), [E, E]);
  };
  const lossOf = (scores: Tensor, k: number): number => {
    const { chosen, probabilities } = route(scores, k);
    return balancingLoss(chosen, probabilities, k).item();
  };

  it.each([1, 2, 3])('is 1 where %d of 4 experts are used in turn', (k) => {
    expect(lossOf(turning(3, 1, 0, 0.5), k)).toBeCloseTo(1, 6);
  });

  it.each([1, 2, 3])('is 4 / k where the same %d are used alone', (k) => {
    const scores = Array.from({ length: 4 }, (_, i) => (i < k ? 50 : 0));
    expect(lossOf(tensor([...scores, ...scores], [2, 4]), k)).toBeCloseTo(4 / k, 5);
  });

  it('grows the more one expert is preferred, and falls along its gradient', () => {
    const preferring = (more: number): Tensor => {
      const scores = turning(3, 1, 0, 0.5).data as Float32Array;
      return tensor(
        scores.map((score, i) => score + (i % 4 === 0 ? more : 0)),
        [4, 4],
      );
    };
    const losses = [0, 2.2, 2.7, 4].map((more) => lossOf(preferring(more), 1));
    for (let i = 1; i < losses.length; i++) expect(losses[i]).toBeGreaterThan(losses[i - 1] + 0.01);
    const graph = trace({ scores: preferring(2.2).value }, ({ scores }) => {
      const { chosen, probabilities } = route(scores, 1);
      return { gradient: gradients(balancingLoss(chosen, probabilities, 1), [scores])[0] };
    });
    const { gradient } = interpret(graph, { scores: preferring(2.2).value });
    for (let token = 0; token < 4; token++) expect(gradient.data[4 * token]).toBeGreaterThan(0);
  });

  it('is added with its weight, and reported', () => {
    const [loss, balance] = [tensor([2], []), tensor([3], [])];
    const { loss: total, metrics } = withBalance(loss, balance);
    expect(total.item()).toBeCloseTo(2 + 3 * BALANCE_WEIGHT, 6);
    expect(metrics!.balance).toBe(balance);
    expect(withBalance(loss, undefined)).toEqual({ loss, metrics: {} });
  });
});

describe('the layer', () => {
  const SHAPE = { hiddenSize: 4, numExperts: 3, numExpertsPerToken: 2 };
  /** Experts `x W`. */
  const build = (parameters: Parameters, shape = SHAPE): MixtureOfExperts =>
    new MixtureOfExperts(parameters, shape, (scope) => {
      const weight = scope.get('weight', [4, 4], { std: 1 });
      return { forward: (x) => ({ output: x.matmul(weight) }) };
    });
  const specs = listParameters((parameters) => build(parameters));
  const weights = initializeParameters(specs, 3);
  weights['router.weight'].data.forEach((value, i, data) => {
    data[i] = 50 * Number(value);
  });
  const random = createRandom(2);
  const M = 6;
  const x = tensor(Float32Array.from({ length: M * 4 }, random.normal), [1, M, 4]);
  const rows = x.reshape([M, 4]);

  it('adds up what the chosen experts give, by their gates', () => {
    const { output } = build(bindParameters(weights)).forward(x);
    expect(output.shape).toEqual([1, M, 4]);
    const bound = (name: string): Tensor => tensor(weights[name].data, weights[name].shape);
    const { gates, chosen } = route(rows.matmul(bound('router.weight')), 2);
    const experts = [0, 1, 2].map((i) => rows.matmul(bound(`experts.${i}.weight`)));
    const expected = Array.from({ length: M * 4 }, (_, at) =>
      experts.reduce((total, each, i) => {
        const token = Math.floor(at / 4);
        return total + Number(gates.data[3 * token + i]) * Number(each.data[at]);
      }, 0),
    );
    expectClose(output.data, expected, { relative: 1e-4 });
    // Not all tokens choose alike, or the test would see little.
    const choices = Array.from({ length: M }, (_, token) =>
      chosen.data.subarray(3 * token, 3 * token + 3).join(),
    );
    expect(new Set(choices).size).toBeGreaterThan(1);
  });

  it('is one layer where all experts are alike and all are used', () => {
    const [first] = [weights['experts.0.weight']];
    const alike = { ...weights, 'experts.1.weight': first, 'experts.2.weight': first };
    const all = { ...SHAPE, numExpertsPerToken: 3 };
    for (const shape of [SHAPE, all]) {
      const { output } = build(bindParameters(alike), shape).forward(x);
      expectClose(output.data, rows.matmul(tensor(first.data, first.shape)).data, { relative: 1e-5 });
    }
  });

  it.each([1, 2, 3])('has the gradients that finite differences give: k = %d', async (k) => {
    const shape = { ...SHAPE, numExpertsPerToken: k };
    const names = Object.keys(weights);
    const along = tensor(Float32Array.from({ length: M * 4 }, random.normal), [1, M, 4]);
    const lossOf = (parameters: Parameters, input: Tensor): Tensor => {
      const { output, balance } = build(parameters, shape).forward(input);
      return output.mul(along).sum().add(balance!.mul(0.5));
    };
    const point: Record<string, NdArray> = { ...weights, x: x.value };
    const graph = trace(point, (symbolic) => {
      const wrt = [...names, 'x'];
      const loss = lossOf(bindParameters(symbolic), symbolic['x']);
      const parts = gradients(
        loss,
        wrt.map((name) => symbolic[name]),
      );
      return { loss, ...Object.fromEntries(parts.map((part, i) => [`d ${wrt[i]}`, part])) };
    });
    const interpreted = interpret(graph, point);
    const executable = await runtime.compile(graph);
    const compiled = await executable.run(point);
    await executable.release();
    const valueAt = (at: Record<string, NdArray>): number =>
      lossOf(bindParameters(at), tensor(at['x'].data, at['x'].shape)).item();
    const step = 2e-3;
    for (const name of [...names, 'x']) {
      const { data } = point[name];
      const numeric = Array.from(data as Float32Array, (_, i): number => {
        const [up, down] = [step, -step].map((move) => {
          const moved = Float32Array.from(data as Float32Array);
          moved[i] += move;
          return valueAt({ ...point, [name]: { ...point[name], data: moved } });
        });
        return (up - down) / (2 * step);
      });
      expectClose(interpreted[`d ${name}`].data, numeric, { relative: 1e-2, absolute: 1e-2 }, name);
      expectClose(
        compiled[`d ${name}`].data,
        interpreted[`d ${name}`].data,
        { relative: 1e-4, absolute: 1e-5 },
        name,
      );
    }
  });
});

describe('the model', () => {
  it.each([
    ['GPT-NeoX', EXPERTS],
    ['Llama', LLAMA],
  ])('with equal experts, all of them used, is the model without: %s', (_, config) => {
    const { numExperts: E = 0, numExpertsPerToken: _k, ...dense } = config;
    const weights = weightsOf(dense);
    const spread = weightsOf({ ...config, numExpertsPerToken: E });
    for (const name of Object.keys(spread)) {
      const common = name.replace(/experts\.\d+\./, '');
      if (common in weights) spread[name] = weights[common];
    }
    expectClose(logitsOf({ ...config, numExpertsPerToken: E }, spread), logitsOf(dense, weights), {
      relative: 1e-4,
      absolute: 1e-5,
    });
  });

  it('has the weights and the active weights that the sizes say', () => {
    const { hiddenSize: C, intermediateSize: I, numLayers: L } = PRESETS.mini;
    const config = { ...PRESETS.mini, numExperts: 8, numExpertsPerToken: 2 };
    const dense = countParameters(gptParameters(PRESETS.mini));
    const expert = 2 * C * I + I + C;
    const specs = gptParameters(config);
    expect(countParameters(specs)).toBe(dense + L * (7 * expert + 8 * C));
    expect(countActiveParameters(specs, config)).toBe(dense + L * (expert + 8 * C));
    expect(countActiveParameters(gptParameters(PRESETS.mini), PRESETS.mini)).toBe(dense);
  });

  it('reports no balance without experts, and leaves it out of graphs that do not ask for it', () => {
    const balanceOf = (config: ModelConfig) =>
      new GPT(bindParameters(weightsOf(config)), config).forward(IDS).balance;
    expect(balanceOf(CONFIG)).toBeUndefined();
    expect(balanceOf(LLAMA)!.item()).toBeGreaterThan(0.5);
    const nodes = (withIt: boolean): number =>
      trace({ ids: IDS.value }, ({ ids }) => {
        const { hidden, balance } = new GPT(bindParameters(weightsOf(EXPERTS)), EXPERTS).forward(ids);
        return { hidden, ...(withIt ? { balance: balance! } : {}) };
      }).nodes.length;
    expect(nodes(true)).toBeGreaterThan(nodes(false));
  });

  it('comes back from its checkpoint', async () => {
    await withFolder((folder) => {
      const params = weightsOf(LLAMA);
      saveCheckpoint(join(folder, 'c'), { params, config: LLAMA, tokenizer, stage: 'sft' });
      const shapes = (config: ModelConfig) =>
        Object.fromEntries(Object.entries(gptParameters(config)).map(([name, { shape }]) => [name, shape]));
      const loaded = loadCheckpoint(join(folder, 'c'), shapes);
      expect(loaded.config).toEqual(LLAMA);
      expect(sameBits(loaded.params, params)).toBe(true);
      expect(logitsOf(loaded.config, loaded.params)).toEqual(logitsOf(LLAMA, params));
    });
  });

  it('keeps its adapters apart by expert in the words of PEFT', () => {
    const options = { r: 2, alpha: 4, dropout: 0, targetModules: TARGET_MODULES };
    const lora = randomLora(LLAMA, options);
    const tensors = toPeft(lora, LLAMA);
    expect(Object.keys(tensors)).toHaveLength(Object.keys(lora.weights).length);
    expect(tensors).toHaveProperty(['base_model.model.blocks.1.feed_forward.experts.3.gate.lora_A.weight']);
    for (const [name, shape] of Object.entries(peftShapes(lora.weights, LLAMA)))
      expect(tensors[name].shape).toEqual(shape);
    expect(sameBits(fromPeft(tensors, options, LLAMA).weights, { ...lora.weights })).toBe(true);
  });

  it('can be a frozen base of eight bits', () => {
    const weights = freshWeights(LLAMA);
    const quantized = quantizeBase(weights);
    expect(quantized['blocks.0.feed_forward.experts.2.linear1.weight'].dtype).toBe('int8');
    expectClose(logitsOf(LLAMA, quantized), logitsOf(LLAMA, weights), { relative: 0.05, absolute: 0.02 });
  });
});

describe('training', () => {
  const DATA = { documents: DOCUMENTS, heldOut: HELD_OUT_DOCUMENTS };
  const OPTIONS = { epochs: 6, batchSize: 4, learningRate: 2e-2, warmupSteps: 4 };

  it('learns, reports the balance, and keeps all experts in use', async () => {
    const context = contextFor(runtime, { config: EXPERTS });
    const { evaluations } = await pretrain(context, DATA, OPTIONS);
    expect(evaluations[0].after).toBeLessThan(0.6 * evaluations[0].before!);
    const balances = figures(context, 'balance');
    for (const balance of balances) {
      expect(balance).toBeGreaterThan(0.8);
      expect(balance).toBeLessThan(1.5);
    }
  });

  it('goes on after an interruption as if there had been none', async () => {
    const config = { ...EXPERTS, dropout: 0.1 };
    const run = (io = recordingIo()) =>
      pretrain(contextFor(runtime, { config, io }), DATA, { ...OPTIONS, epochs: 1 });
    const whole = await run();
    let resumed: SavedState | undefined;
    const keep = ({ tensors, state }: SavedState): void => {
      const copies = Object.entries(tensors).map(([name, each]) => [
        name,
        { ...each, data: each.data.slice() },
      ]);
      resumed = { tensors: Object.fromEntries(copies), state: JSON.parse(JSON.stringify(state)) };
    };
    await expect(run(recordingIo({ stopAfter: 2, keep }))).rejects.toThrow(Stopped);
    expect(sameBits((await run(recordingIo({ resumed }))).weights, whole.weights)).toBe(true);
  });

  it('gives Muon the matrices of each expert, and not the router', async () => {
    const matrices = hiddenMatrices(LLAMA);
    expect(matrices).toHaveProperty(
      ['blocks.0.feed_forward.experts.3.gate.weight'],
      [LLAMA.intermediateSize],
    );
    expect(Object.keys(matrices).filter((name) => name.includes('router'))).toEqual([]);
    const { evaluations } = await pretrain(contextFor(runtime, { config: LLAMA }), DATA, {
      ...OPTIONS,
      optimizer: 'muon',
    });
    expect(evaluations[0].after).toBeLessThan(0.7 * evaluations[0].before!);
  });

  it('adds the balancing loss in pretraining and in fine-tuning', () => {
    const weights = bindable(weightsOf(EXPERTS));
    const plain = bindable(weightsOf(CONFIG));
    const ids = tensor(new Int32Array(64).fill(9), [2, 32], 'int32');
    const batch = {
      ...{ ids, targets: ids, lossMask: tensor(new Float32Array(64).fill(1), [2, 32]) },
      positions: tensor(
        Int32Array.from({ length: 64 }, (_, i) => i % 32),
        [2, 32],
        'int32',
      ),
      segments: tensor(new Int32Array(64).fill(1), [2, 32], 'int32'),
      dropoutKey: tensor(keyOf(1, 1).data, [], 'int32'),
    };
    for (const lossFor of [pretrainLoss, sftLoss]) {
      expect(lossFor(EXPERTS)(weights, batch).metrics).toHaveProperty('balance');
      expect(lossFor(CONFIG)(plain, batch).metrics).toEqual({});
    }
  });

  it('teaches a model without experts', async () => {
    const { documents } = DATA;
    const sequences = documents.map((document) => {
      const ids = Int32Array.from(tokenizer.encode(document)).subarray(0, 33);
      return { ids, mask: new Uint8Array(ids.length).fill(1) };
    });
    const teacher = {
      config: EXPERTS,
      params: (await pretrain(contextFor(runtime, { config: EXPERTS }), DATA, OPTIONS)).weights,
    };
    const options = { ...OPTIONS, temperature: 1, alpha: 1 };
    const data = { train: () => sequences.slice(2), heldOut: sequences.slice(0, 2) };
    const { evaluations } = await distill(contextFor(runtime), freshWeights(), teacher, data, options);
    expect(evaluations[1].after).toBeLessThan(0.5 * evaluations[1].before!);
  });

  it('compiles into one step whose every weight moves', async () => {
    const state = createTrainState(weightsOf(LLAMA));
    const random = createRandom(8);
    const tokens = (): NdArray => ({
      dtype: 'int32',
      shape: [2, 32],
      data: Int32Array.from({ length: 64 }, () => random.integer(LLAMA.vocabSize)),
    });
    const batch = { ids: tokens(), targets: tokens(), dropoutKey: keyOf(1, 1) };
    const trainer = await createTrainer({ runtime, loss: pretrainLoss(LLAMA), batch, state });
    await trainer.step(batch, 1e-3);
    const after = trainer.state.weights;
    for (const [name, { data }] of Object.entries(state.weights))
      expect(
        after[name].data.some((value, i) => value !== data[i]),
        name,
      ).toBe(true);
    await trainer.release();
  });
});

function bindable(weights: Record<string, NdArray>): Record<string, Tensor> {
  return Object.fromEntries(
    Object.entries(weights).map(([name, { data, shape }]) => [name, tensor(data, shape)]),
  );
}

describe('the options', () => {
  const options = (more: object): TrainingOptions => ({ preset: 'nano', ...more }) as TrainingOptions;

  it('give the preset experts', () => {
    expect(configOf(options({}))).toBe(PRESETS.nano);
    expect(configOf(options({ numExperts: 8 }))).toEqual({
      ...PRESETS.nano,
      numExperts: 8,
      numExpertsPerToken: 2,
    });
    expect(configOf(options({ numExperts: 4, expertsPerToken: 1 })).numExpertsPerToken).toBe(1);
  });

  it('that contradict each other are told in one sentence', () => {
    expect(() => configOf(options({ expertsPerToken: 2 }))).toThrow(/--experts-per-token.*--num-experts/);
    expect(() => configOf(options({ numExperts: 2, expertsPerToken: 3 }))).toThrow(
      /3 is more than --num-experts 2/,
    );
  });

  it('take a model through all five stages, and do not replace one of another shape', {
    timeout: 60_000,
  }, async () => {
    await withFolder(async (folder) => {
      const pipeline = await tinyPipeline(folder);
      const config = { ...pipeline.config, numExperts: 3, numExpertsPerToken: 2 };
      const ended: string[] = [];
      const ui = {
        stageStarts: () => {},
        step: () => {},
        note: () => {},
        async stageEnds({ stage }: { stage: string }) {
          ended.push(stage);
        },
        interrupted: false,
      };
      await runPipeline({ ...pipeline, config }, ui);
      expect(ended).toEqual(['pretrain', 'sft', 'reward', 'rlhf', 'rlvf']);
      expect(loadCheckpoint(join(folder, 'rlvf_final')).config.numExperts).toBe(3);
      await expect(runPipeline(pipeline, ui)).rejects.toThrow(/another size.*--out.*--restart/);
    });
  });
});
