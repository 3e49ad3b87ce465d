/**
 * @file Verifiers: programs that can tell whether an answer is right, and so give a reward that no model can flatter.
 *
 * In RLVF (reinforcement learning from verifiable rewards; Lambert et al. 2024, "Tulu 3") the reward is not a learned
 * opinion but a check. That only helps if the check cannot be fooled: a policy finds whatever pays. So a verifier here
 * accepts one committed answer and nothing else. An empty answer, a list of candidates and a contradiction are wrong.
 *
 * Your own verifier takes a few lines:
 *
 *     const parityVerifier = createVerifier('parity', (answer, expected) => answer.trim() === expected);
 *     VERIFIERS.set(parityVerifier.type, parityVerifier); // tasks with "type": "parity" now use it
 */

import { UserError } from './errors.ts';

/** Judges answers to one type of task. */
export interface Verifier {
  /** The `type` of the tasks that it judges. */
  readonly type: string;
  /** `RIGHT_REWARD` or `WRONG_REWARD`. @throws UserError if `expected` is no answer of this type */
  reward(answer: string, expected: string): number;
  /** @throws UserError if `expected` is no answer of this type */
  isCorrect(answer: string, expected: string): boolean;
}

export const RIGHT_REWARD = 1;
/** Chosen so that guessing pays nothing: one of three verdicts at random earns (1 - 0.5 - 0.5) / 3 = 0. */
export const WRONG_REWARD = -0.5;

/** A verifier with the usual rewards from a test of correctness. */
export function createVerifier(
  type: string,
  isCorrect: (answer: string, expected: string) => boolean,
): Verifier {
  return {
    type,
    isCorrect,
    reward: (answer, expected) => (isCorrect(answer, expected) ? RIGHT_REWARD : WRONG_REWARD),
  };
}

// Math: the final number

/** A number in a text: its exact value as a canonical decimal, and where it stands. */
interface NumberMatch {
  readonly value: string;
  readonly start: number;
  readonly end: number;
}

const NUMBER = /(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?%?/g;
const OPERATOR = '[-+*/×÷xX·~]|加上?|减去?|乘以?|除以|至|到';
/** A text that ends with an operator: the number after it is an operand, not a result. */
const ENDS_WITH_OPERATOR = new RegExp(`(?:${OPERATOR})\\s*$`);
const STARTS_WITH_OPERATOR = /^\s*(?:[-+*/×÷~=]|加|减|乘|除以|等于)/;
/** The rest of a sentence that is a question: to repeat the task is not to answer it. */
const ASKS = /[？?]/;
const ENDS_WITH_NEGATION = /(?:不是|不等于|不会是|并非|≠|!=)\s*$/;
/** Between two numbers: words that offer the second one beside the first. */
const ALTERNATIVE = /或|还是|要么|可能|也许|大概|\bor\b/i;
/** Between two numbers: nothing but a measure word, separators and 和. So "12、13", "12个，13个", "4 2". */
const BARE_LIST = /^[\p{L}]{0,2}?(?:[^\p{L}\p{N}=:：→]|和|与|及|跟)+$/u;
const RESULT = /(?:答案|结果)[^\d。！？!?\n]{0,6}$/;

/** Full-width digits and signs become ASCII; the Chinese comma stays, for it separates, except inside 1，234 in full width. */
function normalizeNumbers(text: string): string {
  return text
    .replace(/([０-９])，(?=[０-９]{3}(?![０-９]))/g, '$1,')
    .replace(/[０-９＋－．／＊％＝]/g, (c) => String.fromCharCode(c.charCodeAt(0) - 0xfee0))
    .replace(/[−﹣]/g, '-');
}

/** "007.50" and "7.5" are the same number; as text, so that no digit is lost to rounding. */
function canonicalDecimal(digits: string, negative: boolean): string {
  const percent = digits.endsWith('%') ? '%' : '';
  const [whole, fraction = ''] = digits.replace(/[,%]/g, '').split('.');
  const shortWhole = whole.replace(/^0+(?=\d)/, '');
  const shortFraction = trimZeros(fraction);
  const value = shortFraction === '' ? shortWhole : `${shortWhole}.${shortFraction}`;
  return (negative && value !== '0' ? '-' : '') + value + percent;
}

function trimZeros(fraction: string): string {
  let end = fraction.length;
  while (end > 0 && fraction[end - 1] === '0') end--;
  return fraction.slice(0, end);
}

function findNumbers(text: string): NumberMatch[] {
  const numbers: NumberMatch[] = [];
  for (const { 0: digits, index } of text.matchAll(NUMBER)) {
    const before = text.slice(Math.max(0, index - 8), index);
    // A minus is a sign unless something to subtract from stands before it.
    const sign = /(?:^|[^\d)）%\s])\s*-$|^\s*-$|(?:^|[^\d\s])\s+-$|负$/.test(before);
    const start = sign ? index - 1 : index;
    numbers.push({ value: canonicalDecimal(digits, sign), start, end: index + digits.length });
  }
  return numbers;
}

