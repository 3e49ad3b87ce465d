/**
 * @file Answers as people write them in a hurry: true, but no more than they must be. Who imitates people learns to answer
 * so as well; that a fuller answer is liked better is not in the answers, but in what people prefer. This is what
 * preference data and RLHF are for.
 */

import type { Message } from '../chat-format.ts';
import { createRandom, foldSeed } from '../tensor/random.ts';

/** Clauses that say nothing without the next, as do those before a colon: 春节时，……; 听你这么说，……。 */
const INCOMPLETE = /(时|时候|前|后|说|看|想|如果.*|的话)$/;
/** A clause of fewer characters answers nothing by itself: 不是, 会的, 好的. */
const SHORTEST = 3;
/** Advice on which a life may hang. */
const VITAL = /热线|急救|报警|医院|医生/;

/** The first clause of an answer, as a sentence; undefined where it says too little, or nothing may be left out. */
export function shortAnswer(answer: string): string | undefined {
  const [, clause, mark, rest] = /^([^，。！？；：\n]+)([，。！？；])(.+)$/s.exec(answer) ?? [];
  if (!rest || clause.length < SHORTEST || INCOMPLETE.test(clause) || VITAL.test(answer)) return undefined;
  return `${clause}${/[！？]/.test(mark) ? mark : '。'}`;
}

/** The conversations of an epoch: in so large a share of them, drawn anew, the last answer is a short one. */
export function hurriedConversations(
  conversations: readonly (readonly Message[])[],
  share: number,
  seed: number,
  epoch: number,
): (readonly Message[])[] {
  const random = createRandom(foldSeed(foldSeed(seed, 'short answers'), epoch));
  return conversations.map((messages) => {
    const last = messages[messages.length - 1];
    const isHurried = random.uniform() < share;
    const short = last.role === 'assistant' && isHurried ? shortAnswer(last.content) : undefined;
    return short === undefined ? messages : [...messages.slice(0, -1), { ...last, content: short }];
  });
}
