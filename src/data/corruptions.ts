/**
 * @file Worse answers without end: what a small model does wrong, made on purpose from good answers. Preference pairs
 * that people wrote teach tact and truth; these teach what no pair needs a person for, that an answer should be to this
 * question and to no other, in order, said once, finished, and no shorter than is helpful.
 */

import type { Message } from '../chat-format.ts';
import { createRandom, type Random } from '../tensor/random.ts';
import type { PreferencePair } from './formats.ts';
import { shortAnswer } from './short-answers.ts';

/** A question and a good answer to it. */
interface Exchange {
  readonly prompt: readonly Message[];
  readonly answer: string;
}

type Corruption = (random: Random, answer: string, other: string) => string;

/** By the category of the pairs. `other` is a good answer to another question; for `wrong`, to one that sounds much like it. */
export const CORRUPTIONS: Readonly<Record<string, Corruption>> = {
  off_topic: (_random, _answer, other) => other,
  wrong: (_random, _answer, other) => other,
  too_short: (_random, answer) => shortAnswer(answer) ?? answer,
  unfinished(random, answer) {
    const end = 1 + Math.floor(answer.length * (0.25 + 0.6 * random.uniform()));
    return answer.slice(0, Math.min(end, answer.length - 3));
  },
  repetitive(random, answer) {
    const clauses = clausesOf(answer);
    const start = random.integer(Math.max(1, answer.length - 6));
    const piece =
      random.uniform() < 0.5 ? random.pick(clauses) : answer.slice(start, start + 2 + random.integer(5));
    const again = piece.repeat(3 + random.integer(5));
    // It may begin well before it gets stuck.
    return random.uniform() < 0.5 ? again : `${clauses[0]}${again}`;
  },
  garbled(random, answer, other) {
    if (random.uniform() < 0.3) {
      const [mine, others] = [clausesOf(answer), clausesOf(other)];
      return random
        .shuffle([...mine, ...others])
        .slice(0, mine.length + 1)
        .join('');
    }
    const pieces = [...piecesOf(random, answer), ...(random.uniform() < 0.5 ? piecesOf(random, other) : [])];
    const length = answer.length * (0.6 + 0.8 * random.uniform());
    return `${random.shuffle(pieces).join('').slice(0, Math.max(4, length))}。`;
  },
};

/**
 * The kinds in turn, as often as they take to learn: faults of form are seen at once, and an answer to another question is
 * not.
 */
const TURN = Object.keys(CORRUPTIONS).flatMap((kind) =>
  Array.from({ length: kind === 'off_topic' || kind === 'wrong' ? 4 : 1 }, () => kind),
);

/** Clauses with their punctuation. */
function clausesOf(answer: string): string[] {
  return answer.match(/[^，。！？；：、]+[，。！？；：、]*/g) ?? [answer];
}

/** One to four characters each, without punctuation. */
function piecesOf(random: Random, answer: string): string[] {
  const characters = [...answer.replace(/[^\p{L}\p{N}]/gu, '')];
  const pieces: string[] = [];
  for (let start = 0; start < characters.length; start += pieces[pieces.length - 1].length)
    pieces.push(characters.slice(start, start + 1 + random.integer(4)).join(''));
  return pieces;
}

/** So many draws are tried for a pair; answers that cannot be spoilt in a way (too short, all the same) are rare. */
const ATTEMPTS = 100;

/**
 * `count` pairs of a good answer and a corrupted one, of all kinds. Fewer where the answers cannot be corrupted so:
 * none at all where all of them are the same.
 */
export function corruptedPairs(
  exchanges: readonly Exchange[],
  count: number,
  seed: number,
): PreferencePair[] {
  if (new Set(exchanges.map(({ answer }) => answer)).size < 2) return [];
  const random = createRandom(seed);
  return Array.from({ length: count }, (_, i) =>
    corruptedPair(random, exchanges, TURN[i % TURN.length]),
  ).filter((pair) => pair !== undefined);
}

function corruptedPair(
  random: Random,
  exchanges: readonly Exchange[],
  category: string,
): PreferencePair | undefined {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const exchange = random.pick(exchanges);
    const { prompt, answer } = exchange;
    const other =
      category === 'wrong' ? similarAnswer(random, exchanges, exchange) : random.pick(exchanges).answer;
    const rejected = CORRUPTIONS[category](random, answer, other);
    if (rejected !== answer && rejected !== '' && other !== answer)
      return { prompt, chosen: answer, rejected, category };
  }
  return undefined;
}

/** So many questions are drawn to find one that sounds much like another. */
const CANDIDATES = 40;

/** What is answered to the question most like this one, of some that are drawn; not what says much the same as its answer. */
function similarAnswer(random: Random, exchanges: readonly Exchange[], { prompt, answer }: Exchange): string {
  const question = (of: readonly Message[]): string => of[of.length - 1].content;
  const drawn = Array.from({ length: CANDIDATES }, () => random.pick(exchanges));
  const likeness = (each: Exchange): number =>
    overlap(each.answer, answer) > 0.5 ? -1 : overlap(question(prompt), question(each.prompt));
  const scored = drawn.map((each) => ({ answer: each.answer, score: likeness(each) }));
  return scored.reduce((best, each) => (each.score > best.score ? each : best)).answer;
}

/** The share of the pairs of neighbouring characters of `a` that are in `b` too. */
function overlap(a: string, b: string): number {
  const pairs = Array.from({ length: a.length - 1 }, (_, i) => a.slice(i, i + 2));
  return pairs.filter((pair) => b.includes(pair)).length / Math.max(1, pairs.length);
}

/** The last answer of each conversation, and what was said before it; conversations that begin with it are left out. */
export function exchangesOf(conversations: readonly (readonly Message[])[]): Exchange[] {
  return conversations.flatMap((messages) => {
    const last = messages.findLastIndex(({ role }) => role === 'assistant');
    return last < 1 ? [] : [{ prompt: messages.slice(0, last), answer: messages[last].content }];
  });
}
