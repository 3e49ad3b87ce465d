/** @file Messages in the forms of OpenAI, ShareGPT and Alpaca, and the answers that come beside them. */

import type { Message } from '../../chat-format.ts';
import { checkText, type Fields, isFields, type Located, problem } from '../records.ts';

const ROLES: Record<string, Message['role']> = {
  system: 'system',
  developer: 'system',
  user: 'user',
  human: 'user',
  assistant: 'assistant',
  gpt: 'assistant',
};

/** A message in OpenAI's form (`role`, `content`) or ShareGPT's (`from`, `value`). */
function parseMessage(value: unknown, field: string, at: Located): Message {
  if (!isFields(value)) {
    throw problem(
      at,
      `${field} 不是消息，请写成 {"role": "user", "content": "..."}`,
      `${field} is not a message; write {"role": "user", "content": "..."}`,
    );
  }
  const shareGpt = value['role'] === undefined && value['from'] !== undefined;
  const roleField = shareGpt ? 'from' : 'role';
  const contentField = shareGpt ? 'value' : 'content';
  const name = value[roleField];
  if (typeof name !== 'string' || !Object.hasOwn(ROLES, name)) {
    const known = shareGpt ? 'system, human, gpt' : 'system, user, assistant';
    throw problem(
      at,
      `${field}.${roleField} 是 ${JSON.stringify(name)}，请改为 ${known} 之一`,
      `${field}.${roleField} is ${JSON.stringify(name)}; use one of ${known}`,
    );
  }
  let content = value[contentField];
  if (Array.isArray(content) && content.every((part) => isFields(part) && part['type'] === 'text')) {
    content = content.map((part) => part.text).join('');
  }
  return { role: ROLES[name], content: checkText(content, `${field}.${contentField}`, at) };
}

/** A list of messages; a system message can only come first. */
export function parseMessages(value: unknown, field: string, at: Located): Message[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw problem(
      at,
      `字段 ${field} 不是非空的消息列表`,
      `the field ${field} is not a list of messages with at least one`,
    );
  }
  const messages = value.map((each, index) => parseMessage(each, `${field}[${index}]`, at));
  const late = messages.findIndex((message, index) => index > 0 && message.role === 'system');
  if (late >= 0) {
    throw problem(
      at,
      `${field}[${late}] 是 system 消息，但它只能放在最前面，请移动或删除`,
      `${field}[${late}] is a system message, which can only come first; move or remove it`,
    );
  }
  return messages;
}

/** A prompt as text or as messages. */
export function parsePrompt(value: unknown, field: string, at: Located): Message[] {
  if (Array.isArray(value)) return parseMessages(value, field, at);
  return [{ role: 'user', content: checkText(value, field, at) }];
}

/** Alpaca's `instruction` with its optional `input`. */
export function parseInstruction(fields: Fields, at: Located): Message[] {
  const instruction = checkText(fields['instruction'], 'instruction', at);
  const { input } = fields;
  const content =
    input === undefined || input === null || input === ''
      ? instruction
      : `${instruction}\n${checkText(input, 'input', at)}`;
  return [{ role: 'user', content }];
}

/** A `system` field beside the messages comes first, unless they have a system message of their own. */
export function withSystem(messages: Message[], fields: Fields, at: Located): Message[] {
  const { system } = fields;
  if (system === undefined || system === null || system === '' || messages[0]?.role === 'system')
    return messages;
  return [{ role: 'system', content: checkText(system, 'system', at) }, ...messages];
}

/** An answer: text, one message, or a conversation that ends with it (`before` is what comes first). */
export function parseAnswer(
  value: unknown,
  field: string,
  at: Located,
): { before: Message[]; answer: string } {
  if (!Array.isArray(value) && !isFields(value)) return { before: [], answer: checkText(value, field, at) };
  const messages = Array.isArray(value) ? parseMessages(value, field, at) : [parseMessage(value, field, at)];
  const last = messages[messages.length - 1];
  if (last.role !== 'assistant') {
    throw problem(
      at,
      `字段 ${field} 没有以 assistant 的消息结尾，请补上`,
      `the field ${field} does not end with a message by the assistant; add it`,
    );
  }
  return { before: messages.slice(0, -1), answer: last.content };
}

/** The `category` of a record, if it has one. */
export function categoryOf(fields: Fields, at: Located): { category?: string } {
  if (fields['category'] === undefined || fields['category'] === null) return {};
  return { category: checkText(fields['category'], 'category', at) };
}
