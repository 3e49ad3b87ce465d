/**
 * @file The chat template: conversations become tokens, and a mask says which of them the model learns to write.
 *
 * ChatML (as in Qwen2 and others) frames every message with two special tokens:
 *
 *     <|im_start|>user
 *     你好<|im_end|>
 *     <|im_start|>assistant
 *     你好！<|im_end|>
 *
 * Only the program writes special tokens. A user who types `<|im_end|>` has typed ten characters.
 */

import { UserError } from './errors.ts';
import { SPECIAL, type Tokenizer } from './tokenizer.ts';

/** One turn of a conversation. */
export interface Message {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** A conversation, oldest message first; `category` groups conversations in reports. */
export interface Conversation {
  readonly messages: readonly Message[];
  readonly category?: string;
}

/** A conversation as tokens. */
export interface Rendered {
  readonly ids: Int32Array; // [n]
  /** 1 for every token of an assistant's content and for the `<|im_end|>` after it: what the model is to write itself. */
  readonly mask: Uint8Array; // [n]
}

/** `<|im_start|>role\n` */
function header(tokenizer: Tokenizer, role: Message['role']): number[] {
  return [SPECIAL.imStart, ...tokenizer.encode(`${role}\n`)];
}

/**
 * All messages as tokens, with the mask of what is learned from them.
 *
 * Header and content are encoded apart, so that no merge can cross the border: what the model sees before an answer is
 * then the same in training (here) and in use (`renderPrompt`).
 */
export function renderConversation(tokenizer: Tokenizer, messages: readonly Message[]): Rendered {
  const ids: number[] = [];
  const mask: number[] = [];
  const add = (tokens: Iterable<number>, trained: boolean): void => {
    for (const id of tokens) {
      ids.push(id);
      mask.push(trained ? 1 : 0);
    }
  };
  for (const { role, content } of messages) {
    add(header(tokenizer, role), false);
    add([...tokenizer.encode(content), SPECIAL.imEnd], role === 'assistant');
    add(tokenizer.encode('\n'), false);
  }
  return { ids: Int32Array.from(ids), mask: Uint8Array.from(mask) };
}

/** The messages so far and the header of the answer: where the model begins to write. */
export function renderPrompt(tokenizer: Tokenizer, messages: readonly Message[]): Int32Array {
  return Int32Array.from([...renderConversation(tokenizer, messages).ids, ...header(tokenizer, 'assistant')]);
}

/**
 * The messages that fit into a prompt of `maxTokens` tokens: the oldest turns go first, a turn being a user's message and
 * the answers to it. A system message at the beginning and the last turn always stay.
 *
 * @throws UserError if those alone are too long
 */
export function truncateHistory(
  tokenizer: Tokenizer,
  messages: readonly Message[],
  maxTokens: number,
): Message[] {
  const firstTurn = messages.findIndex(({ role }) => role !== 'system');
  const systems = firstTurn < 0 ? messages.length : firstTurn;
  // Messages are encoded apart, so a prompt is as long as its messages together.
  const lengths = messages.map((message) => renderConversation(tokenizer, [message]).ids.length);
  let length = lengths.reduce((sum, each) => sum + each, renderPrompt(tokenizer, []).length);
  let from = systems;
  while (length > maxTokens) {
    let next = from + 1;
    while (next < messages.length && messages[next].role !== 'user') next++;
    if (next >= messages.length) {
      throw new UserError({
        zh: `提示太长：共 ${length} 个词元，最多 ${maxTokens} 个；请缩短提示，或使用上下文更长的模型。`,
        en: `The prompt is too long: ${length} tokens, and ${maxTokens} fit; shorten it, or use a model with a longer context.`,
      });
    }
    for (; from < next; from++) length -= lengths[from];
  }
  return [...messages.slice(0, systems), ...messages.slice(from)];
}

/**
 * As much of a conversation as leaves room for an answer of `maxNewTokens` in a context of `maxLength`; half of the
 * context at most is kept free for it. A last message that is longer than that, system messages included, may use what
 * there is.
 *
 * @throws UserError if the last message, with the system messages, is longer than the context
 */
export function fitHistory(
  tokenizer: Tokenizer,
  messages: readonly Message[],
  { maxLength, maxNewTokens }: { readonly maxLength: number; readonly maxNewTokens: number },
): Message[] {
  const reserved = Math.min(maxNewTokens, Math.floor(maxLength / 2));
  const indispensable = messages.filter(({ role }, i) => role === 'system' || i === messages.length - 1);
  const least = renderPrompt(tokenizer, indispensable).length;
  return truncateHistory(tokenizer, messages, Math.max(maxLength - reserved, Math.min(least, maxLength - 1)));
}

const [GREEN, RESET] = ['\u001b[30;42m', '\u001b[0m'];

/**
 * A view of the mask for people: the text with special tokens written out, and what is learned on green, or between ⟦ and
 * ⟧ without colour. Control characters in the text are shown by their code, so that they cannot command the terminal.
 */
export function showMask(tokenizer: Tokenizer, rendered: Rendered, options: { color: boolean }): string {
  const { ids, mask } = rendered;
  const [open, close] = options.color ? [GREEN, RESET] : ['⟦', '⟧'];
  let shown = '';
  for (let start = 0; start < ids.length; ) {
    let end = start + 1;
    while (end < ids.length && mask[end] === mask[start]) end++;
    const run = escapeControls(tokenizer.decode(ids.subarray(start, end)));
    shown += mask[start] === 1 ? open + run + close : run;
    start = end;
  }
  return shown;
}

function escapeControls(text: string): string {
  return text.replace(/[^\P{Cc}\n]/gu, (c) => `\\u{${c.codePointAt(0)!.toString(16).toUpperCase()}}`);
}
