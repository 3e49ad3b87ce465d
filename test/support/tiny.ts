/** @file A model small enough to be trained inside a test, with data that it can learn in a few steps. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Message } from '../../src/chat-format.ts';
import { type ModelConfig, PRESETS } from '../../src/config.ts';
import type { PreferencePair, Task } from '../../src/data/formats.ts';
import { gptParameters } from '../../src/model.ts';
import { initializeParameters } from '../../src/nn/parameters.ts';
import { rewardParameters } from '../../src/scorer.ts';
import type { BestOfNOptions } from '../../src/stages/best-of-n.ts';
import type { DpoOptions } from '../../src/stages/dpo.ts';
import type { GrpoOptions } from '../../src/stages/grpo.ts';
import type { RlhfOptions } from '../../src/stages/rlhf.ts';
import type { RlvfOptions } from '../../src/stages/rlvf.ts';
import { supervisedFineTune } from '../../src/stages/sft.ts';
import type { SavedState, StageContext, StageIo, StepRecord } from '../../src/stages/stage.ts';
import { createRandom, type NdArray, type Runtime } from '../../src/tensor/index.ts';
import { Tokenizer } from '../../src/tokenizer.ts';

/** The lines of a counting rhyme: whoever knows one character knows the next. */
const RHYME = '天地玄黄宇宙洪荒日月盈昃辰宿列张';

/** Documents that are the rhyme from different beginnings. */
export const DOCUMENTS: readonly string[] = Array.from({ length: 24 }, (_, i) => {
  const start = i % RHYME.length;
  return (RHYME.slice(start) + RHYME).repeat(3).slice(0, 40 + (i % 5));
});
export const HELD_OUT_DOCUMENTS: readonly string[] = [
  `${RHYME}${RHYME}`,
  `${RHYME.slice(7)}${RHYME}${RHYME}`,
];

/** The tokens with which an answer begins. */
export const DIGITS = ['1', '2', '3', '4'] as const;

/** Questions that are answered with one of four digits, at random. */
export const CHATS: readonly (readonly Message[])[] = Array.from({ length: 48 }, (_, i) => [
  { role: 'user', content: `问${RHYME[i % RHYME.length]}` },
  { role: 'assistant', content: DIGITS[createRandom(5, 7 * i).integer(4)] },
]);

/** Good answers say 日, bad ones say 月. */
export const PAIRS: readonly PreferencePair[] = Array.from({ length: 40 }, (_, i) => ({
  prompt: [{ role: 'user', content: `问${RHYME[i % RHYME.length]}` }],
  chosen: `日${RHYME[(3 * i) % RHYME.length]}`,
  rejected: `月${RHYME[(5 * i) % RHYME.length]}`,
}));

/** Every answer is 3. */
export const TASKS: readonly Task[] = Array.from({ length: 16 }, (_, i) => ({
  prompt: `问${RHYME[i]}`,
  expected: '3',
  type: 'math',
}));

/** A token for each character: trained on characters apart, since merges do not cross lines. */
export const tokenizer = Tokenizer.train(
  ['user', 'assistant', ...`${RHYME}问`].map((word) => `${word}\n`.repeat(20)),
  { vocabSize: 320 },
);

export const CONFIG: ModelConfig = {
  ...PRESETS.nano,
  vocabSize: tokenizer.vocabSize,
  contextLength: 32,
  hiddenSize: 16,
  numLayers: 1,
  numHeads: 2,
  numKvHeads: 2,
  intermediateSize: 32,
};

export const RLHF: RlhfOptions = {
  episodes: 32,
  batchSize: 8,
  miniBatchSize: 4,
  ppoEpochs: 2,
  learningRate: 3e-3,
  criticLearningRate: 3e-3,
  criticWarmup: 32,
  rehearsalRows: 0,
  rehearsalCoefficient: 0.5,
  maxNewTokens: 4,
  temperature: 1,
  klCoefficient: 0.15,
  klTarget: 6,
  klHorizon: 10_000,
  gamma: 1,
  lambda: 0.95,
  missingEndPenalty: 1,
};

export const RLVF: RlvfOptions = {
  iterations: 4,
  questions: 4,
  keptQuestions: 3,
  groupSize: 4,
  learningRate: 3e-3,
  maxNewTokens: 4,
  temperature: 1,
  klCoefficient: 0.02,
  rehearsalRows: 0,
  rehearsalCoefficient: 0.5,
};

export const GRPO: GrpoOptions = {
  ...RLVF,
  epochs: 2,
  miniBatchSize: 4,
  clipLow: 0.2,
  clipHigh: 0.28,
};

