/** @file Logic: puzzles as questions with answers, and texts that reason in the same way. */

import type { Random } from '../tensor/random.ts';
import { VERDICTS } from '../verifiers.ts';
import { PUZZLE_FAMILIES, type Puzzle, WEEKDAYS } from './puzzles.ts';
import { type GeneratedTask, isInSplit, type Split } from './tasks.ts';

/** A puzzle of a split; each verdict is equally likely, so that no guess pays better than another. */
function randomPuzzle(random: Random, split: Split): Puzzle {
  const verdict = random.pick(VERDICTS);
  const family = random.pick(PUZZLE_FAMILIES);
  let puzzle = family(random);
  while (puzzle.verdict !== verdict || !isInSplit(puzzle.key, split)) puzzle = family(random);
  const { premises } = puzzle;
  // Short premises may share a sentence: 小明比小红高，小红比小刚高。
  const share = random.uniform() < 0.35 && premises.every((premise) => !/[，、]/.test(premise));
  return { ...puzzle, premises: share ? [premises.join('，')] : premises };
}

function promptOf({ premises, claim }: Puzzle): string {
  return `${premises.join('。')}。${claim}吗？`;
}

/**
 * First the claim again, then the way to the verdict step by step (Wei et al. 2022, "Chain-of-Thought Prompting"): what
 * each step needs then stands shortly before it.
 */
function answerOf({ claim, verdict, steps }: Puzzle): string {
  return `${claim}：${steps.join('，')}，所以${verdict}。`;
}

/** A random puzzle of a split, with an answer of the form `问的事：……，所以是。` */
export function logicTask(random: Random, split: Split): GeneratedTask {
  const puzzle = randomPuzzle(random, split);
  return {
    prompt: promptOf(puzzle),
    answer: answerOf(puzzle),
    expected: puzzle.verdict,
    type: 'logic',
    key: puzzle.key,
  };
}

// Texts for pretraining

/** The same step of thought as prose. What the premises say already is not repeated. */
function argue({ premises, claim, verdict, steps }: Puzzle): string {
  const given = premises.join('。');
  const conclusion = { 是: `所以${claim}`, 不是: `所以说“${claim}”不对`, 不一定: `所以说“${claim}”不一定对` };
  const because = steps.filter((step) => !given.includes(step) && step !== claim);
  return `${given}。${because.length === 0 ? '' : `因为${because.join('，')}，`}${conclusion[verdict]}。`;
}

function aboutDays(random: Random): string {
  const day = random.integer(7);
  const at = (offset: number): string => WEEKDAYS[(day + offset + 7) % 7];
  return random.pick([
    `${at(0)}的后一天是${at(1)}，前一天是${at(-1)}。`,
    `一个星期有七天，从${at(0)}往后数，是${[1, 2, 3, 4, 5, 6].map(at).join('、')}，然后又是${at(0)}。`,
  ]);
}

/** A document of logic for pretraining; nothing in it is held out. */
export function logicDocument(random: Random): string {
  const puzzles = Array.from({ length: 1 + random.integer(3) }, () => randomPuzzle(random, 'train'));
  const kind = random.uniform();
  if (kind < 0.4) return puzzles.map((p) => `问：${promptOf(p)}\n答：${answerOf(p)}`).join('\n');
  if (kind < 0.65) return puzzles.map((p) => `${promptOf(p)}\n${answerOf(p)}`).join('\n');
  if (kind < 0.95) return puzzles.map(argue).join('\n');
  return aboutDays(random);
}
