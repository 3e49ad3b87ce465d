/**
 * @file An adapter in the words of PEFT (https://github.com/huggingface/peft), the library that made its file layout
 * the common one: which of Hugging Face's layers each of ours is, and how the two matrices lie in them.
 *
 * LayerNorm with GELU is GPT-NeoX, RMSNorm with SwiGLU is Llama; a model of another form keeps our names. Their linear
 * layers are `[out, in]`, ours `[in, out]`: both matrices are transposed. And they order the outputs of attention's first
 * layer in another way: GPT-NeoX keeps query, key and value of each head together, Llama has three layers for our one.
 */

import type { ModelConfig } from './config.ts';
import { type Lora, type LoraOptions, loraParameters, type TargetModule } from './stages/lora.ts';
import type { NdArray } from './tensor/index.ts';

/** What Hugging Face calls the form of a model. */
export type Architecture = 'gpt_neox' | 'llama' | 'my_llm';

export function architectureOf(config: ModelConfig): Architecture {
  const { norm, activation, numHeads, numKvHeads, numExperts } = config;
  if (numExperts !== undefined) return 'my_llm';
  if (norm === 'rmsnorm' && activation === 'swiglu') return 'llama';
  return norm === 'layernorm' && activation === 'gelu' && numHeads === numKvHeads ? 'gpt_neox' : 'my_llm';
}

/** Names of a block's layers there, for each of ours. */
const LAYERS: Readonly<Record<Architecture, Partial<Readonly<Record<TargetModule, readonly string[]>>>>> = {
  gpt_neox: {
    c_attn: ['attention.query_key_value'],
    c_proj: ['attention.dense'],
    linear1: ['mlp.dense_h_to_4h'],
    linear2: ['mlp.dense_4h_to_h'],
  },
  llama: {
    c_attn: ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj'],
    c_proj: ['self_attn.o_proj'],
    gate: ['mlp.gate_proj'],
    linear1: ['mlp.up_proj'],
    linear2: ['mlp.down_proj'],
  },
  my_llm: {
    c_attn: ['attention.c_attn'],
    c_proj: ['attention.c_proj'],
    gate: ['feed_forward.gate'],
    linear1: ['feed_forward.linear1'],
    linear2: ['feed_forward.linear2'],
  },
};

/** Where the blocks are in the model that PEFT wraps. */
const BLOCKS: Readonly<Record<Architecture, string>> = {
  gpt_neox: 'base_model.model.gpt_neox.layers',
  llama: 'base_model.model.model.layers',
  my_llm: 'base_model.model.blocks',
};

/** The names that PEFT matches against the ends of its layers' names (`target_modules`). */
export function peftTargets(config: ModelConfig, targets: readonly TargetModule[]): string[] {
  const layers = LAYERS[architectureOf(config)];
  return targets.flatMap((target) => (layers[target] ?? []).map((layer) => layer.split('.').at(-1)!));
}

/** The inverse of `peftTargets`: our layers of which all of theirs are named; undefined where names are left over. */
export function ourTargets(config: ModelConfig, names: readonly string[]): TargetModule[] | undefined {
  const known = Object.keys(LAYERS[architectureOf(config)]) as TargetModule[];
  const targets = known.filter((target) =>
    peftTargets(config, [target]).every((name) => names.includes(name)),
  );
  return peftTargets(config, targets).length === new Set(names).size ? targets : undefined;
}

/** One of their layers: the outputs of ours that it has, in its order. */
interface PeftLayer {
  /** Name of the layer, without `.lora_A.weight`. */
  readonly name: string;
  readonly columns: readonly number[];
}

/** Their layers for ours at a path such as `blocks.0.attention.c_attn`, which has `outputSize` outputs. */
function peftLayers(config: ModelConfig, path: string, outputSize: number): PeftLayer[] {
  const architecture = architectureOf(config);
  const range = (start: number, length: number): number[] => Array.from({ length }, (_, i) => start + i);
  if (architecture === 'my_llm')
    return [{ name: path.replace('blocks', BLOCKS.my_llm), columns: range(0, outputSize) }];
  const [, block, target] = /^blocks\.(\d+)\..*?(\w+)$/.exec(path)!;
  const names = LAYERS[architecture][target as TargetModule]!.map(
    (layer) => `${BLOCKS[architecture]}.${block}.${layer}`,
  );
  if (target !== 'c_attn') return [{ name: names[0], columns: range(0, outputSize) }];
  const { numHeads: H, numKvHeads: G, hiddenSize } = config;
  const D = hiddenSize / H;
  if (architecture === 'llama') {
    const starts = [0, H * D, (H + G) * D];
    const sizes = [H * D, G * D, G * D];
    return names.map((name, i) => ({ name, columns: range(starts[i], sizes[i]) }));
  }
  // Ours: the queries of all heads, then the keys, then the values. Theirs: the three of the first head, and so on.
  const columns = range(0, H).flatMap((head) =>
    [0, 1, 2].flatMap((part) => range(part * hiddenSize + head * D, D)),
  );
  return [{ name: names[0], columns }];
}

