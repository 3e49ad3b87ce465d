/**
 * @file The data files that people have, in the shapes that are common in the field, as records of each stage.
 *
 * Text comes in, records come out; nothing is guessed. What cannot be understood ends in one sentence that names the
 * file, the record (its line in JSONL, its number in an array), the field and the fix.
 */

import type { Conversation, Message } from '../chat-format.ts';
import { VERIFIERS } from '../verifiers.ts';
import {
  checkText,
  type Fields,
  fieldsOf,
  isFields,
  type Located,
  noRecords,
  parseRecords,
  problem,
} from './records.ts';

/** Two answers to one prompt, the first preferred. `prompt` ends with the user's message. */
export interface PreferencePair {
  readonly prompt: readonly Message[];
  readonly chosen: string;
  readonly rejected: string;
  readonly category?: string;
}

/** A question whose answer a program can check. */
export interface Task {
  readonly prompt: string;
  readonly expected: string;
  /** Which verifier checks an answer. */
  readonly type: string;
}

/** The line that separates the documents of a plain text file. */
export const DOCUMENT_SEPARATOR = '<|endoftext|>';

function categoryOf(fields: Fields, at: Located): { category?: string } {
  if (fields['category'] === undefined || fields['category'] === null) return {};
  return { category: checkText(fields['category'], 'category', at) };
}

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
function parseInstruction(fields: Fields, at: Located): Message[] {
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

/**
 * Documents to pretrain on: plain text (split at lines that are `<|endoftext|>`, else one document), or, for files
 * named `.json` and `.jsonl`, strings or objects with `text`.
 * @param source the file's name, which decides the format and appears in messages
 */
export function parsePretrain(textContent: string, source: string): string[] {
  let documents: string[];
  if (/\.(json|jsonl|ndjson)$/i.test(source)) {
    documents = parseRecords(textContent, source).map((at) => {
      if (typeof at.value === 'string') return checkText(at.value, 'text', at);
      return checkText(fieldsOf(at, '"...", {"text": "..."}')['text'], 'text', at);
    });
  } else {
    documents = [];
    let lines: string[] = [];
    const finish = (): void => {
      const document = lines.join('\n').replace(/^(?:[^\S\n]*\n)+|\s+$/g, '');
      if (document !== '') documents.push(document);
      lines = [];
    };
    for (const line of textContent.replace(/^\ufeff/, '').split('\n')) {
      if (line.trim() === DOCUMENT_SEPARATOR) finish();
      else lines.push(line);
    }
    finish();
  }
  if (documents.length === 0) throw noRecords(source);
  return documents;
}

const CONVERSATION_SHAPES =
  '{"messages": [{"role", "content"}]}, {"conversations": [{"from", "value"}]}, {"instruction", "input", "output"}, {"prompt", "response"}';

/**
 * Conversations to fine-tune on: OpenAI's `messages`, ShareGPT's `conversations`, Alpaca's
 * `instruction`/`input`/`output`, or `prompt`/`response` (or `completion`). Messages after the last answer teach
 * nothing and are left out.
 */
export function parseConversations(content: string, source: string): Conversation[] {
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

/** An answer: text, one message, or a conversation that ends with it (`before` is what comes first). */
function parseAnswer(value: unknown, field: string, at: Located): { before: Message[]; answer: string } {
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

/**
 * Questions with an answer that can be checked: `{prompt, expected, type}`; `expected` may be a number.
 * @param types the types that have a verifier
 */
export function parseTasks(
  content: string,
  source: string,
  types: readonly string[] = [...VERIFIERS.keys()],
): Task[] {
  const shape = '{"prompt", "expected", "type"}';
  return parseRecords(content, source).map((at) => {
    const fields = fieldsOf(at, shape);
    const prompt = checkText(fields['prompt'], 'prompt', at);
    const { expected } = fields;
    const type = types.find((each) => each === fields['type']);
    if (type === undefined) {
      const known = types.join(', ');
      throw problem(
        at,
        `字段 type 是 ${JSON.stringify(fields['type'])}，请改为 ${known} 之一`,
        `the field type is ${JSON.stringify(fields['type'])}; use one of ${known}`,
      );
    }
    return {
      prompt,
      expected: checkText(typeof expected === 'number' ? String(expected) : expected, 'expected', at),
      type,
    };
  });
}