export const DPO: DpoOptions = { epochs: 2, batchSize: 8, learningRate: 3e-3, beta: 0.1 };

export const BEST_OF_N: BestOfNOptions = {
  iterations: 4,
  questions: 4,
  groupSize: 4,
  epochs: 2,
  batchSize: 2,
  learningRate: 3e-3,
  maxNewTokens: 4,
  temperature: 1,
};

/** What RLVF draws from. */
export const RLVF_DATA = {
  draw: (count: number, random: ReturnType<typeof createRandom>): Task[] =>
    Array.from({ length: count }, () => random.pick(TASKS)),
  heldOut: TASKS.slice(0, 4),
};

/** Fresh weights of a language model. */
export function freshWeights(config: ModelConfig = CONFIG, seed = 1): Record<string, NdArray> {
  return initializeParameters(gptParameters(config), seed);
}

/** Weights of a model that answers each question with one of four digits, the better the more epochs. */
export async function chattingWeights(
  runtime: Runtime,
  { epochs, chats = CHATS }: { epochs: number; chats?: typeof CHATS },
): Promise<Record<string, NdArray>> {
  const data = { conversations: chats, heldOut: [] };
  const options = { epochs, batchSize: 4, learningRate: 2e-2 };
  return (await supervisedFineTune(contextFor(runtime), freshWeights(), data, options)).weights;
}

/**
 * A reward model made by hand that counts a token: every value is 0 but what carries the average of the tokens (1, -1 in
 * the first two channels for the liked one, in the next two for all others) to the last position.
 */
export function rewardForToken(liked: number): Record<string, NdArray> {
  const C = CONFIG.hiddenSize;
  const weights = initializeParameters(rewardParameters(CONFIG), 1);
  for (const [name, { data }] of Object.entries(weights)) if (!name.includes('norm')) data.fill(0 as never);
  const set = (name: string, index: number, value: number): void => {
    (weights[name].data as Float32Array)[index] = value;
  };
  for (let token = 0; token < CONFIG.vocabSize; token++) {
    const channel = token === liked ? 0 : 2;
    set('embedding.weight', token * C + channel, 1);
    set('embedding.weight', token * C + channel + 1, -1);
  }
  for (let channel = 0; channel < C; channel++) {
    set('blocks.0.attention.c_attn.weight', channel * 3 * C + 2 * C + channel, 1);
    set('blocks.0.attention.c_proj.weight', channel * C + channel, 1);
  }
  set('reward_head.weight', 0, 1);
  return weights;
}

/** Thrown by the `offer` of `recordingIo` to stop a stage. */
export class Stopped extends Error {}

export interface RecordedIo extends StageIo {
  readonly records: StepRecord[];
  readonly notes: string[];
}

/**
 * An io that remembers what a stage reports.
 * @param options.stopAfter stop after so many offers, giving the state to `keep`
 */
export function recordingIo(
  options: { resumed?: SavedState; stopAfter?: number; keep?: (state: SavedState) => void } = {},
): RecordedIo {
  const { resumed, stopAfter, keep } = options;
  const records: StepRecord[] = [];
  const notes: string[] = [];
  let offers = 0;
  return {
    resumed,
    records,
    notes,
    log: (record) => void records.push(record),
    note: ({ en }) => void notes.push(en),
    offer(make) {
      if (++offers !== stopAfter) return;
      keep?.(make());
      throw new Stopped();
    },
  };
}

/** A context with an io that remembers. */
export function contextFor(
  runtime: Runtime,
  options: { config?: ModelConfig; seed?: number; io?: RecordedIo } = {},
): StageContext & { io: RecordedIo } {
  const { config = CONFIG, seed = 1, io = recordingIo() } = options;
  return { runtime, config, tokenizer, seed, io };
}

/** Whether two sets of arrays are the same to the last bit. */
export function sameBits(a: Record<string, NdArray>, b: Record<string, NdArray>): boolean {
  const names = Object.keys(a).sort();
  const bytes = ({ data }: NdArray): Buffer => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return (
    names.join() === Object.keys(b).sort().join() &&
    names.every(
      (name) => a[name].shape.join() === b[name].shape.join() && bytes(a[name]).equals(bytes(b[name])),
    )
  );
}

/** Run with a temporary folder that is removed afterwards. */
export async function withFolder<T>(use: (folder: string) => T | Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'my-llm-'));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A figure of every step that was logged; NaN where a step has none of that name. */
export function figures({ io }: { readonly io: RecordedIo }, name: string): number[] {
  return io.records.map((record) => record.figures?.[name] ?? Number.NaN);
}
