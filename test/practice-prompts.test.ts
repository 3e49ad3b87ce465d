import { expect, test } from 'vitest';
import type { Message } from '../src/chat-format.ts';
import type { PreferencePair } from '../src/data/formats.ts';
import { practicePrompts } from '../src/data/practice-prompts.ts';
import { tokenizer } from './support/tiny.ts';

const ask = (content: string): Message[] => [{ role: 'user', content }];
const chat = (question: string): Message[] => [...ask(question), { role: 'assistant', content: '日' }];
const pair = (question: string): PreferencePair => ({ prompt: ask(question), chosen: '日', rejected: '月' });

const CHATS = { train: [chat('天'), chat('地'), chat('天'), chat('黄')], heldOut: [chat('玄'), chat('黄')] };
const PAIRS = {
  train: [pair('宇'), pair('宇'), pair('玄')],
  heldOut: [pair('洪'), pair('黄')],
};

test('RLHF practises on the questions of the conversations and of the pairs, each once, none held out', () => {
  const { prompts, heldOut } = practicePrompts(tokenizer, CHATS, PAIRS, 48);
  const questions = (rendered: readonly Int32Array[]): string[] =>
    rendered.map((ids) => /user\n(.)/u.exec(tokenizer.decode([...ids]))![1]);
  expect(questions(prompts)).toEqual(['天', '地', '宇']);
  expect(questions(heldOut)).toEqual(['玄', '黄', '洪']);
});

test('what is too long to practise on is left out, and pairs alone will do', () => {
  const pairs = { train: [pair('宇'), pair('长'.repeat(60))], heldOut: [] };
  expect(practicePrompts(tokenizer, { train: [], heldOut: [] }, pairs, 48).prompts).toHaveLength(1);
});
