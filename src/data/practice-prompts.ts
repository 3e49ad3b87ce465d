/**
 * @file The questions on which RLHF practises: those of the preference pairs and of the conversations. To the latter the
 * model has an answer by heart, which leaves little to prefer; but what is not practised is forgotten.
 */

import { type Message, renderPrompt } from '../chat-format.ts';
import type { Tokenizer } from '../tokenizer.ts';
import type { Split } from './datasets.ts';
import type { PreferencePair } from './formats.ts';

/** Longest prompt, in tokens: short ones keep the batches small. */
const LONGEST_PROMPT = 48;

/**
 * First questions of the conversations and prompts of the pairs; those held out of either stage stay held out.
 * @param room tokens that the context has for a prompt
 */
export function practicePrompts(
  tokenizer: Tokenizer,
  chats: Split<readonly Message[]>,
  pairs: Split<PreferencePair>,
  room: number,
): { prompts: Int32Array[]; heldOut: Int32Array[] } {
  const heldOut = distinctPrompts([
    ...chats.heldOut.map(firstTurn),
    ...pairs.heldOut.map(({ prompt }) => prompt),
  ]);
  const hidden = new Set(heldOut.map(keyOf));
  const train = distinctPrompts([
    ...chats.train.map(firstTurn),
    ...pairs.train.map(({ prompt }) => prompt),
  ]).filter((messages) => !hidden.has(keyOf(messages)));
  const render = (all: readonly (readonly Message[])[]): Int32Array[] =>
    all
      .map((messages) => renderPrompt(tokenizer, messages))
      .filter(({ length }) => length <= Math.min(room, LONGEST_PROMPT));
  return { prompts: render(train), heldOut: render(heldOut) };
}

/** A conversation up to its first question. */
export function firstTurn(messages: readonly Message[]): readonly Message[] {
  return messages.slice(0, messages.findIndex(({ role }) => role === 'user') + 1);
}

/** Each prompt once. */
export function distinctPrompts(prompts: readonly (readonly Message[])[]): (readonly Message[])[] {
  return [...new Map(prompts.map((messages) => [keyOf(messages), messages])).values()];
}

function keyOf(messages: readonly Message[]): string {
  return JSON.stringify(messages);
}
