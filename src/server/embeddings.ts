/** @file `POST /v1/embeddings`: texts go in, vectors come out. */

import type { z } from 'zod';
import { promptTokens } from './completions.ts';
import { badRequest } from './errors.ts';
import type { ServedModel } from './models.ts';
import type { embeddingRequest } from './schema.ts';

/** @param signal when it aborts, the rest of the texts is left */
export async function embedTexts(
  model: ServedModel,
  request: z.output<typeof embeddingRequest>,
  signal: AbortSignal,
): Promise<Response> {
  const { embedder } = model;
  const texts = request.input.map((text, index) => {
    const param = request.input.length === 1 ? 'input' : `input[${index}]`;
    if (text === '') throw badRequest(param, { zh: `${param} 是空的`, en: `${param} is empty` });
    const tokens = promptTokens(model, text, param);
    if (tokens.length <= embedder.maxLength) return tokens;
    throw badRequest(
      param,
      {
        zh: `${param} 有 ${tokens.length} 个词元，最多 ${embedder.maxLength} 个；请缩短或切开它`,
        en: `${param} has ${tokens.length} tokens, and ${embedder.maxLength} fit; shorten or split it`,
      },
      'context_length_exceeded',
    );
  });
  const data: object[] = [];
  for (const tokens of texts) {
    signal.throwIfAborted();
    const vector = await embedder.embed(tokens);
    const embedding = request.encoding_format === 'base64' ? toBase64(vector) : Array.from(vector);
    data.push({ object: 'embedding', index: data.length, embedding });
  }
  const count = texts.reduce((sum, { length }) => sum + length, 0);
  return Response.json({
    object: 'list',
    data,
    model: model.id,
    usage: { prompt_tokens: count, total_tokens: count },
  });
}

/** The numbers as little-endian float32. */
function toBase64(vector: Float32Array): string {
  const bytes = new DataView(new ArrayBuffer(4 * vector.length));
  vector.forEach((x, i) => {
    bytes.setFloat32(4 * i, x, true);
  });
  return Buffer.from(bytes.buffer).toString('base64');
}
