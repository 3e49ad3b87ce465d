/**
 * @file How fast a model writes: greedy decoding with a KV cache, from one token to a full context.
 * `bench/peers/decode_pytorch.py` does the same work in PyTorch.
 */

import { PRESETS, type PresetName } from '../src/config.ts';
import { createDecoder } from '../src/decoder.ts';
import { gptParameters } from '../src/model.ts';
import { initializeParameters } from '../src/nn/parameters.ts';
import { greedy } from '../src/sampling.ts';
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
  /** Seconds to build the decoder and its first prefill graph. */
  readonly compileSeconds: number;
  /** Largest resident memory of the process, in 2^20 bytes. */
  readonly peakRssMb: number;
}

const RUNS = 5;

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
  await fillContext();
  const seconds: number[] = [];
  for (let run = 0; run < RUNS; run++) seconds.push(await fillContext());
  await decoder.release();

  seconds.sort((a, b) => a - b);
  const median = seconds[Math.floor(RUNS / 2)];
  return {
    preset,
    batch,
    context: config.contextLength,
    threads,
    tokensPerSecond: Math.round((batch * config.contextLength) / median),
    stepSeconds: median / config.contextLength,
    minStepSeconds: seconds[0] / config.contextLength,
    compileSeconds,
    peakRssMb: Math.round(process.resourceUsage().maxRSS / 1024),
  };
}
