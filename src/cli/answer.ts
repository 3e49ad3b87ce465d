/** @file One answer to one prompt, written to standard output as it comes. */

import { renderPrompt } from '../chat-format.ts';
import type { Checkpoint } from '../checkpoint.ts';
import { createDecoder } from '../decoder.ts';
import { generate, rawPrompt } from '../generate.ts';
import { createRandom, type Runtime } from '../tensor/index.ts';
import type { Tokenizer } from '../tokenizer.ts';
import { anySeed, type WritingOptions } from './sampling-options.ts';

/** A model and how it is to write. */
export interface AnswerOptions extends WritingOptions {
  readonly runtime: Runtime;
  readonly checkpoint: Checkpoint;
  /** Continue the prompt as raw text, without the chat template. */
  readonly raw: boolean;
  readonly seed?: number;
}

/** The tokens that an answer to a message begins after. */
export function promptTokens(tokenizer: Tokenizer, message: string, raw: boolean): Int32Array {
  return raw ? rawPrompt(tokenizer, message) : renderPrompt(tokenizer, [{ role: 'user', content: message }]);
}

/** Write the answer, and nothing but the answer, to stdout. */
export async function answer(message: string, options: AnswerOptions): Promise<void> {
  const { runtime, checkpoint, raw, seed = anySeed() } = options;
  const { config, params: weights, tokenizer } = checkpoint;
  const decoder = await createDecoder({ runtime, config, weights, batchSize: 1 });
  const prompt = promptTokens(tokenizer, message, raw);
  const random = createRandom(seed);
  for await (const { text } of generate({ ...options, decoder, tokenizer, prompt, random })) {
    process.stdout.write(text);
  }
  process.stdout.write('\n');
  await decoder.release();
}
