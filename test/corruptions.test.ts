import { expect, test } from 'vitest';
import { CORRUPTIONS, corruptedPairs, exchangesOf } from '../src/data/corruptions.ts';

const ask = (content: string) => [{ role: 'user' as const, content }];
const ANSWERS = ['水在一百度沸腾，变成蒸汽。', '北京是中国的首都，在北方。', '多喝水，早点睡，少看手机。'];
const EXCHANGES = ANSWERS.map((answer, i) => ({ prompt: ask(`问题${i}`), answer }));

test('pairs of a good answer and a spoilt one, of all kinds, most of them to another question', () => {
  const pairs = corruptedPairs(EXCHANGES, 48, 1);
  const counts = Object.keys(CORRUPTIONS).map((kind) => [
    kind,
    pairs.filter(({ category }) => category === kind).length,
  ]);
  expect(Object.fromEntries(counts)).toEqual({
    off_topic: 16,
    wrong: 16,
    too_short: 4,
    unfinished: 4,
    repetitive: 4,
    garbled: 4,
  });
  for (const { chosen, rejected, category } of pairs) {
    expect(ANSWERS).toContain(chosen);
    expect(rejected).not.toBe(chosen);
    expect(ANSWERS.includes(rejected), rejected).toBe(category === 'off_topic' || category === 'wrong');
  }
  expect(corruptedPairs(EXCHANGES, 48, 1)).toEqual(pairs);
});

test('answers that cannot be spoilt give fewer pairs, and the making of them ends', () => {
  const same = EXCHANGES.map(({ prompt }) => ({ prompt, answer: '好的。' }));
  expect(corruptedPairs(same, 40, 1)).toEqual([]);
  expect(corruptedPairs([], 40, 1)).toEqual([]);
  // Nothing of three characters can be cut off and still say something.
  const short = ['好的。', '不行。'].map((answer) => ({ prompt: ask('行吗'), answer }));
  const kinds = new Set(corruptedPairs(short, 40, 1).map(({ category }) => category));
  expect([...kinds].sort()).toEqual(['garbled', 'off_topic', 'repetitive', 'wrong']);
});

test('a wrong answer is one to a question that sounds alike, and says something else', () => {
  const exchanges = [
    { prompt: ask('法国的首都是哪里？'), answer: '法国的首都是巴黎。' },
    { prompt: ask('法国的首都叫什么？'), answer: '法国的首都叫巴黎。' },
    { prompt: ask('法国的国花是什么？'), answer: '是鸢尾花。' },
    { prompt: ask('怎样写作文？'), answer: '先想好写什么，再动笔。' },
  ];
  const wrong = corruptedPairs(exchanges, 240, 1).filter(({ category }) => category === 'wrong');
  expect(wrong).toHaveLength(80);
  const capital = wrong.filter(({ chosen }) => chosen.includes('巴黎'));
  expect(capital.length).toBeGreaterThan(10);
  for (const { rejected } of capital) expect(rejected).toBe('是鸢尾花。');
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
