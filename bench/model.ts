/**
 * @file What the forms of the model cost: heads that share keys and values, and experts. Parameters, training and decoding
 * of each, measured in turn, so that a machine that drifts drifts for all of them.
 */

import { type ModelConfig, PRESETS, type PresetName } from '../src/config.ts';
import { createDecoder } from '../src/decoder.ts';
import { table } from '../src/format-text.ts';
import { text } from '../src/i18n.ts';
import { gptParameters } from '../src/model.ts';
import { countActiveParameters } from '../src/nn/mixture-of-experts.ts';
import { countParameters, initializeParameters } from '../src/nn/parameters.ts';
import { greedy } from '../src/sampling.ts';
import type { Runtime } from '../src/tensor/index.ts';
import { createNodeRuntime } from '../src/tensor/runtime/node.ts';
import { SPECIAL } from '../src/tokenizer.ts';
import { median } from './median.ts';
import { timeSteps } from './train.ts';

export interface FormBench {
  readonly form: string;
  readonly parameters: number;
  /** Those that a token goes through. */
  readonly activeParameters: number;
  /** Bytes of keys and values that decoding keeps of a full context. */
  readonly cacheBytes: number;
  /** In the median step of all rounds. */
  readonly trainingTokensPerSecond: number;
  /** One sequence, from one token to a full context, in the median round. */
  readonly decodingTokensPerSecond: number;
}

interface Options {
  readonly preset: PresetName;
  readonly batch: number;
  readonly context: number;
  /** Training steps of a form in a round. */
  readonly steps: number;
  readonly rounds: number;
  readonly numExperts: number;
  readonly expertsPerToken: number;
  readonly threads: number;
}

/** The forms by name, all of them of a preset's sizes. */
function formsOf(options: Options): Record<string, ModelConfig> {
  const { preset, context, numExperts, expertsPerToken: numExpertsPerToken } = options;
  const { numHeads, ...sizes } = { ...PRESETS[preset], contextLength: context };
  const sharing = (numKvHeads: number): ModelConfig => ({ ...sizes, numHeads, numKvHeads });
  const groups = [4, 2].find((size) => numHeads % size === 0 && numHeads > size);
  return {
    'multi-head': sharing(numHeads),
    ...(groups && { [`grouped-query, ${numHeads / groups} of ${numHeads}`]: sharing(numHeads / groups) }),
    'multi-query': sharing(1),
    [`${numExperts} experts, ${numExpertsPerToken} a token`]: {
      ...sharing(numHeads),
      numExperts,
      numExpertsPerToken,
    },
  };
}

/** Measure every form, round after round. */
export async function benchModel(options: Options): Promise<FormBench[]> {
  const { batch, context, steps, rounds, threads } = options;
  const runtime = await createNodeRuntime({ threads });
  const forms = Object.entries(formsOf(options)).map(([form, config]) => {
    const seconds: { training: number[]; decoding: number[] } = { training: [], decoding: [] };
    return { form, config, seconds };
  });
  for (let round = 0; round < rounds; round++) {
    for (const { config, seconds } of forms) {
      seconds.training.push(...(await timeSteps(runtime, config, { batch, steps })));
      seconds.decoding.push(await timeDecoding(runtime, config));
    }
  }
  return forms.map(({ form, config, seconds }) => {
    const specs = gptParameters(config);
    const { numLayers, numKvHeads, hiddenSize, numHeads } = config;
    return {
      form,
      parameters: countParameters(specs),
      activeParameters: countActiveParameters(specs, config),
      cacheBytes: 2 * 4 * numLayers * numKvHeads * (hiddenSize / numHeads) * context,
      trainingTokensPerSecond: Math.round((batch * context) / median(seconds.training)),
      decodingTokensPerSecond: Math.round(context / median(seconds.decoding)),
    };
  });
}

/** Seconds to write a full context, the second time: the first compiles. */
async function timeDecoding(runtime: Runtime, config: ModelConfig): Promise<number> {
  const weights = initializeParameters(gptParameters(config), 1);
  const decoder = await createDecoder({ runtime, config, weights, batchSize: 1 });
  let seconds = 0;
  for (let run = 0; run < 2; run++) {
    const start = performance.now();
    let logits = await decoder.prefill([[SPECIAL.bos]]);
    for (let length = 1; length < config.contextLength; length++)
      logits = await decoder.step(logits.map(greedy));
    seconds = (performance.now() - start) / 1000;
  }
  await decoder.release();
  return seconds;
}

/** The forms as rows of a table. */
export function showForms(forms: readonly FormBench[]): string {
  const head = [
    { zh: '结构', en: 'Form' },
    { zh: '参数', en: 'Parameters' },
    { zh: '每个词元用到', en: 'Of a token' },
    { zh: '缓存 KB', en: 'Cache, KB' },
    { zh: '训练 词元/秒', en: 'Training, tokens/s' },
    { zh: '生成 词元/秒', en: 'Decoding, tokens/s' },
  ].map(text);
  const count = (value: number): string => value.toLocaleString('en-US');
  const rows = forms.map((each) => [
    each.form,
    count(each.parameters),
    count(each.activeParameters),
    count(Math.round(each.cacheBytes / 1024)),
    count(each.trainingTokensPerSecond),
    count(each.decodingTokensPerSecond),
  ]);
  return table([head, ...rows]);
}