/** The adapter as PEFT stores it: `<layer>.lora_A.weight [r, in]` and `<layer>.lora_B.weight [out, r]`. */
export function toPeft({ weights }: Lora, config: ModelConfig): Record<string, NdArray> {
  const tensors: Record<string, NdArray> = {};
  for (const [name, A] of Object.entries(weights)) {
    const path = /^(.*)\.lora_A$/.exec(name)?.[1];
    if (path === undefined) continue;
    const B = weights[`${path}.lora_B`];
    const [r, outputSize] = B.shape;
    for (const { name: layer, columns } of peftLayers(config, path, outputSize)) {
      const data = new Float32Array(columns.length * r);
      columns.forEach((column, row) => {
        for (let k = 0; k < r; k++) data[row * r + k] = Number(B.data[k * outputSize + column]);
      });
      tensors[`${layer}.lora_A.weight`] = transposed(A);
      tensors[`${layer}.lora_B.weight`] = { dtype: 'float32', shape: [columns.length, r], data };
    }
  }
  return tensors;
}

/** Names and shapes of the tensors that `toPeft` makes of an adapter with these matrices. */
export function peftShapes(
  specs: Readonly<Record<string, { readonly shape: readonly number[] }>>,
  config: ModelConfig,
): Record<string, readonly number[]> {
  const shapes: Record<string, readonly number[]> = {};
  for (const [name, { shape }] of Object.entries(specs)) {
    const path = /^(.*)\.lora_A$/.exec(name)?.[1];
    if (path === undefined) continue;
    const [inputSize, r] = shape;
    for (const { name: layer, columns } of peftLayers(config, path, specs[`${path}.lora_B`].shape[1])) {
      shapes[`${layer}.lora_A.weight`] = [r, inputSize];
      shapes[`${layer}.lora_B.weight`] = [columns.length, r];
    }
  }
  return shapes;
}

/**
 * The inverse of `toPeft`, for tensors of the names and shapes that `peftShapes` tells.
 *
 * PEFT gives Llama's query, key and value an `A` each, where our `c_attn` has one for all of its outputs. Adapters whose
 * three differ are read all the same, with a rank three times as large: `A` is the three side by side, and an output's
 * column of `B` has numbers beside its own only. All layers have one rank, so the others are filled up with zeros.
 */
export function fromPeft(
  tensors: Readonly<Record<string, NdArray>>,
  options: LoraOptions,
  config: ModelConfig,
): Lora {
  const { r, alpha } = options;
  const specs = loraParameters(config, options);
  const adapted = Object.keys(specs).flatMap((name) => /^(.*)\.lora_A$/.exec(name)?.[1] ?? []);
  const layersOf = (path: string): PeftLayer[] => peftLayers(config, path, specs[`${path}.lora_B`].shape[1]);
  const shareA = (path: string): boolean => {
    const [first, ...others] = layersOf(path).map(({ name }) => tensors[`${name}.lora_A.weight`].data);
    return others.every((other) => other.every((value, i) => value === first[i]));
  };
  const parts = Math.max(...adapted.map((path) => (shareA(path) ? 1 : layersOf(path).length)));
  const rank = parts * r;
  const weights: Record<string, NdArray> = {};
  for (const path of adapted) {
    const [inputSize, outputSize] = [specs[`${path}.lora_A`].shape[0], specs[`${path}.lora_B`].shape[1]];
    const [A, B] = [new Float32Array(inputSize * rank), new Float32Array(rank * outputSize)];
    const shared = shareA(path);
    layersOf(path).forEach(({ name, columns }, part) => {
      const start = shared ? 0 : part * r;
      const [theirA, theirB] = ['A', 'B'].map((each) => tensors[`${name}.lora_${each}.weight`].data);
      for (let k = 0; k < r; k++) {
        for (let i = 0; i < inputSize; i++) A[i * rank + start + k] = Number(theirA[k * inputSize + i]);
        columns.forEach((column, row) => {
          B[(start + k) * outputSize + column] = Number(theirB[row * r + k]);
        });
      }
    });
    weights[`${path}.lora_A`] = { dtype: 'float32', shape: [inputSize, rank], data: A };
    weights[`${path}.lora_B`] = { dtype: 'float32', shape: [rank, outputSize], data: B };
  }
  return { options: { ...options, r: rank, alpha: parts * alpha }, weights };
}

function transposed({ shape: [rows, columns], data }: NdArray): NdArray {
  const result = new Float32Array(data.length);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) result[j * rows + i] = Number(data[i * columns + j]);
  }
  return { dtype: 'float32', shape: [columns, rows], data: result };
}

/** What `adapter_config.json` says to PEFT. */
export function peftConfig(
  { r, alpha, dropout, targetModules }: LoraOptions,
  config: ModelConfig,
  baseName: string,
): Record<string, unknown> {
  return {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: baseName,
    inference_mode: true,
    r,
    lora_alpha: alpha,
    lora_dropout: dropout,
    target_modules: peftTargets(config, targetModules),
    bias: 'none',
    fan_in_fan_out: false,
    init_lora_weights: true,
  };
}
