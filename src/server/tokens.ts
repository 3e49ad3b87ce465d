/** @file `POST /tokenize` and `POST /detokenize`: text to tokens and back, as vLLM's server offers them. */

import type { z } from 'zod';
import { renderConversation, renderPrompt } from '../chat-format.ts';
import { promptTokens } from './completions.ts';
import type { ServedModel } from './models.ts';
import type { detokenizeRequest, tokenizeRequest } from './schema.ts';

export function tokenize(
  { tokenizer, engine }: ServedModel,
  request: z.output<typeof tokenizeRequest>,
): object {
  const encode = (): Int32Array => {
    if ('prompt' in request) return tokenizer.encode(request.prompt);
    return (request.add_generation_prompt ?? true)
      ? renderPrompt(tokenizer, request.messages)
      : renderConversation(tokenizer, request.messages).ids;
  };
  const tokens = Array.from(encode());
  return { count: tokens.length, max_model_len: engine.maxLength, tokens };
}

export function detokenize(model: ServedModel, { tokens }: z.output<typeof detokenizeRequest>): object {
  return { prompt: model.tokenizer.decode(promptTokens(model, tokens, 'tokens')) };
}
