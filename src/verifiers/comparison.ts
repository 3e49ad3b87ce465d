/** @file Comparison of two numbers: which is larger, or how the first relates to the second. */

import { UserError } from '../errors.ts';
import { findNumbers, normalizeNumbers } from './final-number.ts';
import { createVerifier, type Verifier } from './verifier.ts';
import { ALTERNATIVE, ASKS } from './wording.ts';

/** How a first number relates to a second one. */
export const RELATIONS = ['大于', '小于', '等于'] as const;
export type Relation = (typeof RELATIONS)[number];

const SIGNS: Readonly<Record<string, Relation>> = { '>': '大于', '<': '小于', '=': '等于' };
/** Words that may stand before an answer without changing it. */
const LEAD_IN =
  /^(?:所以|因此|答案|结果|应该|就|是|为|填|选|得|答|(?:比?较|更|最)?[大小]的(?:数|那?个数?)?|[:：“"「]|\s)+/;
const RELATION = /^(大于|小于|等于|相等|一样大|[<>=])(?:号)?[”"」]?$/;
/** A number that is the answer: 73, 73大, 73更大, 73比37大. */
const NUMBER = /^(-?[\d.,]*\d)\s*(?:比\s*-?[\d.,]*\d\s*)?(?:要?(?:更|比?较|最)?[大小])?[”"」]?$/;
const CLAUSE_END = /[，。；;！!、\n]|,(?!\d{3})|\.(?!\d)/;

/** What one clause commits to: a relation, a number, or nothing (a step of the working, as 3<7). */
function commitmentOf(clause: string): string | undefined {
  const body = clause.trim().replace(LEAD_IN, '').trim();
  const relation = RELATION.exec(body)?.[1];
  if (relation !== undefined) return SIGNS[relation] ?? (relation.endsWith('于') ? relation : '等于');
  const number = NUMBER.exec(body)?.[1];
  return number === undefined ? undefined : findNumbers(number)[0].value;
}

/** A whole statement of numbers, 37<73 or 37小于73: the answer of those who add nothing to it. */
const STATEMENT = /^(?:所以|因此|答案是|[:：\s])*-?[\d.,]*\d\s*(大于|小于|等于|[<>=])\s*-?[\d.,]*\d$/;

function normalize(answer: string): string {
  return normalizeNumbers(answer)
    .replace(/\p{Cf}/gu, '')
    .replace(/[＜〈]/g, '<')
    .replace(/[＞〉]/g, '>');
}

/** The relation or the number that an answer commits to, or undefined if it commits to none or to several. */
export function comparisonOf(answer: string): string | undefined {
  const text = normalize(answer);
  if (ASKS.test(text) || ALTERNATIVE.test(text)) return undefined;
  const clauses = text.split(CLAUSE_END).filter((clause) => clause.trim() !== '');
  const committed = new Set(clauses.map(commitmentOf).filter((each) => each !== undefined));
  if (committed.size > 0) return committed.size === 1 ? [...committed][0] : undefined;
  const [statement, ...others] = clauses;
  const sign = others.length === 0 && statement !== undefined ? STATEMENT.exec(statement)?.[1] : undefined;
  return sign === undefined ? undefined : (SIGNS[sign] ?? sign);
}

/**
 * Right if the answer commits to what is expected, a relation ("小于", "填<", "3<7，所以小于。", "37<73") or a number ("73",
 * "3<7，73大。", "73比37大"). A clause that compares two numbers is a step of the working. Wrong are several answers ("37、73", "大于或小于", "大于。小于。"), a denial ("不是73"), a mere possibility and a question.
 */
export const comparisonVerifier: Verifier = createVerifier('comparison', (answer, expected) => {
  const wanted = commitmentOf(normalize(expected));
  if (wanted === undefined) {
    throw new UserError({
      zh: `comparison 题的 expected 是“${expected}”：请写成“大于”“小于”“等于”或一个数字。`,
      en: `The expected value of a comparison task is "${expected}": write 大于, 小于, 等于 or one number.`,
    });
  }
  return comparisonOf(answer) === wanted;
});
