/**
 * @file Arithmetic: facts, the questions that people ask about them, and texts in which they occur.
 *
 * Every digit is its own token. An answer comes in one of two styles, as it does among people: the bare result,
 * `15+27=42。`, or with the working, `15+27：5+7=12，1+2=3，3+1=4，得42。`: the ones, the tens, what is carried or
 * borrowed, then the result. With working, each step is a one-digit fact that a small model can know by heart (Nye et al.
 * 2021, "Show Your Work"; Lee et al. 2023, "Teaching Arithmetic to Small Transformers"); without, the sum is mostly a
 * guess. Fine-tuning shows both styles; that working pays is for RLVF to find out.
 */

import type { Random } from '../tensor/random.ts';
import { type GeneratedTask, isInSplit, type Split } from './tasks.ts';

export type Operator = '+' | '-' | '×';

/** `left operator right = result`, all of them whole numbers of at least 0. */
export interface Fact {
  readonly left: number;
  readonly operator: Operator;
  readonly right: number;
  readonly result: number;
}

export function fact(left: number, operator: Operator, right: number): Fact {
  const result = operator === '+' ? left + right : operator === '-' ? left - right : left * right;
  return { left, operator, right, result };
}

/** The same for 15+27 and 27+15. */
export function factKey({ left, operator, right }: Fact): string {
  if (operator === '-') return `${left}-${right}`;
  return `${Math.min(left, right)}${operator}${Math.max(left, right)}`;
}

/** The plain equation, `15+27=42`. */
export function arithmeticLine({ left, operator, right, result }: Fact): string {
  return `${left}${operator}${right}=${result}`;
}

/**
 * The fact with its working, column by column, and what is carried or borrowed as a step of its own:
 * `27+15：7+5=12，2+1=3，3+1=4，得42`. One-digit facts and products are known by heart. The question comes first, whatever
 * the words it was asked in: then every digit that a column needs stands at much the same distance before it.
 */
export function workedLine(told: Fact): string {
  const { left, operator, right } = told;
  if (operator === '×' || (left < 10 && right < 10)) return arithmeticLine(told);
  const [ones, otherOnes] = [left % 10, right % 10];
  const [tens, otherTens] = [Math.floor(left / 10), Math.floor(right / 10)];
  const steps: string[] = [];
  const step = (a: number, by: '+' | '-', b: number): number => {
    const done = fact(a, by, b);
    steps.push(arithmeticLine(done));
    return done.result;
  };
  const carried = operator === '+' ? ones + otherOnes >= 10 : ones < otherOnes;
  step(operator === '-' && carried ? ones + 10 : ones, operator, otherOnes);
  const sum = step(tens, operator, otherTens);
  if (carried) step(sum, operator, 1);
  return `${left}${operator}${right}：${steps.join('，')}，得${told.result}`;
}

/** A random fact of a split: sums and differences of numbers up to 99, products of one-digit numbers. */
export function randomFact(random: Random, split: Split): Fact {
  for (;;) {
    const kind = random.uniform();
    // Small numbers occur more often than chance would have it, as they do in life.
    const limit = random.uniform() < 0.3 ? 20 : 100;
    const a = random.integer(limit);
    const b = random.integer(limit);
    const candidate =
      kind < 0.45
        ? fact(a, '+', b)
        : kind < 0.88
          ? fact(Math.max(a, b), '-', Math.min(a, b))
          : fact(random.integer(10), '×', random.integer(10));
    if (isInSplit(factKey(candidate), split)) return candidate;
  }
}

const OPERATOR_WORDS: Readonly<Record<Operator, string>> = { '+': '加', '-': '减', '×': '乘' };

/** The ways to ask for the result of `expression`; `words` is the same with the operator as a word. */
const PHRASINGS: readonly ((expression: string, spaced: string, words: string) => string)[] = [
  (expression) => `${expression}等于多少？`,
  (expression) => `${expression}等于几？`,
  (expression) => `${expression}=?`,
  (expression) => `${expression}=`,
  (expression) => `${expression}是多少`,
  (expression) => `计算${expression}`,
  (expression) => `请计算：${expression}`,
  (expression) => `算一下${expression}`,
  (_, spaced) => `计算 ${spaced}`,
  (_, spaced) => `${spaced} = ?`,
  (_, spaced) => `${spaced} 等于多少`,
  (_expression, _spaced, words) => `${words}等于多少？`,
  (_expression, _spaced, words) => `${words}是多少？`,
  (_expression, _spaced, words) => `${words}等于几`,
  (_expression, spaced) => `请问 ${spaced.replace('+', '加').replace('-', '减').replace('×', '乘')} 是多少`,
];

const NAMES = ['小明', '小红', '小刚', '小丽', '小华'];
/** Things with their measure word. */
const THINGS = [
  ['个', '苹果'],
  ['本', '书'],
  ['支', '铅笔'],
  ['颗', '糖'],
  ['个', '球'],
  ['朵', '花'],
  ['张', '卡片'],
  ['块', '饼干'],
] as const;

type Story = (fact: Fact, names: readonly string[], unit: string, thing: string) => string;

