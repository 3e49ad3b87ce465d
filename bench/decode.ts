/**
 * @file How fast a model writes: greedy decoding with a KV cache, from one token to a full context; and how long it
 * reads before the first token. `bench/peers/decode_pytorch.py` does the same work in PyTorch.
 */

import { PRESETS, type PresetName } from '../src/config.ts';
import { createDecoder } from '../src/decoder.ts';
import { DEFAULT_SAMPLING } from '../src/generate.ts';
import { gptParameters } from '../src/model.ts';
import { initializeParameters } from '../src/nn/parameters.ts';
import { greedy, NO_HISTORY, sampleToken } from '../src/sampling.ts';
import { createRandom } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { SPECIAL } from '../src/tokenizer.ts';

export interface DecodeBench {
  readonly preset: PresetName;
  readonly batch: number;
  readonly context: number;
  readonly threads: number;
  /** Tokens of all sequences together, in the median run. */
  readonly tokensPerSecond: number;
  /** Seconds for one token of every sequence, in the median run. */
  readonly stepSeconds: number;
  /** The same in the fastest run. */
  readonly minStepSeconds: number;
  /** Seconds to read a prompt as long as the context, of every sequence, in the median and in the fastest run. */
  readonly prefillSeconds: number;
  readonly minPrefillSeconds: number;
  /** From a message in a long chat to the first token of the answer, sampled as usual, in the median run. */
  readonly firstTokenMs: number;
  /** Seconds to build the decoder and its first prefill graph. */
  readonly compileSeconds: number;
  /** Largest resident memory of the process, in 2^20 bytes. */
  readonly peakRssMb: number;
}

const RUNS = 5;

/** How much of the context the chat fills whose next answer is waited for. */
const CHAT_SHARE = 0.8;

/** Fill the context of `batch` sequences several times, with random weights. Building the graphs does not count. */
export async function benchDecode(options: {
  readonly batch: number;
  readonly threads: number;
  readonly preset?: PresetName;
}): Promise<DecodeBench> {
  const { batch, threads, preset = 'mini' } = options;
  const config = PRESETS[preset];
  const weights = initializeParameters(gptParameters(config), 1);
  const runtime = await createNodeRuntime({ threads });
  const start = performance.now();
  const decoder = await createDecoder({ runtime, config, weights, batchSize: batch });
  const prompts = Array.from({ length: batch }, () => [SPECIAL.bos]);
  await decoder.prefill(prompts);
  const compileSeconds = (performance.now() - start) / 1000;

  /** Seconds from the first token to a full context. */
  const fillContext = async (): Promise<number> => {
    const startedAt = performance.now();
    let logits = await decoder.prefill(prompts);
    for (let length = 1; length < config.contextLength; length++)
      logits = await decoder.step(logits.map(greedy));
    return (performance.now() - startedAt) / 1000;
  };
  const fullPrompts = prompts.map(() => new Int32Array(config.contextLength).fill(7));
  const readContext = async (): Promise<number> => {
    const startedAt = performance.now();
    await decoder.prefill(fullPrompts);
    return (performance.now() - startedAt) / 1000;
  };
  const chats = prompts.map(() => new Int32Array(Math.floor(CHAT_SHARE * config.contextLength)).fill(7));
  /** Seconds to the first token of an answer, of all sequences, as `generateBatch` gets there. */
  const answerFirst = async (): Promise<number> => {
    const random = createRandom(1);
    const startedAt = performance.now();
    const logits = await decoder.prefill(chats);
    for (const row of logits) sampleToken(row, DEFAULT_SAMPLING, NO_HISTORY, random.uniform);
    return (performance.now() - startedAt) / 1000;
  };
  const prefills = await repeat(readContext, 4 * RUNS);
  const firstTokens = await repeat(answerFirst, 4 * RUNS);
  const seconds = await repeat(fillContext, RUNS);
  await decoder.release();

  const median = medianOf(seconds);
  return {
    preset,
    batch,
    context: config.contextLength,
    threads,
    tokensPerSecond: Math.round((batch * config.contextLength) / median),
    stepSeconds: median / config.contextLength,
    minStepSeconds: seconds[0] / config.contextLength,
    prefillSeconds: medianOf(prefills),
    minPrefillSeconds: prefills[0],
    firstTokenMs: 1000 * medianOf(firstTokens),
    compileSeconds,
    peakRssMb: Math.round(process.resourceUsage().maxRSS / 1024),
  };
}

/** What some runs took, the fastest first; a run before them, which compiles, does not count. */
async function repeat(run: () => Promise<number>, count: number): Promise<number[]> {
  await run();
  const seconds: number[] = [];
  for (let i = 0; i < count; i++) seconds.push(await run());
  return seconds.sort((a, b) => a - b);
}

function medianOf(sorted: readonly number[]): number {
  return sorted[Math.floor(sorted.length / 2)];
}
