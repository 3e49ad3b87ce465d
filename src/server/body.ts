/** @file From the bytes of a request to a value that a schema has checked, or an error that says what is wrong. */

import type { Context } from 'hono';
import { z } from 'zod';
import { getLanguage } from '../i18n.ts';
import { ApiError, badRequest } from './errors.ts';

/** Fields of OpenAI's API that mean nothing here; to ignore them would be to pretend. */
const UNSUPPORTED = new Set([
  'audio',
  'dimensions',
  'function_call',
  'functions',
  'logit_bias',
  'modalities',
  'parallel_tool_calls',
  'prediction',
  'reasoning_effort',
  'tool_choice',
  'tools',
  'verbosity',
  'web_search_options',
]);

/**
 * The JSON of a request.
 * @throws ApiError 400 where it is not UTF-8, not JSON, or not what the schema asks for; 415 where it is said to be
 *   something else, which also keeps web pages of other origins from posting without asking
 */
export async function readBody<Schema extends z.ZodType>(
  { req }: Context,
  schema: Schema,
): Promise<z.output<Schema>> {
  if (!/^application\/json\s*(;|$)/i.test(req.header('content-type') ?? '')) {
    throw new ApiError(415, {
      zh: '请求要用 JSON：请加上请求头 Content-Type: application/json',
      en: 'requests are in JSON: add the header Content-Type: application/json',
    });
  }
  return check(parse(decode(await readBytes(req.raw))), schema);
}

async function readBytes(request: Request): Promise<ArrayBuffer> {
  try {
    return await request.arrayBuffer();
  } catch (error) {
    // A body that is too long is told by the middleware that measures it.
    if (!request.signal.aborted) throw error;
    throw badRequest(undefined, {
      zh: '连接在请求发完之前断开了',
      en: 'the connection ended before the request did',
    });
  }
}

function decode(bytes: ArrayBuffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw badRequest(undefined, { zh: '请求体不是 UTF-8 编码的文字', en: 'the body is not text in UTF-8' });
  }
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    const reason = (error as Error).message;
    throw badRequest(undefined, {
      zh: `请求体不是合法的 JSON（${reason}）`,
      en: `the body is not valid JSON (${reason})`,
    });
  }
}

function check<Schema extends z.ZodType>(value: unknown, schema: Schema): z.output<Schema> {
  const { localeError } = getLanguage() === 'zh' ? z.locales.zhCN() : z.locales.en();
  const parsed = schema.safeParse(value, { error: localeError });
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  if (issue.code === 'unrecognized_keys') {
    const param = pathOf([...issue.path, issue.keys[0]]);
    throw UNSUPPORTED.has(param)
      ? badRequest(
          param,
          {
            zh: `这里不支持参数 ${param}；请去掉它`,
            en: `the parameter ${param} is not supported here; leave it out`,
          },
          'unsupported_parameter',
        )
      : badRequest(
          param,
          {
            zh: `没有参数 ${param}；请去掉它，或改正拼写`,
            en: `there is no parameter ${param}; leave it out, or correct its spelling`,
          },
          'unknown_parameter',
        );
  }
  const param = pathOf(issue.path);
  if (param !== '' && valueAt(value, issue.path) === undefined)
    throw badRequest(param, { zh: `缺少 ${param}`, en: `${param} is missing` }, 'missing_value');
  const message = param === '' ? issue.message : `${param}: ${issue.message}`;
  throw badRequest(param === '' ? undefined : param, { zh: message, en: message }, 'invalid_value');
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((inner, part) => (inner as Record<PropertyKey, unknown> | null)?.[part], value);
}

/** `messages[0].content` */
function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>((joined, part) => {
    if (typeof part === 'number') return `${joined}[${part}]`;
    return joined === '' ? String(part) : `${joined}.${String(part)}`;
  }, '');
}
