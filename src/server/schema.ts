/**
 * @file What requests may hold: OpenAI's fields with OpenAI's bounds, and a few that servers of open models share
 * (`top_k`, `min_p`, `repetition_penalty`). What is not listed is refused, so that a misspelt option is not ignored.
 */

import { z } from 'zod';
import type { Message } from '../chat-format.ts';
import { DEFAULT_SAMPLING } from '../generate.ts';
import { type Text, text } from '../i18n.ts';
import { GREEDY, type SamplingOptions } from '../sampling.ts';

/** The message of a union, which says what all of its members would accept. */
const expecting = (message: Text): { error: () => string } => ({ error: () => text(message) });

const tokenIds = z.array(z.int().min(0)).min(1);

/** One prompt or several, each as text or as tokens. */
const inputs = (limit: number) =>
  z.union(
    [
      z.string().transform((value) => [value]),
      z.array(z.string()).min(1).max(limit),
      tokenIds.transform((value) => [value]),
      z.array(tokenIds).min(1).max(limit),
    ],
    expecting({
      zh: `应为一段文字、一列词元编号，或最多 ${limit} 个这样的项组成的列表`,
      en: `expected a text, a list of token ids, or a list of at most ${limit} of either`,
    }),
  );

/** Fields that say who asks, or how a service is to run, and change no answer. */
const ignored = {
  user: z.string().nullish(),
  metadata: z.record(z.string(), z.string()).nullish(),
  store: z.boolean().nullish(),
  service_tier: z.string().nullish(),
  safety_identifier: z.string().nullish(),
  prompt_cache_key: z.string().nullish(),
};

const MAX_STOPS = 4;
const stopText = z.string().min(1);

/** What both kinds of completion take. */
const writing = {
  model: z.string().nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().gt(0).max(1).nullish(),
  top_k: z.int().min(0).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().gt(0).max(10).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  max_tokens: z.int().min(1).nullish(),
  n: z.int().min(1).max(128).nullish(),
  seed: z.int().nullish(),
  stop: z
    .union(
      [stopText.transform((value) => [value]), z.array(stopText).max(MAX_STOPS)],
      expecting({
        zh: `应为一段不空的文字，或最多 ${MAX_STOPS} 段`,
        en: `expected a text that is not empty, or at most ${MAX_STOPS} of them`,
      }),
    )
    .nullish(),
  stream: z.boolean().nullish(),
  stream_options: z
    .strictObject({
      include_usage: z.boolean().nullish(),
      include_obfuscation: z.boolean().nullish(),
    })
    .nullish(),
  ...ignored,
};

const content = z.union(
  [
    z.string(),
    z
      .array(z.object({ type: z.literal('text'), text: z.string() }))
      .transform((parts) => parts.map((part) => part.text).join('')),
  ],
  expecting({
    zh: '应为文字，或 {"type": "text", "text": "…"} 组成的列表；这个模型只懂文字',
    en: 'expected a text, or a list of {"type": "text", "text": "..."}; this model knows nothing but text',
  }),
);

const message = z
  .discriminatedUnion(
    'role',
    [
      z.object({ role: z.enum(['system', 'developer', 'user']), content }),
      z.object({ role: z.literal('assistant'), content: content.nullish() }),
    ],
    expecting({
      zh: 'role 应为 system、developer、user 或 assistant',
      en: 'role must be system, developer, user or assistant',
    }),
  )
  .transform(({ role, content }): Message => {
    // OpenAI's newer models call the system message so.
    return { role: role === 'developer' ? 'system' : role, content: content ?? '' };
  });

const messages = z.array(message).min(1);

export const chatRequest = z.strictObject({
  ...writing,
  messages,
  max_completion_tokens: z.int().min(1).nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  response_format: z.looseObject({ type: z.string() }).nullish(),
});

export const completionRequest = z.strictObject({
  ...writing,
  prompt: inputs(128),
  echo: z.boolean().nullish(),
  logprobs: z.int().min(0).max(5).nullish(),
  suffix: z.string().nullish(),
  best_of: z.int().min(1).max(20).nullish(),
});

export const embeddingRequest = z.strictObject({
  model: z.string().nullish(),
  input: inputs(256),
  encoding_format: z.enum(['float', 'base64']).nullish(),
  user: z.string().nullish(),
});

export const tokenizeRequest = z.union(
  [
    z.strictObject({ model: z.string().nullish(), prompt: z.string() }),
    z.strictObject({
      model: z.string().nullish(),
      messages,
      add_generation_prompt: z.boolean().nullish(),
    }),
  ],
  expecting({
    zh: '应含有 prompt（文字）或 messages（对话），以及可选的 model',
    en: 'expected prompt (a text) or messages (a conversation), and optionally model',
  }),
);

export const detokenizeRequest = z.strictObject({
  model: z.string().nullish(),
  tokens: z.array(z.int().min(0)),
});

export type ChatRequest = z.output<typeof chatRequest>;
export type CompletionRequest = z.output<typeof completionRequest>;

/**
 * How tokens are chosen: as the request says, and otherwise as `npm run generate` does. At temperature 0 the best token
 * is taken as it is, unless penalties are asked for.
 */
export function samplingOf(request: ChatRequest | CompletionRequest): SamplingOptions {
  const defaults = request.temperature === 0 ? GREEDY : DEFAULT_SAMPLING;
  return {
    temperature: request.temperature ?? defaults.temperature,
    topK: request.top_k ?? defaults.topK,
    topP: request.top_p ?? defaults.topP,
    minP: request.min_p ?? defaults.minP,
    repetitionPenalty: request.repetition_penalty ?? defaults.repetitionPenalty,
    frequencyPenalty: request.frequency_penalty ?? defaults.frequencyPenalty,
    presencePenalty: request.presence_penalty ?? defaults.presencePenalty,
  };
}
