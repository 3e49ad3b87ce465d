/** @file `POST /v1/chat/completions`: a conversation goes in, the next message comes out. */

import { fitHistory, renderPrompt } from '../chat-format.ts';
import { UserError } from '../errors.ts';
import { DEFAULT_MAX_NEW_TOKENS } from '../generate.ts';
import { badRequest } from './errors.ts';
import { chatLogprobs, type TokenScore } from './logprobs.ts';
import type { ServedModel } from './models.ts';
import { type ChatRequest, samplingOf } from './schema.ts';
import { answerWith, type Format, type Plan, type WritingContext } from './writing.ts';

export async function completeChat(
  model: ServedModel,
  request: ChatRequest,
  context: WritingContext,
): Promise<Response> {
  return answerWith(planOf(model, request), formatOf(model), streamOf(request), context);
}

/** @throws ApiError for what cannot be done: a model without conversations, a last message that is too long, ... */
function planOf(model: ServedModel, request: ChatRequest): Plan {
  const { tokenizer, engine, raw } = model;
  if (raw) {
    throw badRequest('model', {
      zh: `${model.id} 只经过预训练，不会对话；请改用 /v1/completions`,
      en: `${model.id} was only pretrained and cannot converse; use /v1/completions`,
    });
  }
  const format = request.response_format?.type ?? 'text';
  if (format !== 'text') {
    throw badRequest(
      'response_format',
      {
        zh: `response_format 不能是 ${format}：这里只写文字（text），不能保证写出合法的 JSON`,
        en: `response_format cannot be ${format}: only text is written here, and nothing would make sure that it is valid JSON`,
      },
      'unsupported_value',
    );
  }
  if ((request.top_logprobs ?? 0) > 0 && !request.logprobs) {
    throw badRequest('top_logprobs', {
      zh: 'top_logprobs 要与 "logprobs": true 一起用',
      en: 'top_logprobs needs "logprobs": true beside it',
    });
  }
  const maxNewTokens = request.max_completion_tokens ?? request.max_tokens ?? DEFAULT_MAX_NEW_TOKENS;
  const fit = (): Int32Array => {
    try {
      const kept = fitHistory(tokenizer, request.messages, {
        maxLength: engine.maxLength,
        maxNewTokens,
      });
      return renderPrompt(tokenizer, kept);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      const message = { zh: error.message, en: error.message };
      throw badRequest('messages', message, 'context_length_exceeded');
    }
  };
  return {
    model,
    prompts: [fit()],
    n: request.n ?? 1,
    sampling: samplingOf(request),
    seed: request.seed ?? undefined,
    maxNewTokens,
    stop: request.stop ?? [],
    topLogprobs: request.logprobs ? (request.top_logprobs ?? 0) : undefined,
  };
}

function formatOf({ id: model, tokenizer }: ServedModel): Format {
  const id = `chatcmpl-${crypto.randomUUID().replaceAll('-', '')}`;
  const created = Math.floor(Date.now() / 1000);
  const logprobs = (scores: readonly TokenScore[] | undefined): object | null =>
    scores ? chatLogprobs(tokenizer, scores) : null;
  const chunk = (choices: readonly object[]): object => ({
    id,
    object: 'chat.completion.chunk',
    created,
    model,
    choices,
  });
  return {
    whole: (choices) => ({
      id,
      object: 'chat.completion',
      created,
      model,
      choices: choices.map(({ index, text, scores, finish }) => ({
        index,
        message: { role: 'assistant', content: text, refusal: null },
        logprobs: logprobs(scores),
        finish_reason: finish,
      })),
    }),
    opening: (index) =>
      chunk([{ index, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }]),
    piece: (index, { text, score, finish }) =>
      chunk([
        {
          index,
          delta: finish ? {} : { content: text },
          logprobs: logprobs(score && [score]),
          finish_reason: finish ?? null,
        },
      ]),
    closing: () => chunk([]),
  };
}

/** How a request wants its answer: undefined at once, at the end. */
export function streamOf({
  stream,
  stream_options: options,
}: Pick<ChatRequest, 'stream' | 'stream_options'>): { includeUsage: boolean } | undefined {
  if (stream) return { includeUsage: options?.include_usage ?? false };
  if (!options) return undefined;
  throw badRequest('stream_options', {
    zh: 'stream_options 要与 "stream": true 一起用',
    en: 'stream_options needs "stream": true beside it',
  });
}
