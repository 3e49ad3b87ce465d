/** @file `POST /v1/completions`: a text goes in, and the model writes on. */

import { rawPrompt } from '../generate.ts';
import { streamOf } from './chat.ts';
import { badRequest } from './errors.ts';
import { createCompletionLogprobs, type TokenScore } from './logprobs.ts';
import type { ServedModel } from './models.ts';
import { type CompletionRequest, samplingOf } from './schema.ts';
import { answerWith, type Format, type Plan, type WritingContext } from './writing.ts';

/** OpenAI's default. */
const MAX_TOKENS = 16;

export async function completeText(
  model: ServedModel,
  request: CompletionRequest,
  context: WritingContext,
): Promise<Response> {
  const { echo, suffix, best_of: bestOf, n } = request;
  const refuse = (param: string, zh: string, en: string): never => {
    throw badRequest(param, { zh, en }, 'unsupported_value');
  };
  if (suffix)
    refuse(
      'suffix',
      '模型只会往后写，不会补中间（suffix）',
      'the model writes on and cannot fill in: no suffix',
    );
  if (bestOf != null && bestOf !== (n ?? 1))
    refuse(
      'best_of',
      '这里不挑选：best_of 要与 n 相同',
      'nothing is selected here: best_of must be equal to n',
    );
  if (echo && request.logprobs != null) {
    refuse(
      'logprobs',
      '提示的概率没有计算：echo 与 logprobs 不能一起用',
      'probabilities of prompts are not computed: echo and logprobs do not go together',
    );
  }
  const plan = planOf(model, request);
  return answerWith(
    plan,
    formatOf(plan, echo ? echoesOf(model, request) : undefined),
    streamOf(request),
    context,
  );
}

function planOf(model: ServedModel, request: CompletionRequest): Plan {
  const { maxLength } = model.engine;
  const prompts = request.prompt.map((prompt) => promptTokens(model, prompt, 'prompt'));
  const longest = Math.max(...prompts.map(({ length }) => length));
  if (longest >= maxLength) {
    throw badRequest(
      'prompt',
      {
        zh: `提示有 ${longest} 个词元，而上下文只有 ${maxLength} 个，还要留出位置接着写；请缩短它`,
        en: `the prompt has ${longest} tokens, but the context holds ${maxLength}, the continuation included; shorten it`,
      },
      'context_length_exceeded',
    );
  }
  return {
    model,
    prompts,
    n: request.n ?? 1,
    sampling: samplingOf(request),
    seed: request.seed ?? undefined,
    maxNewTokens: request.max_tokens ?? MAX_TOKENS,
    stop: request.stop ?? [],
    topLogprobs: request.logprobs ?? undefined,
  };
}

/**
 * What the model reads of a text, or of tokens that a client has chosen itself.
 * @throws ApiError for a token that is not in the vocabulary
 */
export function promptTokens(
  { tokenizer }: ServedModel,
  prompt: string | number[],
  param: string,
): Int32Array {
  if (typeof prompt === 'string') return rawPrompt(tokenizer, prompt);
  const { vocabSize } = tokenizer;
  const unknown = prompt.find((token) => token >= vocabSize);
  if (unknown === undefined) return Int32Array.from(prompt);
  throw badRequest(param, {
    zh: `没有编号为 ${unknown} 的词元；编号从 0 到 ${vocabSize - 1}`,
    en: `there is no token ${unknown}; ids go from 0 to ${vocabSize - 1}`,
  });
}

function echoesOf({ tokenizer }: ServedModel, { prompt }: CompletionRequest): string[] {
  return prompt.map((each) =>
    typeof each === 'string' ? each : tokenizer.decode(each, { skipSpecial: true }),
  );
}

/** @param echoes what is put before the continuations of each prompt */
function formatOf(
  { model: { id: model, tokenizer }, n }: Plan,
  echoes: readonly string[] | undefined,
): Format {
  const id = `cmpl-${crypto.randomUUID().replaceAll('-', '')}`;
  const created = Math.floor(Date.now() / 1000);
  const body = (choices: readonly object[]): object => ({
    id,
    object: 'text_completion',
    created,
    model,
    choices,
  });
  const echoOf = (index: number): string => echoes?.[Math.floor(index / n)] ?? '';
  const describers: ReturnType<typeof createCompletionLogprobs>[] = [];
  const logprobs = (index: number, scores: readonly TokenScore[] | undefined): object | null => {
    if (!scores) return null;
    describers[index] ??= createCompletionLogprobs(tokenizer);
    return describers[index](scores);
  };
  return {
    whole: (choices) =>
      body(
        choices.map(({ index, text, scores, finish }) => ({
          index,
          text: echoOf(index) + text,
          logprobs: logprobs(index, scores),
          finish_reason: finish,
        })),
      ),
    opening: (index) => echoes && body([{ index, text: echoOf(index), logprobs: null, finish_reason: null }]),
    piece: (index, { text, score, finish }) =>
      body([{ index, text, logprobs: logprobs(index, score && [score]), finish_reason: finish ?? null }]),
    closing: () => body([]),
  };
}
