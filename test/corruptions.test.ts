import { expect, test } from 'vitest';
import { CORRUPTIONS, corruptedPairs, exchangesOf } from '../src/data/corruptions.ts';

const ask = (content: string) => [{ role: 'user' as const, content }];
const ANSWERS = ['水在一百度沸腾，变成蒸汽。', '北京是中国的首都，在北方。', '多喝水，早点睡，少看手机。'];
const EXCHANGES = ANSWERS.map((answer, i) => ({ prompt: ask(`问题${i}`), answer }));

test('pairs of a good answer and a spoilt one, the kinds in turn', () => {
  const pairs = corruptedPairs(EXCHANGES, 40, 1);
  const kinds = Object.keys(CORRUPTIONS);
  expect(pairs.map(({ category }) => category)).toEqual(pairs.map((_, i) => kinds[i % kinds.length]));
  expect(pairs).toHaveLength(40);
  for (const { chosen, rejected, category } of pairs) {
    expect(ANSWERS).toContain(chosen);
    expect(rejected).not.toBe(chosen);
    expect(ANSWERS.includes(rejected), rejected).toBe(category === 'off_topic');
  }
  expect(corruptedPairs(EXCHANGES, 40, 1)).toEqual(pairs);
});

test('answers that cannot be spoilt give fewer pairs, and the making of them ends', () => {
  const same = EXCHANGES.map(({ prompt }) => ({ prompt, answer: '好的。' }));
  expect(corruptedPairs(same, 40, 1)).toEqual([]);
  expect(corruptedPairs([], 40, 1)).toEqual([]);
  // Nothing of three characters can be cut off and still say something.
  const short = ['好的。', '不行。'].map((answer) => ({ prompt: ask('行吗'), answer }));
  const kinds = new Set(corruptedPairs(short, 40, 1).map(({ category }) => category));
  expect([...kinds].sort()).toEqual(['garbled', 'off_topic', 'repetitive']);
});

test('the last exchange of a conversation', () => {
  const [user, assistant] = [
    { role: 'user', content: '问' },
    { role: 'assistant', content: '答' },
  ] as const;
  expect(exchangesOf([[user, assistant, user, assistant], [assistant]])).toEqual([
    { prompt: [user, assistant, user], answer: '答' },
  ]);
});
