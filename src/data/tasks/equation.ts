/**
 * @file Equations with one unknown: x+7=15, x-7=8, 15-x=8, 7×x=42.
 *
 * An equation is made from the fact that solves it, and is held out with that fact: whoever learns x+15=42 learns 42-15.
 */

import type { Random } from '../../tensor/random.ts';
import { type Fact, factKey, randomFact, workedLine } from '../arithmetic.ts';
import type { GeneratedTask, Split } from '../tasks.ts';

/** An equation, in signs and in words, its solution, and the way there. */
interface Equation {
  readonly signs: string;
  readonly words: string;
  readonly solution: number;
  readonly working: string;
}

/** The equations that a sum, a difference or a product solves. */
function equationsOf(solving: Fact): Equation[] {
  const { left, operator, right, result } = solving;
  const working = `x=${workedLine(solving)}`;
  switch (operator) {
    case '+':
      return [
        { signs: `x-${right}=${left}`, words: `一个数减${right}等于${left}`, solution: result, working },
        { signs: `x-${left}=${right}`, words: `一个数减${left}等于${right}`, solution: result, working },
      ];
    case '-':
      return [
        { signs: `x+${right}=${left}`, words: `一个数加${right}等于${left}`, solution: result, working },
        { signs: `${right}+x=${left}`, words: `${right}加一个数等于${left}`, solution: result, working },
        { signs: `${left}-x=${right}`, words: `${left}减一个数等于${right}`, solution: result, working },
      ];
    case '×': {
      // Of 0×x=0 every number is a solution.
      const [factor, solution] = left === 0 ? [1, 0] : [left, right];
      const product = factor * solution;
      const divided = `x=${product}÷${factor}=${solution}`;
      return [
        {
          signs: `${factor}×x=${product}`,
          words: `${factor}乘一个数等于${product}`,
          solution,
          working: divided,
        },
        {
          signs: `x×${factor}=${product}`,
          words: `一个数乘${factor}等于${product}`,
          solution,
          working: divided,
        },
        {
          signs: `${factor}x=${product}`,
          words: `一个数的${factor}倍是${product}`,
          solution,
          working: divided,
        },
      ];
    }
  }
}

const PHRASINGS: readonly ((equation: Equation) => string)[] = [
  ({ signs }) => `${signs}，x等于几？`,
  ({ signs }) => `${signs}，求x。`,
  ({ signs }) => `解方程：${signs}`,
  ({ signs }) => `方程${signs}的解是多少？`,
  ({ signs }) => `如果${signs}，那么x是多少？`,
  ({ words }) => `${words}，这个数是几？`,
  ({ words }) => `${words}，这个数是多少？`,
];

/** A random equation of a split. */
export function equationTask(random: Random, split: Split): GeneratedTask {
  const solving = randomFact(random, split);
  const equation = random.pick(equationsOf(solving));
  return {
    prompt: random.pick(PHRASINGS)(equation),
    answer: `${equation.working}。`,
    expected: String(equation.solution),
    type: 'equation',
    key: factKey(solving),
  };
}