/** Whether the numbers up to the last one are offered together with it, as in "12 或 13" or "11、12、13". */
function listsCandidates(text: string, numbers: readonly NumberMatch[]): boolean {
  const last = numbers[numbers.length - 1];
  for (let i = numbers.length - 2; i >= 0; i--) {
    const gap = text.slice(numbers[i].end, numbers[i + 1].start);
    const equation =
      gap.trim() === '=' &&
      !ENDS_WITH_OPERATOR.test(text.slice(Math.max(0, numbers[i].start - 4), numbers[i].start));
    if (!equation && !ALTERNATIVE.test(gap) && !BARE_LIST.test(gap)) return false;
    if (numbers[i].value !== last.value) return true;
  }
  return false;
}

/** Whether one expression gets two values ("1+1=2，1+1=3") or two different numbers are called the answer. */
function contradictsItself(text: string, numbers: readonly NumberMatch[]): boolean {
  const values = new Map<string, string>();
  let previousEnd = 0;
  for (const { value, start, end } of numbers) {
    const before = text.slice(Math.max(previousEnd, start - 16), start);
    const expression = RESULT.test(before) ? '答案' : leftSide(text.slice(Math.max(0, start - 64), start));
    if (expression !== undefined) {
      if ((values.get(expression) ?? value) !== value) return true;
      values.set(expression, value);
    }
    previousEnd = end;
  }
  return false;
}

/** The expression before an equals sign at the end of a text: `15+27` of "先算 15 + 27 =". */
function leftSide(text: string): string | undefined {
  return /([\d.]+(?:\s*[-+*/×÷]\s*[\d.]+)+)\s*=\s*$/.exec(text)?.[1].replace(/\s/g, '');
}

/** The value that an answer commits to, or undefined if it commits to none. */
function finalNumber(answer: string): string | undefined {
  const text = normalizeNumbers(answer);
  const numbers = findNumbers(text);
  if (numbers.length === 0) return undefined;
  const last = numbers[numbers.length - 1];
  const before = text.slice(Math.max(0, last.start - 8), last.start);
  if (ENDS_WITH_OPERATOR.test(before) && /[\d)）]/.test(text.slice(0, last.start))) return undefined;
  if (ENDS_WITH_NEGATION.test(before)) return undefined;
  const after = /^[^。！!\n]*/.exec(text.slice(last.end))![0]; // the rest of the sentence
  if (STARTS_WITH_OPERATOR.test(after) || ALTERNATIVE.test(after) || ASKS.test(after)) return undefined;
  if (listsCandidates(text, numbers) || contradictsItself(text, numbers)) return undefined;
  return last.value;
}

/**
 * Right if the final number of the answer is the expected one: "42", "15+27=42。", "先算 5+7=12，答案是 42".
 *
 * Digits may be full-width, with sign, thousands separators and decimals ("１，０００", "-3.50"); numerals in words
 * (四十二) do not count. Wrong are several candidates ("12 或 13", "12、13"), a number that is still an operand
 * ("100-50"), a number that is denied ("不是 42") or asked about ("是 42 吗？"), and one expression with two results.
 */
export const mathVerifier: Verifier = createVerifier('math', (answer, expected) => {
  const numbers = findNumbers(normalizeNumbers(expected));
  if (numbers.length !== 1) {
    throw new UserError({
      zh: `math 题的 expected 是“${expected}”：请写成一个数字，例如 "42"。`,
      en: `The expected value of a math task is "${expected}": write one number, such as "42".`,
    });
  }
  return finalNumber(answer) === numbers[0].value;
});

// Logic: 是, 不是 or 不一定

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

/** The verifiers by task type. Add your own with `VERIFIERS.set(...)`. */
export const VERIFIERS: Map<string, Verifier> = new Map([
  [mathVerifier.type, mathVerifier],
  [logicVerifier.type, logicVerifier],
]);

/** The verifier of a task type. @throws UserError if there is none */
export function verifierFor(type: string): Verifier {
  const verifier = VERIFIERS.get(type);
  if (verifier === undefined) {
    const known = [...VERIFIERS.keys()].join(', ');
    throw new UserError({
      zh: `没有类型为“${type}”的验证器：任务的 type 可以是 ${known}。`,
      en: `There is no verifier of the type "${type}": the type of a task can be ${known}.`,
    });
  }
  return verifier;
}
