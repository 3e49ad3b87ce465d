/**
 * @file Reversing a short string. As in counting, words are tokens, so the working spells them first, and then writes the
 * characters from the last to the first: `苹、果，倒过来是“果苹”。`
 */

import type { Random } from '../../tensor/random.ts';
import type { GeneratedTask, Split } from '../tasks.ts';
import { drawInSplit } from './draw.ts';

const WORDS = [
  '苹果',
  '香蕉',
  '西瓜',
  '水牛',
  '白马',
  '火车',
  '天空',
  '大海',
  '月亮',
  '石头',
  '春天',
  '老师',
];
const LETTERS = [...'abcdefghkmnprstuwyz'];
const DIGITS = [...'0123456789'];

const PHRASINGS: readonly ((text: string) => string)[] = [
  (text) => `把“${text}”倒过来写。`,
  (text) => `“${text}”倒过来是什么？`,
  (text) => `“${text}”倒着写是什么？`,
  (text) => `请把${text}反过来写`,
  (text) => `从后往前写“${text}”`,
];

/** Three to five letters or digits, or one or two words. */
function randomString(random: Random): string {
  const characters = random.pick([undefined, LETTERS, DIGITS]);
  if (characters === undefined)
    return Array.from({ length: 1 + random.integer(2) }, () => random.pick(WORDS)).join('');
  return Array.from({ length: 3 + random.integer(3) }, () => random.pick(characters)).join('');
}

const reverse = (text: string): string => [...text].reverse().join('');

/** A random string of a split; 苹果 and 果苹 are one fact. A string that is its own reverse asks nothing. */
export function reversingTask(random: Random, split: Split): GeneratedTask {
  const { text, reversed, key } = drawInSplit(split, () => {
    let text = randomString(random);
    while (text === reverse(text)) text = randomString(random);
    const reversed = reverse(text);
    return { text, reversed, key: `reverse ${text < reversed ? text : reversed}` };
  });
  return {
    prompt: random.pick(PHRASINGS)(text),
    answer: `${[...text].join('、')}，倒过来是“${reversed}”。`,
    expected: reversed,
    type: 'reversing',
    key,
  };
}
