import { expect, test } from 'vitest';
import type { Message } from '../src/chat-format.ts';
import type { PreferencePair } from '../src/data/formats.ts';
import { practicePrompts } from '../src/data/practice-prompts.ts';
import { tokenizer } from './support/tiny.ts';

const ask = (content: string): Message[] => [{ role: 'user', content }];
const chat = (question: string): Message[] => [...ask(question), { role: 'assistant', content: '日' }];
const pair = (question: string): PreferencePair => ({ prompt: ask(question), chosen: '日', rejected: '月' });

const CHATS = { train: [chat('天'), chat('地')], heldOut: [chat('玄'), chat('黄')] };
const PAIRS = {
  train: [pair('宇'), pair('宙'), pair('宇'), pair('玄'), pair('长'.repeat(60))],
  heldOut: [pair('洪'), pair('黄')],
};

test('RLHF practises on the questions of the pairs, each once, and on none that is held out or too long', () => {
  const { prompts, heldOut } = practicePrompts(tokenizer, CHATS, PAIRS, 48);
  const questions = (rendered: readonly Int32Array[]): string[] =>
    rendered.map((ids) => /user\n(.)/u.exec(tokenizer.decode([...ids]))![1]);
  expect(questions(prompts)).toEqual(['宇', '宙']);
  expect(questions(heldOut)).toEqual(['玄', '黄', '洪']);
});
