/**
 * @file The server as a function from requests to answers: routes, and what holds for all of them.
 *
 * The protocol is OpenAI's, so that the clients and programs made for it work here unchanged.
 */

import { createHash, timingSafeEqual } from 'node:crypto';
import { type Context, Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { cors } from 'hono/cors';
import { readBody } from './body.ts';
import { completeChat } from './chat.ts';
import { completeText } from './completions.ts';
import { embedTexts } from './embeddings.ts';
import { ApiError, errorBody, toApiError } from './errors.ts';
import { createMeters } from './metrics.ts';
import { describeModel, findModel, type ServedModel } from './models.ts';
import {
  chatRequest,
  completionRequest,
  detokenizeRequest,
  embeddingRequest,
  tokenizeRequest,
} from './schema.ts';
import { detokenize, tokenize } from './tokens.ts';
import type { WritingContext } from './writing.ts';

export interface AppOptions {
  /** The first answers requests that name none. */
  readonly models: readonly ServedModel[];
  /** What clients must send as `Authorization: Bearer KEY`; none: everybody is served. */
  readonly apiKey?: string;
  /** Origins whose pages may use the server from a browser; `*` for all. */
  readonly origins?: readonly string[];
  /** Told of every defect that a client was told of as an internal error. */
  readonly onError?: (error: unknown) => void;
}

export interface App {
  readonly fetch: Hono['fetch'];
  /** From now on refuse new requests; those under way go on. */
  drain(): void;
}

/** Longest body, in bytes: many times the text that any context here holds. */
const MAX_BODY = 2 ** 20;

export function createApp(options: AppOptions): App {
  const { models, apiKey, origins, onError = () => {} } = options;
  const meters = createMeters(models);
  const hono = new Hono();
  let draining = false;

  hono.use(async (c, next) => {
    const start = performance.now();
    await next();
    const route = paths.has(c.req.path)
      ? c.req.path
      : modelPath.test(c.req.path)
        ? '/v1/models/{id}'
        : 'other';
    meters.request(route, c.res.status, (performance.now() - start) / 1000);
  });
  if (origins) hono.use(cors({ origin: origins.includes('*') ? '*' : [...origins] }));
  hono.use(async (c, next) => {
    if (draining) {
      throw new ApiError(
        503,
        { zh: '服务器正在停止', en: 'the server is shutting down' },
        { code: 'shutting_down', headers: { connection: 'close' } },
      );
    }
    if (apiKey !== undefined && c.req.path !== '/health') checkKey(c, apiKey);
    await next();
  });
  hono.use(
    bodyLimit({
      maxSize: MAX_BODY,
      onError() {
        throw new ApiError(
          413,
          {
            zh: `请求体超过了 ${MAX_BODY} 字节；请缩短它`,
            en: `the body is longer than ${MAX_BODY} bytes; shorten it`,
          },
          // The rest of it is not read, so nothing more can come on this connection.
          { headers: { connection: 'close' } },
        );
      },
    }),
  );

  const contextOf = (c: Context): WritingContext => ({ signal: c.req.raw.signal, meters, onError });
  const routes: readonly (readonly ['GET' | 'POST', string, (c: Context) => Response | Promise<Response>])[] =
    [
      ['GET', '/health', (c) => c.json({ status: 'ok' })],
      [
        'GET',
        '/metrics',
        async (c) => c.text(await meters.render(), 200, { 'content-type': meters.contentType }),
      ],
      ['GET', '/v1/models', (c) => c.json({ object: 'list', data: models.map(describeModel) })],
      ['GET', '/v1/models/:id{.+}', (c) => c.json(describeModel(findModel(models, c.req.param('id'))))],
      [
        'POST',
        '/v1/chat/completions',
        async (c) => {
          const request = await readBody(c, chatRequest);
          return completeChat(findModel(models, request.model), request, contextOf(c));
        },
      ],
      [
        'POST',
        '/v1/completions',
        async (c) => {
          const request = await readBody(c, completionRequest);
          return completeText(findModel(models, request.model), request, contextOf(c));
        },
      ],
      [
        'POST',
        '/v1/embeddings',
        async (c) => {
          const request = await readBody(c, embeddingRequest);
          return embedTexts(findModel(models, request.model), request, c.req.raw.signal);
        },
      ],
      [
        'POST',
        '/tokenize',
        async (c) => {
          const request = await readBody(c, tokenizeRequest);
          return c.json(tokenize(findModel(models, request.model), request));
        },
      ],
      [
        'POST',
        '/detokenize',
        async (c) => {
          const request = await readBody(c, detokenizeRequest);
          return c.json(detokenize(findModel(models, request.model), request));
        },
      ],
    ];
  const paths = new Set(routes.map(([, path]) => path));
  const modelPath = /^\/v1\/models\/./;
  for (const [method, path, handler] of routes) {
    hono.on(method, path, handler);
    hono.all(path, ({ req }) => {
      throw new ApiError(
        405,
        {
          zh: `${req.path} 要用 ${method}，不能用 ${req.method}`,
          en: `${req.path} takes ${method}, not ${req.method}`,
        },
        { headers: { allow: method } },
      );
    });
  }
  hono.notFound(({ req }) => {
    throw new ApiError(
      404,
      { zh: `没有 ${req.method} ${req.path} 这个接口`, en: `there is no ${req.method} ${req.path} here` },
      { code: 'unknown_url' },
    );
  });
  hono.onError((error, c) => {
    const told = toApiError(error);
    // What fails because the client has gone is no defect, and nobody is told.
    if (told.status === 500 && !c.req.raw.signal.aborted) onError(error);
    for (const [name, value] of Object.entries(told.details.headers ?? {})) c.header(name, value);
    return c.json(errorBody(told), told.status as 400);
  });

  return {
    fetch: hono.fetch,
    drain() {
      draining = true;
    },
  };
}

/** Compares hashes, so that the time tells nothing about the key. */
function checkKey({ req }: Context, key: string): void {
  const hash = (value: string): Buffer => createHash('sha256').update(value).digest();
  const given = /^Bearer\s+(.+)$/i.exec(req.header('authorization') ?? '')?.[1];
  if (given !== undefined && timingSafeEqual(hash(given), hash(key))) return;
  throw new ApiError(
    401,
    given === undefined
      ? {
          zh: '缺少密钥；请加上请求头 Authorization: Bearer 密钥',
          en: 'the key is missing; add the header Authorization: Bearer KEY',
        }
      : { zh: '密钥不对', en: 'the key is wrong' },
    { code: 'invalid_api_key', headers: { 'www-authenticate': 'Bearer' } },
  );
}
