/** @file The worked example of the lesson on LoRA: `npx tsx docs/lessons/lora.ts` */

import { PRESETS } from '../../src/config.ts';
import { gptParameters } from '../../src/model.ts';
import { Linear } from '../../src/nn/layers.ts';
import { bindParameters, countParameters, initializeParameters } from '../../src/nn/parameters.ts';
import { createTrainer, createTrainState, type LossFunction } from '../../src/nn/train-step.ts';
import { toPeft } from '../../src/peft.ts';
import { encodeSafetensors } from '../../src/safetensors.ts';
import {
  adaptedParameters,
  applyLora,
  type Lora,
  type LoraOptions,
  mergeLora,
  quantizeBase,
  unmergeLora,
} from '../../src/stages/lora.ts';
import { sftBatchSpec, sftLoss } from '../../src/stages/sft.ts';
import {
  type Graph,
  type NdArray,
  quantize,
  type Runtime,
  type Tensor,
  tensor,
  trace,
} from '../../src/tensor/index.ts';
import { createNodeRuntime } from '../../src/tensor/runtime/node.ts';

const matrix = (rows: number, data: readonly number[]): NdArray =>
  tensor([...data], [rows, data.length / rows]).value;
const list = ({ data }: NdArray | Tensor): string => Array.from(data, Number).join(' ');
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(2)} MB`;

/** `x [M, in]` through a layer without a bias, and an adapter beside it. */
function forward(x: Tensor, W: NdArray, adapter: Parameters<typeof adaptedParameters>[1]): Tensor {
  const parameters = adaptedParameters({ 'layer.weight': W }, adapter).at('layer');
  return new Linear(parameters, W.shape[0], W.shape[1], { init: { constant: 0 }, bias: false }).forward(x);
}

// A layer with two inputs and three outputs; an adapter of rank 1 with alpha 2.
const options: LoraOptions = { r: 1, alpha: 2, dropout: 0, targetModules: ['c_proj'] };
const W = matrix(2, [2, 1, 0, 0, 1, 3]);
const A = matrix(2, [1, -1]);
const x = tensor([5, 2], [1, 2]);
const withB = (B: NdArray): Lora => ({ options, weights: { 'layer.lora_A': A, 'layer.lora_B': B } });
const [fresh, trained] = [withB(matrix(1, [0, 0, 0])), withB(matrix(1, [1, 2, 3]))];
const none = { options, weights: {} };
const merged = mergeLora({ config: PRESETS.nano, params: { 'layer.weight': W } }, trained);
console.log(`x W                  ${list(forward(x, W, none))}`);
console.log(`with B = 0 0 0       ${list(forward(x, W, fresh))}`);
console.log(`with B = 1 2 3       ${list(forward(x, W, trained))}`);
console.log(`merged               ${list(forward(x, merged.params['layer.weight'], none))}`);
console.log(`W                    ${list(W)}`);
console.log(`W merged             ${list(merged.params['layer.weight'])}`);
console.log(`W unmerged again     ${list(unmergeLora(merged, trained).params['layer.weight'])}`);

// A change of rank 2: a pattern, and a third of another that is orthogonal to it.
const N = 8;
const square = (value: (row: number, column: number) => number): Tensor =>
  tensor(
    Array.from({ length: N * N }, (_, i) => value(Math.floor(i / N), i % N)),
    [N, N],
  );
const sign = (i: number): number => (i % 2 === 0 ? 1 : -1);
const before = square((row, column) => (row * column) / N);
const after = before.add(square((row, column) => (3 + sign(row) * sign(column)) / N));
const everyInput = square((row, column) => (row === column ? 1 : 0));
const runtime = await createNodeRuntime({ threads: 1 });
console.log(`\na change of rank 2 to ${N * N} weights, after 400 steps`);
for (const r of [1, 2, 4]) {
  const specs = {
    'layer.lora_A': { shape: [N, r], init: { bound: 1 / Math.sqrt(N) } },
    'layer.lora_B': { shape: [r, N], init: { constant: 0 } },
  };
  const weights = initializeParameters(specs, 1);
  const squaredError = (output: Tensor): Tensor => output.sub(after).mul(output.sub(after)).sum();
  const size = squaredError(before).item();
  const trainer = await createTrainer({
    runtime,
    loss: (symbolic) => {
      const adapter = { options: { ...options, r, alpha: r }, weights: symbolic };
      return { loss: squaredError(forward(everyInput, before.value, adapter)).div(size) };
    },
    batch: {},
    state: createTrainState(weights),
    optimizer: { weightDecay: 0 },
  });
  let left = 1;
  for (let step = 0; step < 400; step++) ({ loss: left } = await trainer.step({}, 0.02));
  await trainer.release();
  const trainable = countParameters(weights);
  console.log(`  r = ${r}: ${trainable} numbers trained, ${(100 * left).toFixed(1)}% of the change missing`);
}

// A training step of mini as graphs, which are looked at and not run.
const config = PRESETS.mini;
const params = initializeParameters(gptParameters(config), 1);
const lora = applyLora({ config }, { r: 8, alpha: 16, dropout: 0, targetModules: ['c_attn', 'c_proj'] });
const batch = sftBatchSpec(4, config.contextLength);
const loraLoss = sftLoss(config, (weights) => adaptedParameters(params, { ...lora, weights }));

async function stepOf(loss: LossFunction, weights: Readonly<Record<string, NdArray>>): Promise<Graph> {
  const graphs: Graph[] = [];
  const onlooker: Runtime = {
    name: 'onlooker',
    compile: async (graph) => {
      graphs.push(graph);
      return { graph, run: async () => ({}), release: async () => {} };
    },
  };
  await createTrainer({ runtime: onlooker, loss, batch, state: createTrainState(weights) });
  return graphs[0];
}

/** Multiplications in the matrix products of a graph. */
function multiplications({ nodes }: Graph): number {
  let total = 0;
  for (const { primitive, attributes, inputs, outputs } of nodes) {
    if (primitive.name !== 'gemm' && primitive.name !== 'matmul') continue;
    const { transposeA } = attributes as { readonly transposeA: boolean };
    total += outputs[0].size * inputs[0].shape.at(transposeA ? -2 : -1)!;
  }
  return total;
}

const describe = (name: string, graph: Graph, trainable: number): void => {
  const billions = (multiplications(graph) / 1e9).toFixed(1).padStart(5);
  const state = trainable > 0 ? `   ${megabytes(3 * 4 * trainable).padStart(9)}` : '';
  console.log(`  ${name.padEnd(16)} ${billions} billion${state}`);
};
const [all, adapted] = [countParameters(params), countParameters(lora.weights)];
const share = ((100 * adapted) / (all + adapted)).toFixed(2);
console.log(`\nmini: ${all} weights frozen, ${adapted} in A and B of attention with r = 8, ${share}% of all`);
console.log('  4 x 256 tokens   multiplications   weights and AdamW');
describe(
  'forward alone',
  trace(batch, (given) => ({ loss: sftLoss(config, () => bindParameters(params))({}, given).loss })),
  0,
);
describe('all weights', await stepOf(sftLoss(config), params), all);
describe('A and B', await stepOf(loraLoss, lora.weights), adapted);

const bytes = (weights: Readonly<Record<string, NdArray>>): number =>
  Object.values(weights).reduce((total, { data }) => total + data.byteLength, 0);
const stored = toPeft(lora, config);
console.log(`\nthe base ${megabytes(bytes(params))}, in int8 ${megabytes(bytes(quantizeBase(params)))}`);
console.log(`a file with an adapter ${megabytes(encodeSafetensors(stored).byteLength)}, in which`);
for (const name of Object.keys(stored).slice(0, 2)) console.log(`  ${name} [${stored[name].shape}]`);

console.log('\na column of weights in eight bits');
for (const column of [
  [0.5, -1.27, 0.013],
  [12, -127, 63.4],
]) {
  const { values, scales } = quantize(matrix(3, column));
  console.log(`  ${column.join(' ').padEnd(16)} ${list(values)}, times ${Number(scales.data[0]).toFixed(2)}`);
}
