/**
 * @file The output of `npm run inference`: a line of JSON for each answer. Answers are added at the end as they come, so
 * that a run that was interrupted, at whatever moment, goes on where it stopped.
 */

import { appendFileSync, existsSync, mkdirSync, readFileSync, truncateSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Message } from '../chat-format.ts';
import { UserError } from '../errors.ts';
import type { Finish } from '../generate.ts';

/** What is to be answered: a text, or a conversation that ends with the user's message. */
export type Prompt = string | readonly Message[];

/** One line of the file; as data for SFT it is a conversation. */
export interface AnswerRecord {
  /** Which prompt of the input it answers, from 0. */
  readonly index: number;
  readonly prompt: Prompt;
  readonly response: string;
  /** Why the answer ended. */
  readonly finish: Finish;
  /** Length of the answer in tokens, the one that ended it included. */
  readonly tokens: number;
}

/**
 * The indices of the prompts that a file answers already; none where it does not exist. A last line that was cut short
 * (by `kill -9` or a full disk) is removed from the file.
 *
 * @throws UserError that names the line that is no answer to one of these prompts
 */
export function readAnswered(path: string, prompts: readonly Prompt[]): Set<number> {
  const answered = new Set<number>();
  if (!existsSync(path)) return answered;
  const content = readFileSync(path);
  const whole = content.lastIndexOf('\n') + 1;
  if (whole < content.length) truncateSync(path, whole);
  for (const [i, line] of content.toString('utf8', 0, whole).split('\n').entries()) {
    if (line.trim() !== '') answered.add(indexOf(line, prompts, { path, number: i + 1 }));
  }
  return answered;
}

function indexOf(line: string, prompts: readonly Prompt[], at: { path: string; number: number }): number {
  const { path, number } = at;
  let record: Partial<AnswerRecord> | null;
  try {
    record = JSON.parse(line) as Partial<AnswerRecord> | null;
  } catch {
    record = null;
  }
  const index = record?.index;
  if (record && typeof record.response === 'string' && index !== undefined && Number.isInteger(index)) {
    const isSame = index in prompts && JSON.stringify(record.prompt) === JSON.stringify(prompts[index]);
    if (isSame) return index;
    throw new UserError({
      zh: `${path} 第 ${number} 行回答的不是 --input 中的第 ${index} 条提示（从 0 数起）；请用 --output 换一个文件，或删除它重新回答`,
      en: `${path}, line ${number} does not answer prompt ${index} (from 0) of --input; choose another file with --output, or delete this one to answer anew`,
    });
  }
  throw new UserError({
    zh: `${path} 第 ${number} 行不是 npm run inference 写的回答；请用 --output 换一个文件，或修正这一行`,
    en: `${path}, line ${number} is no answer as npm run inference writes them; choose another file with --output, or correct the line`,
  });
}

/** Add answers at the end of the file, which is created where it is missing. */
export function appendAnswers(path: string, records: readonly AnswerRecord[]): void {
  mkdirSync(dirname(path), { recursive: true });
  appendFileSync(path, records.map((record) => `${JSON.stringify(record)}\n`).join(''));
}
