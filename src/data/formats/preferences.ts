/** @file Pairs of answers, one preferred to the other, for the reward model and DPO. */

import type { Message } from '../../chat-format.ts';
import { fieldsOf, parseRecords, problem } from '../records.ts';
import { categoryOf, parseAnswer, parseInstruction, parsePrompt, withSystem } from './messages.ts';

/** Two answers to one prompt, the first preferred. `prompt` ends with the user's message. */
export interface PreferencePair {
  readonly prompt: readonly Message[];
  readonly chosen: string;
  readonly rejected: string;
  readonly category?: string;
}

function sameMessages(a: readonly Message[], b: readonly Message[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ role, content }, index) => role === b[index].role && content === b[index].content)
  );
}

const PREFERENCE_SHAPES =
  '{"prompt", "chosen", "rejected"}, {"conversations", "chosen", "rejected"}, {"instruction", "input", "chosen", "rejected"}';

/**
 * Pairs of answers to learn preferences from. The prompt is `prompt` (text or messages), ShareGPT's `conversations`,
 * `messages`, Alpaca's `instruction`/`input`, or what `chosen` and `rejected` have in common when they are whole
 * conversations; the answers are texts, messages, or conversations that end with them.
 */
export function parsePreferences(content: string, source: string): PreferencePair[] {
  return parseRecords(content, source).map((at) => {
    const fields = fieldsOf(at, PREFERENCE_SHAPES);
    const chosen = parseAnswer(fields['chosen'], 'chosen', at);
    const rejected = parseAnswer(fields['rejected'], 'rejected', at);
    let prompt: Message[] = [];
    for (const name of ['prompt', 'conversations', 'messages', 'instruction']) {
      if (fields[name] === undefined) continue;
      prompt = name === 'instruction' ? parseInstruction(fields, at) : parsePrompt(fields[name], name, at);
      break;
    }
    for (const [name, { before }] of Object.entries({ chosen, rejected })) {
      // The answer may repeat the prompt, with or without its system message, or carry all of it.
      if (before.length === 0 || sameMessages(before, prompt.slice(-before.length))) continue;
      if (name === 'rejected' || !sameMessages(prompt, before.slice(before.length - prompt.length))) {
        throw problem(
          at,
          `字段 ${name} 开头的对话与${name === 'rejected' ? ' chosen 或' : ''} prompt 不一致，请改成相同的对话`,
          `the conversation in ${name} differs from ${name === 'rejected' ? 'that of chosen or ' : ''}the prompt; make them the same`,
        );
      }
      prompt = before;
    }
    if (prompt.length === 0) {
      throw problem(
        at,
        `没有提示，请使用这些形式之一：${PREFERENCE_SHAPES}`,
        `there is no prompt; use one of ${PREFERENCE_SHAPES}`,
      );
    }
    if (prompt[prompt.length - 1].role !== 'user') {
      throw problem(
        at,
        '提示没有以用户的消息结尾，请删除其后的消息',
        "the prompt does not end with the user's message; remove what follows it",
      );
    }
    if (chosen.answer === rejected.answer) {
      throw problem(
        at,
        '字段 chosen 和 rejected 相同，请改写其中一个或删除这条记录',
        'the fields chosen and rejected are the same; change one of them or remove the record',
      );
    }
    prompt = withSystem(prompt, fields, at);
    return { prompt, chosen: chosen.answer, rejected: rejected.answer, ...categoryOf(fields, at) };
  });
}
