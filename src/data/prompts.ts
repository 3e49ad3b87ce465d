/** @file What a model is to answer, from files: a list of prompts, or a conversation to go on with. */

import type { Message } from '../chat-format.ts';
import { parseMessages, parsePrompt, withSystem } from './formats.ts';
import { checkText, fieldsOf, type Located, noRecords, parseRecords, problem } from './records.ts';

const SHAPES = '"...", {"prompt": "..."}, {"messages": [{"role", "content"}]}';

/** Something to answer: messages that end with the user's. */
function parseRecord(at: Located): Message[] {
  if (typeof at.value === 'string') return [{ role: 'user', content: checkText(at.value, 'prompt', at) }];
  const fields = fieldsOf(at, SHAPES);
  const name = fields['messages'] === undefined ? 'prompt' : 'messages';
  if (fields[name] === undefined)
    throw problem(
      at,
      `没有可识别的字段，请使用这些形式之一：${SHAPES}`,
      `no known field; use one of ${SHAPES}`,
    );
  const messages = withSystem(parsePrompt(fields[name], name, at), fields, at);
  if (messages[messages.length - 1].role !== 'user') {
    throw problem(
      at,
      `字段 ${name} 没有以用户的消息结尾，请删除其后的消息`,
      `the field ${name} does not end with a message by the user; remove what follows it`,
    );
  }
  return messages;
}

/**
 * Prompts to answer: for files named `.json` and `.jsonl` strings, `{prompt}` (a text or messages) or `{messages}`; of
 * any other file each line that is not blank.
 * @param source the file's name, which decides the format and appears in messages
 */
export function parsePrompts(content: string, source: string): Message[][] {
  if (/\.(json|jsonl|ndjson)$/i.test(source)) return parseRecords(content, source).map(parseRecord);
  const lines = content.replace(/^\ufeff/, '').split(/\r?\n/);
  const prompts = lines.flatMap((line): Message[][] =>
    line.trim() === '' ? [] : [[{ role: 'user', content: line.trim() }]],
  );
  if (prompts.length === 0) throw noRecords(source);
  return prompts;
}

/** The one conversation of a file that a chat has saved: `{"messages": [...]}`. */
export function parseChat(content: string, source: string): Message[] {
  const records = parseRecords(content, source);
  if (records.length > 1) {
    throw problem(
      { place: { zh: source, en: source } },
      `其中有 ${records.length} 条记录，请给出只含一个对话的文件`,
      `it holds ${records.length} records; give a file with one conversation`,
    );
  }
  const [at] = records;
  return parseMessages(fieldsOf(at, '{"messages": [{"role", "content"}]}')['messages'], 'messages', at);
}
