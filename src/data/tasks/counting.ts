/**
 * @file Counting: how often a character occurs in a short string. A model sees tokens, not characters: a word that is one
 * token has to be spelt first. So the working spells and counts: `香1蕉1苹1果1香2，共2个。`
 */

import type { Random } from '../../tensor/random.ts';
import type { GeneratedTask, Split } from '../tasks.ts';
import { drawInSplit } from './draw.ts';

const WORDS = [
  '香蕉',
  '香瓜',
  '西瓜',
  '瓜子',
  '苹果',
  '果子',
  '水果',
  '水牛',
  '牛奶',
  '奶牛',
  '白马',
  '马车',
  '白云',
];
/** Few of them, so that they repeat. */
const LETTERS = [...'abcenorst'];
const LONGEST = 7;

const PHRASINGS: readonly ((text: string, character: string) => string)[] = [
  (text, c) => `“${text}”里有几个“${c}”？`,
  (text, c) => `“${text}”里有多少个“${c}”？`,
  (text, c) => `“${c}”在“${text}”里出现了几次？`,
  (text, c) => `数一数，“${text}”中有几个“${c}”？`,
  (text, c) => `${text}里有几个${c}？`,
];

/** Two or three words, the last one cut now and then; or letters. */
function randomString(random: Random): string {
  if (random.uniform() < 0.4)
    return Array.from({ length: 3 + random.integer(LONGEST - 2) }, () => random.pick(LETTERS)).join('');
  const words = Array.from({ length: 2 + random.integer(2) }, () => random.pick(WORDS)).join('');
  return words.slice(0, random.uniform() < 0.3 ? words.length - 1 : LONGEST);
}

/** A random question of a split; in one of five the character does not occur. */
export function countingTask(random: Random, split: Split): GeneratedTask {
  const { text, character, key } = drawInSplit(split, () => {
    const text = randomString(random);
    const alphabet = /[a-z]/.test(text) ? LETTERS : [...new Set(WORDS.join(''))];
    const absent = alphabet.filter((c) => !text.includes(c));
    const character = random.pick(random.uniform() < 0.2 ? absent : [...text]);
    return { text, character, key: `count ${character} ${text}` };
  });
  let count = 0;
  const spelt = [...text].map((c) => {
    if (c === character) count++;
    return `${c}${count}`;
  });
  return {
    prompt: random.pick(PHRASINGS)(text, character),
    answer: `${spelt.join('')}，共${count}个。`,
    expected: String(count),
    type: 'counting',
    key,
  };
}
