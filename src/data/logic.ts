/** @file Logic: puzzles as questions with answers, and texts that reason in the same way. */

import type { Random } from '../tensor/random.ts';
import { VERDICTS } from '../verifiers.ts';
import {
  likeness,
  PUZZLE_FAMILIES,
  type Puzzle,
  randomBranches,
  randomCounting,
  randomFacts,
  randomOrder,
  WEEKDAYS,
  WORDS_OF_A_KIND,
} from './puzzles.ts';
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

/** `count` pairs of words of a kind, the same word twice one half of the time, as a question and as its answer. */
function likenessPage(random: Random, count: number): { readonly asked: string; readonly told: string } {
  const pairs = Array.from({ length: count }, () => {
    const words = random.pick(WORDS_OF_A_KIND);
    const word = random.pick(words);
    return [word, random.uniform() < 0.5 ? word : random.pick(words)] as const;
  });
  return {
    asked: pairs.map(([a, b]) => `${a}和${b}`).join('，'),
    told: `${pairs.map(([a, b]) => likeness(a, b)).join('，')}。`,
  };
}

/**
 * The smallest step of the puzzles, over and over: whether two words are the same. In an answer of thirty tokens there are
 * one or two such decisions, too few to learn it from.
 */
export function likenessDrill(random: Random): { readonly prompt: string; readonly answer: string } {
  const { asked, told } = likenessPage(random, 5 + random.integer(4));
  return { prompt: `比一比：${asked}`, answer: told };
}

/** Another small step: which of two is more, whichever end the comparison is told from. */
export function orderDrill(random: Random): { readonly prompt: string; readonly answer: string } {
  const told = Array.from({ length: 4 + random.integer(3) }, () => randomOrder(random));
  return {
    prompt: `排一排：${told.map(({ premise }) => premise).join('，')}`,
    answer: `${told.map(({ step }) => step).join('，')}。`,
  };
}

/** And the step on which a chain hangs: what the facts say of a thing, or that they say nothing. */
export function lookupDrill(random: Random): { readonly prompt: string; readonly answer: string } {
  const { facts, asked, told } = lookupPage(random, 12 + random.integer(5));
  return { prompt: `找一找：${facts}。${asked}`, answer: `${told}。` };
}

/** The same where the facts say two things of one, and the right one is that which is looked for. */
export function branchDrill(random: Random): { readonly prompt: string; readonly answer: string } {
  const { things, pairs, towards } = randomBranches(random);
  const wanted = Array.from({ length: 4 + random.integer(3) }, () =>
    random.uniform() < 0.6 ? random.pick(pairs) : random.shuffle(things),
  );
  const facts = pairs.map(([above, below]) => `${above}>${below}`);
  const asked = wanted.map(([from, to]) => `从${from}找${to}`);
  const told = wanted.map(([from, to], i) => `${asked[i]}，${towards(from, to)}`);
  return { prompt: `顺着找：${facts.join('，')}。${asked.join('、')}`, answer: `${told.join('，')}。` };
}

/** Days counted where nobody claims what comes out: a claim that is right half of the time is copied, and not counted. */
export function dayDrill(random: Random): { readonly prompt: string; readonly answer: string } {
  const counting = () => {
    let made = randomCounting(random);
    while (!isInSplit(made.key, 'train')) made = randomCounting(random);
    return made;
  };
  const countings = Array.from({ length: 2 + random.integer(2) }, counting);
  return {
    prompt: `数一数：${countings.map(({ known, asked }) => `${known}，${asked}`).join('；')}`,
    answer: countings
      .map(({ known, direction, days }) => `${[known, direction, ...days].join('，')}。`)
      .join(''),
  };
}

function lookupPage(random: Random, count: number): { facts: string; asked: string; told: string } {
  const { things, facts, below } = randomFacts(random);
  const wanted = Array.from({ length: count }, () => random.pick(things));
  return { facts: facts.join('，'), asked: wanted.join('、'), told: wanted.map(below).join('，') };
}

// Texts for pretraining

/** The same thought as prose. What the premises say already is not repeated. */
function argue({ premises, claim, verdict, steps, prose = steps }: Puzzle): string {
  const given = premises.join('。');
  const conclusion = { 是: `所以${claim}`, 不是: `所以说“${claim}”不对`, 不一定: `所以说“${claim}”不一定对` };
  const because = prose.filter((step) => !given.includes(step) && step !== claim);
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
  if (kind < 0.8) return puzzles.map(argue).join('\n');
  if (kind < 0.85) return aboutDays(random);
  if (kind < 0.93) {
    const { facts, told } = lookupPage(random, 10 + random.integer(10));
    return `找一找：${facts}。${told}。`;
  }
  return `比一比：${likenessPage(random, 10 + random.integer(20)).told}`;
}