/** Small word problems; each uses the numbers in the order of the equation. */
const STORIES: Readonly<Record<Operator, readonly Story[]>> = {
  '+': [
    (f, [a], unit, thing) =>
      `${a}有${f.left}${unit}${thing}，又得到${f.right}${unit}，现在一共有多少${unit}？`,
    (f, [a, b], unit, thing) =>
      `${a}有${f.left}${unit}${thing}，${b}有${f.right}${unit}，他们一共有多少${unit}${thing}？`,
    (f, _, unit, thing) => `桌上有${f.left}${unit}${thing}，再放上${f.right}${unit}，一共有多少${unit}？`,
    (f, [a]) => `${a}昨天读了${f.left}页书，今天读了${f.right}页，两天一共读了多少页？`,
    (f) => `车上有${f.left}个人，又上来${f.right}个人，现在车上有多少人？`,
    (f) => `一本书${f.left}元，一支笔${f.right}元，一共要多少元？`,
  ],
  '-': [
    (f, [a], unit, thing) => `${a}有${f.left}${unit}${thing}，送给朋友${f.right}${unit}，还剩多少${unit}？`,
    (f, [a], unit, thing) => `${a}有${f.left}${unit}${thing}，用掉${f.right}${unit}，还有多少${unit}？`,
    (f, _, unit, thing) =>
      `盒子里有${f.left}${unit}${thing}，拿走${f.right}${unit}，还剩多少${unit}${thing}？`,
    (f, [a]) => `一本书有${f.left}页，${a}读了${f.right}页，还有多少页没读？`,
    (f) => `车上有${f.left}个人，下去${f.right}个人，车上还有多少人？`,
    (f) => `树上有${f.left}只鸟，飞走了${f.right}只，还剩多少只？`,
    (f, [a]) => `${a}有${f.left}元，花了${f.right}元，还剩多少元？`,
  ],
  '×': [
    (f, _, unit, thing) =>
      `有${f.left}个盒子，每个盒子里有${f.right}${unit}${thing}，一共有多少${unit}${thing}？`,
    (f) => `有${f.left}排桌子，每排${f.right}张，一共有多少张桌子？`,
    (f) => `有${f.left}辆车，每辆车坐${f.right}个人，一共坐多少人？`,
    (f, [a]) => `${a}买了${f.left}支笔，每支${f.right}元，一共要多少元？`,
  ],
};

function tellStory(random: Random, asked: Fact): string {
  const [unit, thing] = random.pick(THINGS);
  return random.pick(STORIES[asked.operator])(asked, random.shuffle(NAMES), unit, thing);
}

/** Nobody tells a story about nothing, or about one box. */
function suitsStory({ left, operator, right }: Fact): boolean {
  return operator === '×' ? left >= 2 && right >= 2 : left >= 1 && right >= 1;
}

/** Share of the model answers that show no working. */
const BARE_SHARE = 0.6;

/** A random question of a split. */
export function arithmeticTask(random: Random, split: Split): GeneratedTask {
  const asked = randomFact(random, split);
  const { left, operator, right, result } = asked;
  const phrase = random.pick(PHRASINGS);
  const prompt =
    suitsStory(asked) && random.uniform() < 0.3
      ? tellStory(random, asked)
      : phrase(
          `${left}${operator}${right}`,
          `${left} ${operator} ${right}`,
          `${left}${OPERATOR_WORDS[operator]}${right}`,
        );
  return {
    prompt,
    answer: `${random.uniform() < BARE_SHARE ? arithmeticLine(asked) : workedLine(asked)}。`,
    expected: String(result),
    type: 'math',
    key: factKey(asked),
  };
}

// Texts for pretraining

/** One row of a table to know by heart: products, sums or differences of one-digit numbers. */
function table(random: Random): string {
  const n = 1 + random.integer(9);
  const digits = Array.from({ length: 10 }, (_, i) => i);
  const row = random.pick([
    { name: `${n}的乘法`, facts: digits.map((d) => fact(n, '×', d)) },
    { name: `${n}的加法`, facts: digits.map((d) => fact(n, '+', d)) },
    { name: `减${n}`, facts: digits.map((d) => fact(n + d, '-', n)) },
  ]);
  return `${row.name}：${row.facts.map(arithmeticLine).join('，')}。`;
}

/** One step of which all working consists: two digits added, or the way back, or one more or less. */
function drillStep(random: Random): Fact {
  const [a, b] = [random.integer(10), random.integer(10)];
  if (random.uniform() < 0.15) return random.pick([fact(a + b, '+', 1), fact(a + b + 1, '-', 1)]);
  return random.pick([fact(a, '+', b), fact(a < b ? a + 10 : a, '-', b)]);
}

function drillSteps(random: Random, count: number): Fact[] {
  return Array.from({ length: count }, () => drillStep(random));
}

/** Mental arithmetic: many one-digit steps in one question. */
export function arithmeticDrill(random: Random): { readonly prompt: string; readonly answer: string } {
  const steps = drillSteps(random, 5 + random.integer(4));
  const asked = steps.map(({ left, operator, right }) => `${left}${operator}${right}`).join('，');
  return {
    prompt: `${random.pick(['口算：', '算一算：', '口算练习：', ''])}${asked}`,
    answer: `${steps.map(arithmeticLine).join('，')}。`,
  };
}

/** One-digit facts in no order: a page of mental arithmetic. */
function drill(random: Random): string {
  return `口算练习：${drillSteps(random, 40 + random.integer(40))
    .map(arithmeticLine)
    .join('，')}。`;
}

function questionAndAnswer(random: Random): string {
  const { prompt, answer } = arithmeticTask(random, 'train');
  return random.pick([`问：${prompt}\n答：${answer}`, `${prompt}\n${answer}`]);
}

/** A document of arithmetic for pretraining; nothing in it is held out. */
export function arithmeticDocument(random: Random): string {
  const repeat = (count: number, make: () => string): string =>
    Array.from({ length: count }, make).join('\n');
  const line = (): string => `${workedLine(randomFact(random, 'train'))}。`;
  return random.pick([
    () => drill(random),
    () => drill(random),
    () => drill(random),
    () => repeat(3 + random.integer(3), () => questionAndAnswer(random)),
    () => repeat(4 + random.integer(5), line),
    () => repeat(2, () => table(random)),
  ])();
}
