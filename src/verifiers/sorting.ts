/** @file Sorting: the list of numbers that the answer ends with. */

import { UserError } from '../errors.ts';
import { findNumbers, normalizeNumbers } from './final-number.ts';
import { createVerifier, type Verifier } from './verifier.ts';
import { ALTERNATIVE, ASKS, ENDS_WITH_NEGATION } from './wording.ts';

/** Between two numbers of one list. */
const SEPARATOR = /^\s*(?:[、，,<>≤≥→]|和)?\s*$/;
/** Before a list: it is the answer, not one of several lists. */
const ENDS_WITH_CLAIM = /(?:是|为|得到?|成|排列?|[:：=])\s*$/;

interface List {
  readonly values: readonly string[];
  readonly before: string;
  readonly ordered: boolean;
}

/** The lists in a text: runs of numbers with nothing but separators between them. */
function listsOf(text: string): { lists: List[]; rest: string } {
  const lists: { values: string[]; before: string; ordered: boolean }[] = [];
  let end = 0;
  for (const { value, start, end: next } of findNumbers(text)) {
    const gap = text.slice(end, start);
    const list = lists[lists.length - 1];
    if (list === undefined || !SEPARATOR.test(gap) || /\n/.test(gap)) {
      lists.push({ values: [value], before: gap, ordered: true });
    } else {
      const previous = list.values[list.values.length - 1];
      list.ordered &&= isTrue(previous, gap.trim(), value);
      list.values.push(value);
    }
    end = next;
  }
  return { lists, rest: text.slice(end) };
}

/** Whether a sign between two numbers is right; other separators say nothing. */
function isTrue(left: string, separator: string, right: string): boolean {
  if (/[<≤]/.test(separator)) return Number(left) <= Number(right);
  return !/[>≥]/.test(separator) || Number(left) >= Number(right);
}

const sameNumbers = (one: readonly string[], other: readonly string[]): boolean =>
  [...one].sort().join() === [...other].sort().join();

/** The numbers that an answer ends with, in their order, or undefined if it commits to no order. */
export function finalOrder(answer: string): readonly string[] | undefined {
  const text = normalizeNumbers(answer)
    .replace(/\p{Cf}/gu, '')
    .replace(/[＜〈]/g, '<')
    .replace(/[＞〉]/g, '>');
  const { lists, rest } = listsOf(text);
  const last = lists[lists.length - 1];
  if (last === undefined || !last.ordered) return undefined;
  if (ALTERNATIVE.test(text) || ASKS.test(rest) || /[\p{L}\p{N}+*/×÷<>=-]/u.test(rest)) return undefined;
  if (ENDS_WITH_NEGATION.test(last.before)) return undefined;
  // The same numbers in another order before it: the question told again, if 是 or ： leads on to the answer.
  const others = lists.slice(0, -1).filter(({ values }) => sameNumbers(values, last.values));
  const isOther = ({ values }: List): boolean => values.join() !== last.values.join();
  const claimed = others.some(({ before }) => /(?:答案|结果)[是为]?[:：]?\s*$|是\s*$/.test(before));
  if (others.some(isOther) && (others.length > 1 || claimed || !ENDS_WITH_CLAIM.test(last.before)))
    return undefined;
  return last.values;
}

/**
 * Right if the answer ends with the expected numbers in the expected order: "5、37、82", "5<37<82", "从小到大是5，37，82。".
 * Wrong are two orders ("5、37、82。37、5、82", "5、37、82或37、5、82"), numbers too many or too few, a false sign (5>37), and
 * anything but punctuation after the list.
 */
export const sortingVerifier: Verifier = createVerifier('sorting', (answer, expected) => {
  const wanted = finalOrder(expected);
  if (wanted === undefined || wanted.length < 2) {
    throw new UserError({
      zh: `sorting 题的 expected 是“${expected}”：请按顺序写出至少两个数，例如 "5、37、82"。`,
      en: `The expected value of a sorting task is "${expected}": write at least two numbers in order, such as "5、37、82".`,
    });
  }
  return finalOrder(answer)?.join() === wanted.join();
});
