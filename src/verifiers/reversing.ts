/** @file Reversing: the text that the answer ends with. */

import { UserError } from '../errors.ts';
import { createVerifier, type Verifier } from './verifier.ts';
import { ALTERNATIVE, ENDS_WITH_NEGATION } from './wording.ts';

const QUOTED = /[“"「『‘]([^“”"「」『』‘’]*)[”"」』’]/g;
const CLAUSE_END = /[，。；、,;！!\n]+/;
/** Up to the last word that says that the answer follows: "倒过来写是", "答案：", "得". */
const CLAIM = /^.*(?:是|为|得到?|写成|写作|变成|[:：=→])\s*/s;
const ENDS_WITH_CLAIM = /(?:是|为|得到?|写成|写作|变成|[:：=→])\s*$/;

/** The text that one clause offers: what it quotes, or what stands after 是 and the like, or all of it. */
function offered(clause: string): string | undefined {
  const quoted = [...clause.matchAll(QUOTED)];
  if (quoted.length === 0) {
    const claim = CLAIM.exec(clause)?.[0] ?? '';
    return ENDS_WITH_NEGATION.test(claim) ? undefined : clause.slice(claim.length).trim();
  }
  const last = quoted[quoted.length - 1];
  const before = clause.slice(0, last.index);
  if (ENDS_WITH_NEGATION.test(before) || clause.slice(last.index + last[0].length).trim() !== '')
    return undefined;
  // Another text in quotes is what was asked about: “苹果”倒过来是“果苹”.
  return quoted.length === 1 || (quoted.length === 2 && ENDS_WITH_CLAIM.test(before)) ? last[1] : undefined;
}

/** Whether one text is the other with its characters in another order: another candidate for the answer. */
function isRearranged(one: string, other: string): boolean {
  const sorted = (text: string): string => [...text].sort().join('');
  return one !== other && one.length === other.length && sorted(one) === sorted(other);
}

/** The text that an answer ends with and commits to, or undefined if it commits to none. */
export function finalText(answer: string): string | undefined {
  const text = answer.replace(/\p{Cf}/gu, '').trim();
  if (/[？?]$/.test(text) || ALTERNATIVE.test(text)) return undefined;
  const offers = text
    .split(/[？?]/)
    .pop()!
    .split(CLAUSE_END)
    .filter((clause) => clause.trim() !== '')
    .map(offered);
  const last = offers.pop();
  if (last === undefined || last === '') return undefined;
  return offers.some((other) => other !== undefined && isRearranged(other, last)) ? undefined : last;
}

/**
 * Right if the answer ends with the expected text: "果苹", "苹、果，倒过来是“果苹”。". Capital letters matter. Wrong are
 * several candidates ("果苹、苹果", "“苹果”和“果苹”", "果苹或苹果"), a denial ("不是果苹") and anything after the text.
 */
export const reversingVerifier: Verifier = createVerifier('reversing', (answer, expected) => {
  if (finalText(expected) !== expected) {
    throw new UserError({
      zh: `reversing 题的 expected 是“${expected}”：请只写倒过来的文字，不加标点和引号，例如 "果苹"。`,
      en: `The expected value of a reversing task is "${expected}": write the reversed text alone, without punctuation or quotation marks, such as "果苹".`,
    });
  }
  return finalText(answer) === expected;
});
