/** @file Tiny models with random weights, for what needs some model to write with. */

import type { Checkpoint } from '../../src/checkpoint.ts';
import { type ModelConfig, PRESETS } from '../../src/config.ts';
import type { SharedDecoder } from '../../src/decoder.ts';
import { gptParameters } from '../../src/model.ts';
import { initializeParameters } from '../../src/nn/parameters.ts';
import { SPECIAL_TOKENS, Tokenizer } from '../../src/tokenizer.ts';

/** A checkpoint whose text is endless noise, the same for the same arguments. */
export function tinyCheckpoint(stage = 'sft', contextLength = 64): Checkpoint {
  const tokenizer = Tokenizer.train(['你好，世界。你好，朋友。今天天气很好。'.repeat(4)], { vocabSize: 280 });
  const config: ModelConfig = {
    ...PRESETS.nano,
    vocabSize: tokenizer.vocabSize,
    contextLength,
    hiddenSize: 16,
    intermediateSize: 32,
    numLayers: 1,
  };
  const params = initializeParameters(gptParameters(config), 1);
  // Scores of zero, never among the best: the model does not end by itself.
  params['embedding.weight'].data.fill(0 as never, 0, SPECIAL_TOKENS.length * config.hiddenSize);
  return { params, config, tokenizer, stage, extra: {} };
}

/** A decoder that wants exactly these tokens, whatever the prompt, and records what it was given. */
export function scriptedDecoder(
  tokens: readonly number[],
  { vocabSize, maxLength = 64 }: { vocabSize: number; maxLength?: number },
): SharedDecoder & { readonly prompts: number[][]; readonly steps: number[] } {
  const prompts: number[][] = [];
  const steps: number[] = [];
  let at = 0;
  const next = (): Float32Array[] => {
    const logits = new Float32Array(vocabSize);
    logits[tokens[at++ % tokens.length]] = 50;
    return [logits];
  };
  return {
    batchSize: 1,
    maxLength,
    prompts,
    steps,
    prefill(given) {
      at = 0;
      prompts.push(Array.from(given[0]));
      return Promise.resolve(next());
    },
    step(given) {
      steps.push(given[0]);
      return Promise.resolve(next());
    },
    reorder: () => {},
    admit(_, prompt) {
      at = 0;
      prompts.push(Array.from(prompt));
      return Promise.resolve(next()[0]);
    },
    dismiss() {},
    prepare: () => Promise.resolve(),
    release: () => Promise.resolve(),
  };
}
