/** @file Conversations to fine-tune on, in the shapes that are common in the field. */

import type { Conversation, Message } from '../../chat-format.ts';
import { checkText, fieldsOf, parseRecords, problem } from '../records.ts';
import { isEquations, parseEquations } from './equations.ts';
import {
  categoryOf,
  parseAnswer,
  parseInstruction,
  parseMessages,
  parsePrompt,
  withSystem,
} from './messages.ts';

const CONVERSATION_SHAPES =
  '{"messages": [{"role", "content"}]}, {"conversations": [{"from", "value"}]}, {"instruction", "input", "output"}, {"prompt", "response"}';

/**
 * Conversations to fine-tune on: OpenAI's `messages`, ShareGPT's `conversations`, Alpaca's
 * `instruction`/`input`/`output`, `prompt`/`response` (or `completion`), or plain text of sums, one a line. Messages
 * after the last answer teach nothing and are left out.
 */
export function parseConversations(content: string, source: string): Conversation[] {
  if (isEquations(content)) {
    return parseEquations(content, source).map(({ question, result }) => ({
      messages: [
        { role: 'user', content: question },
        { role: 'assistant', content: result },
      ],
    }));
  }
  return parseRecords(content, source).map((at) => {
    const fields = fieldsOf(at, CONVERSATION_SHAPES);
    let messages: Message[];
    if (fields['messages'] !== undefined) messages = parseMessages(fields['messages'], 'messages', at);
    else if (fields['conversations'] !== undefined) {
      messages = parseMessages(fields['conversations'], 'conversations', at);
    } else if (fields['instruction'] !== undefined) {
      const answer = checkText(fields['output'], 'output', at);
      messages = [...parseInstruction(fields, at), { role: 'assistant', content: answer }];
    } else if (fields['prompt'] !== undefined) {
      const name =
        fields['response'] === undefined && fields['completion'] !== undefined ? 'completion' : 'response';
      const answer = parseAnswer(fields[name], name, at).answer;
      messages = [...parsePrompt(fields['prompt'], 'prompt', at), { role: 'assistant', content: answer }];
    } else {
      throw problem(
        at,
        `没有可识别的字段，请使用这些形式之一：${CONVERSATION_SHAPES}`,
        `no known field; use one of ${CONVERSATION_SHAPES}`,
      );
    }
    messages = withSystem(messages, fields, at);
    const last = messages.findLastIndex((message) => message.role === 'assistant');
    if (last < 0) {
      throw problem(
        at,
        '没有 assistant 的回答，请补上一条，否则没有可学的内容',
        'there is no answer by the assistant; add one, or there is nothing to learn',
      );
    }
    return { messages: messages.slice(0, last + 1), ...categoryOf(fields, at) };
  });
}
