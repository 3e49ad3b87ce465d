import { expect, test } from 'vitest';
import { hurriedConversations, shortAnswer } from '../src/data/short-answers.ts';

test('a short answer is the first clause, as a sentence', () => {
  expect(shortAnswer('鲸不是鱼，它是哺乳动物。')).toBe('鲸不是鱼。');
  expect(shortAnswer('下午好！忙了半天，歇一歇吧。')).toBe('下午好！');
});

test('what is short already, would break off, or must be said in full stays whole', () => {
  expect(shortAnswer('鲸不是鱼。')).toBeUndefined();
  expect(shortAnswer('鲸不是鱼')).toBeUndefined();
  expect(shortAnswer('不是，它是哺乳动物。')).toBeUndefined();
  expect(shortAnswer('春节时，人们吃饺子。')).toBeUndefined();
  expect(shortAnswer('听你这么说，我很担心你。')).toBeUndefined();
  expect(shortAnswer('先冲凉水，严重就去医院。')).toBeUndefined();
  expect(shortAnswer('一共有三个：红的、黄的和蓝的。')).toBeUndefined();
  expect(shortAnswer('')).toBeUndefined();
});

const CHATS = Array.from({ length: 400 }, (_, i) => [
  { role: 'user' as const, content: `问题${i}` },
  { role: 'assistant' as const, content: `答案是${i}，因为如此。` },
]);

test('in each epoch other answers are short, so many of them as are asked for', () => {
  const [first, again, second] = [0, 0, 1].map((epoch) => hurriedConversations(CHATS, 0.4, 1, epoch));
  expect(again).toEqual(first);
  expect(second).not.toEqual(first);
  const short = first.filter(([, { content }]) => /^答案是\d+。$/.test(content));
  expect(short.length).toBeGreaterThan(120);
  expect(short.length).toBeLessThan(200);
  expect(first.map(([question]) => question)).toEqual(CHATS.map(([question]) => question));
  expect(hurriedConversations(CHATS, 0, 1, 0)).toEqual(CHATS);
});

test('only the last answer is cut, and only an answer', () => {
  const long = [...CHATS[0], ...CHATS[1]];
  expect(hurriedConversations([long], 1, 1, 0)).toEqual([
    [...CHATS[0], CHATS[1][0], { role: 'assistant', content: '答案是1。' }],
  ]);
  const open = [CHATS[0][1], CHATS[0][0]];
  expect(hurriedConversations([open], 1, 1, 0)).toEqual([open]);
});
