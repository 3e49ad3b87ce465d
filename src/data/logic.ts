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
  const premises = random.uniform() < 0.2 ? random.shuffle(puzzle.premises) : puzzle.premises;
  // Short premises may share a sentence: 小明比小红高，小红比小刚高。
  const share = random.uniform() < 0.35 && premises.every((premise) => !/[，、]/.test(premise));
  return { ...puzzle, premises: share ? [premises.join('，')] : premises };
}

function promptOf({ premises, question }: Puzzle): string {
  return `${premises.join('。')}。${question}`;
}

/** First the decisive step, then the verdict: what is written already helps to find what comes next. */
function answerOf({ verdict, reason }: Puzzle): string {
  return `${reason}，所以${verdict}。`;
}

/** A random puzzle of a split, with an answer of the form `……，所以是。` */
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
function argue({ premises, question, verdict, reason }: Puzzle): string {
  const given = premises.join('。');
  const claim = question.replace('吗？', '');
  const conclusion = { 是: `所以${claim}`, 不是: `所以说“${claim}”不对`, 不一定: `所以说“${claim}”不一定对` };
  const said = (step: string): boolean =>
    given.includes(step) || step === claim || step.replace('就', '') === claim;
  const because = reason.split('，').filter((step) => !said(step));
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
