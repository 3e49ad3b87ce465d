import { describe, expect, it } from 'vitest';
import {
  type Message,
  renderConversation,
  renderPrompt,
  showMask,
  truncateHistory,
} from '../src/chat-format.ts';
import { UserError } from '../src/errors.ts';
import { SPECIAL, Tokenizer } from '../src/tokenizer.ts';
import { fc } from './support/property.ts';

const tokenizer = Tokenizer.train(
  [
    '你好！很高兴见到你。',
    '你是谁？我是 MyLLM，一个小型语言模型。',
    'user\nassistant\nsystem\n',
    '你好\n\n你好',
  ],
  { vocabSize: 320 },
);

const messages = fc.array(
  fc.record({
    role: fc.constantFrom('system' as const, 'user' as const, 'assistant' as const),
    content: fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.string({
        unit: fc.constantFrom('你', '好', '\n', ' ', 'assistant', '<|im_end|>', '<|im_start|>', '<eos>'),
      }),
    ),
  }),
  { maxLength: 6 },
);

const DIALOGUE: Message[] = [
  { role: 'user', content: '你好' },
  { role: 'assistant', content: '你好！' },
  { role: 'user', content: '你是谁？' },
  { role: 'assistant', content: '我是 MyLLM。' },
];

describe('renderConversation', () => {
  it('writes ChatML', () => {
    const { ids } = renderConversation(tokenizer, DIALOGUE.slice(0, 2));
    expect(tokenizer.decode(ids)).toBe(
      '<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n你好！<|im_end|>\n',
    );
  });

  it('masks exactly the content of the assistant and its <|im_end|>', () => {
    fc.assert(
      fc.property(messages, (conversation) => {
        const { ids, mask } = renderConversation(tokenizer, conversation);
        expect(mask.length).toBe(ids.length);
        const trained: number[][] = [];
        ids.forEach((id, i) => {
          if (mask[i] === 0) return;
          if (mask[i - 1] === 0) trained.push([]);
          trained[trained.length - 1].push(id);
        });
        const answers = conversation.filter(({ role }) => role === 'assistant');
        expect(trained).toEqual(answers.map(({ content }) => [...tokenizer.encode(content), SPECIAL.imEnd]));
      }),
    );
  });

  it('leaves text that looks like a special token as text', () => {
    fc.assert(
      fc.property(messages, (conversation) => {
        const { ids } = renderConversation(tokenizer, conversation);
        const count = (special: number): number => ids.filter((id) => id === special).length;
        expect(count(SPECIAL.imStart)).toBe(conversation.length);
        expect(count(SPECIAL.imEnd)).toBe(conversation.length);
        expect(count(SPECIAL.eos)).toBe(0);
      }),
    );
  });
});

describe('renderPrompt', () => {
  it('is the beginning of the rendered conversation, up to the answer', () => {
    fc.assert(
      fc.property(messages, fc.string({ unit: 'grapheme' }), (before, content) => {
        const prompt = renderPrompt(tokenizer, before);
        const { ids, mask } = renderConversation(tokenizer, [...before, { role: 'assistant', content }]);
        expect(ids.slice(0, prompt.length)).toEqual(prompt);
        expect(mask[prompt.length]).toBe(1);
      }),
    );
  });

  it('ends with the header of the answer', () => {
    const prompt = tokenizer.decode(renderPrompt(tokenizer, DIALOGUE.slice(0, 1)));
    expect(prompt).toBe('<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n');
  });
});

describe('truncateHistory', () => {
  const system: Message = { role: 'system', content: '请简短地回答。' };
  const history: Message[] = [system, ...DIALOGUE, { role: 'user', content: '再见' }];
  const lengthOf = (kept: readonly Message[]): number => renderPrompt(tokenizer, kept).length;

  it('keeps what fits', () => {
    expect(truncateHistory(tokenizer, history, lengthOf(history))).toEqual(history);
    expect(truncateHistory(tokenizer, [], 100)).toEqual([]);
  });

  it('drops whole turns, the oldest first, and keeps the system message', () => {
    expect(truncateHistory(tokenizer, history, lengthOf(history) - 1)).toEqual([system, ...history.slice(3)]);
    const shortest = [system, history[5]];
    expect(truncateHistory(tokenizer, history, lengthOf(shortest))).toEqual(shortest);
  });

  it('keeps as much as it can', () => {
    fc.assert(
      fc.property(messages, fc.integer({ min: 60, max: 400 }), (conversation, maxTokens) => {
        const all: Message[] = [...conversation, { role: 'user', content: '你好' }];
        let kept: Message[];
        try {
          kept = truncateHistory(tokenizer, all, maxTokens);
        } catch (error) {
          expect(error).toBeInstanceOf(UserError);
          return;
        }
        expect(lengthOf(kept)).toBeLessThanOrEqual(maxTokens);
        expect(kept[kept.length - 1]).toBe(all[all.length - 1]);
        if (kept.length === all.length) return;
        const systemCount = all.findIndex(({ role }) => role !== 'system');
        expect(kept.slice(0, systemCount)).toEqual(all.slice(0, systemCount));
        expect(kept[systemCount].role).toBe('user');
      }),
    );
  });

  it('says so when the last message alone is too long', () => {
    expect(() => truncateHistory(tokenizer, history, lengthOf([system, history[5]]) - 1)).toThrow(UserError);
    expect(() => truncateHistory(tokenizer, [system], 1)).toThrow(UserError);
  });
});

describe('showMask', () => {
  const rendered = renderConversation(tokenizer, DIALOGUE.slice(0, 2));

  it('marks what is learned', () => {
    expect(showMask(tokenizer, rendered, { color: false })).toBe(
      '<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n⟦你好！<|im_end|>⟧\n',
    );
    expect(showMask(tokenizer, rendered, { color: true })).toBe(
      '<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n\u001b[30;42m你好！<|im_end|>\u001b[0m\n',
    );
  });

  it('lets no control character of the text through', () => {
    const hostile = renderConversation(tokenizer, [{ role: 'user', content: 'a\u001b[2Jb\r\tc' }]);
    expect(showMask(tokenizer, hostile, { color: false })).toContain('a\\u{1B}[2Jb\\u{D}\\u{9}c');
  });
});
