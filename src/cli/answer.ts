/** @file One answer to one prompt, written to standard output. */

import { beamSearch } from '../beam-search.ts';
import { renderPrompt } from '../chat-format.ts';
import type { Checkpoint } from '../checkpoint.ts';
import { createDecoder } from '../decoder.ts';
import { generate, rawPrompt } from '../generate.ts';
import { text } from '../i18n.ts';
import { createRandom, type Runtime } from '../tensor/index.ts';
import { SPECIAL, type Tokenizer } from '../tokenizer.ts';
import { anySeed, type WritingOptions } from './sampling-options.ts';
import { type ChoiceAmong, choiceAmong, probabilityTable } from './show-probs.ts';
import { columnsOf, hasColor, withoutControls } from './terminal.ts';
import { wrappedTable } from './wrap.ts';

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

/**
 * Write the answer, and nothing but the answer, to stdout as it comes.
 * @param alternatives how many likely tokens to show for each token in a table below; none when not given
 */
export async function answer(message: string, options: AnswerOptions, alternatives?: number): Promise<void> {
  const { runtime, checkpoint, raw, seed = anySeed() } = options;
  const { config, params: weights, tokenizer } = checkpoint;
  const decoder = await createDecoder({ runtime, config, weights, batchSize: 1 });
  const prompt = promptTokens(tokenizer, message, raw);
  const random = createRandom(seed);
  const choices: ChoiceAmong[] = [];
  const { stdout } = process;
  for await (const piece of generate({ ...options, decoder, tokenizer, prompt, random })) {
    stdout.write(stdout.isTTY ? withoutControls(piece.text) : piece.text);
    if (alternatives) choices.push(choiceAmong(piece, alternatives));
  }
  stdout.write('\n');
  if (alternatives) {
    const form = { columns: columnsOf(stdout), color: hasColor(stdout) };
    stdout.write(`\n${probabilityTable(tokenizer, choices, form)}\n`);
  }
  await decoder.release();
}

/** Write the most probable answer that a beam of `width` finds to stdout, and all that it found to stderr. */
export async function answerByBeams(message: string, options: AnswerOptions, width: number): Promise<void> {
  const { runtime, checkpoint, raw, maxNewTokens, stop } = options;
  const { config, params: weights, tokenizer } = checkpoint;
  const decoder = await createDecoder({ runtime, config, weights, batchSize: width });
  const textOf = (tokens: readonly number[]): string => tokenizer.decode(tokens, { skipSpecial: true });
  const ends = (tokens: readonly number[]): boolean => {
    const last = tokens[tokens.length - 1];
    if (last === SPECIAL.imEnd || last === SPECIAL.eos) return true;
    return stop.length > 0 && stop.some((each) => textOf(tokens).includes(each));
  };
  const prompt = promptTokens(tokenizer, message, raw);
  const found = await beamSearch({ decoder, prompt, maxNewTokens, ends });
  const texts = found.map(({ tokens }) => beforeStop(textOf(tokens), stop));
  process.stdout.write(`${texts[0]}\n`);
  printCandidates(
    [text({ zh: '平均对数概率', en: 'mean log p' }), text({ zh: '词元', en: 'tokens' })],
    found.map(({ tokens, logProbability }, i) => [
      (logProbability / tokens.length).toFixed(3),
      `${tokens.length}`,
      texts[i],
    ]),
  );
  await decoder.release();
}

function beforeStop(written: string, stop: readonly string[]): string {
  const cuts = stop.map((each) => written.indexOf(each)).filter((at) => at >= 0);
  return written.slice(0, Math.min(written.length, ...cuts));
}

/** Show on stderr what the answer was chosen from: rows of figures that end with a text. */
export function printCandidates(figures: readonly string[], rows: readonly (readonly string[])[]): void {
  const heading = [...figures, text({ zh: '回答', en: 'answer' })];
  const shown = rows.map((row) => row.map(withoutControls));
  process.stderr.write(`${wrappedTable([heading, ...shown], columnsOf(process.stderr))}\n`);
}
