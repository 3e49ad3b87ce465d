/** @file Logic: 是, 不是 or 不一定, as a clause of its own. */

import { UserError } from '../errors.ts';
import { createVerifier, type Verifier } from './verifier.ts';

/** The three verdicts of a logic task. */
export type Verdict = '是' | '不是' | '不一定';
export const VERDICTS: readonly Verdict[] = ['是', '不是', '不一定'];

/** Words that may stand before a verdict without changing it. */
const LEAD_IN =
  /^(?:(?:答案|结论|结果)(?:应该|就)?[是为]?|答|我(?:认为|觉得|想)|应该|当然|显然|肯定|一定|确实|其实|那么?|嗯|好的|但是?|可是|不过|而且?|又|既|也|或者?|还是|要么|和|与|以及)+/;
/** Words that make what follows a mere possibility. */
const HEDGE = /^(?:也?(?:可能|也许|或许)|有时候?|大概)+/;
const VERDICT_TOKEN =
  /(不一定[是对的]?|不是的?|不对的?|是的?|对的?|否)[啊呀哦呢啦]?|或者?|还是|以?及|和|与|又|也|既|而且?|但/uy;
/** Where one clause ends and the next begins. Dots of omission join: "因为……是……" is one clause. */
const CLAUSE_END = /[^\p{L}\p{N}…]+|因为|由于|所以|因此/u;

/** The verdicts that a clause consists of; none if there is anything else in it, as in 小明是学生, 可是, or 不是老师. */
function verdictsOfClause(clause: string): Verdict[] {
  const verdicts: Verdict[] = [];
  VERDICT_TOKEN.lastIndex = 0;
  while (VERDICT_TOKEN.lastIndex < clause.length) {
    const word = VERDICT_TOKEN.exec(clause);
    if (word === null) return [];
    const token = word[1];
    if (token?.startsWith('不一定')) verdicts.push('不一定');
    else if (token?.startsWith('不') || token === '否') verdicts.push('不是');
    else if (token !== undefined) verdicts.push('是');
  }
  return verdicts;
}

/** The one verdict that an answer commits to, or undefined if it commits to none or to several. */
export function verdictOf(answer: string): Verdict | undefined {
  const committed = new Set<Verdict>();
  const possible = new Set<Verdict>();
  for (const clause of answer.replace(/\p{Cf}/gu, '').split(CLAUSE_END)) {
    const body = clause.replace(LEAD_IN, '');
    const certain = body.replace(HEDGE, '');
    for (const verdict of verdictsOfClause(certain)) (certain === body ? committed : possible).add(verdict);
  }
  if (committed.size !== 1) return undefined;
  const [verdict] = committed;
  // "不一定，可能是，也可能不是" explains itself; "是，也可能不是" takes both sides.
  return verdict === '不一定' || [...possible].every((other) => other === verdict) ? verdict : undefined;
}

/**
 * Right if the answer commits to the expected one of 是 / 不是 / 不一定.
 *
 * A verdict is a clause of its own, usually the first: "是。因为……。", "答案是不一定", "小明是学生，所以是。". Clauses
 * that say anything else are reasons, whatever characters are in them (可是, 小明是学生, 不是老师). So 是 is never seen
 * inside 不是 or 但是. 是的, 对 and 对的 count as 是; 不是的, 不对 and 否 as 不是; 不一定是 as 不一定. Wrong are several
 * verdicts ("是或不是", "是，不是，不一定", "是不是"), a contradiction ("是。不是。") and a mere possibility ("可能是").
 */
export const logicVerifier: Verifier = createVerifier('logic', (answer, expected) => {
  if (!VERDICTS.includes(expected as Verdict)) {
    throw new UserError({
      zh: `logic 题的 expected 是“${expected}”：请写成“是”“不是”或“不一定”。`,
      en: `The expected value of a logic task is "${expected}": write 是, 不是 or 不一定.`,
    });
  }
  return verdictOf(answer) === expected;
});
