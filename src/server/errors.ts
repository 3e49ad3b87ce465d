/** @file Errors as OpenAI's API tells them: a status, and `{"error": {message, type, param, code}}`. */

import { UserError } from '../errors.ts';
import { type Text, text } from '../i18n.ts';

export interface ApiErrorDetails {
  /** What a program can tell errors apart by, such as `model_not_found`. */
  readonly code?: string;
  /** The field of the request that is at fault, such as `messages[0].content`. */
  readonly param?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What the client is told; `message` is one sentence that names the fix, with what it quotes of the request on one line. */
export class ApiError extends Error {
  readonly status: number;
  readonly details: ApiErrorDetails;

  constructor(status: number, message: Text, details: ApiErrorDetails = {}) {
    super(escapeControls(text(message)));
    this.name = 'ApiError';
    this.status = status;
    this.details = details;
  }
}

/** Line breaks and the like as JSON writes them: `\n`, `\u0000`. */
const escapeControls = (message: string): string =>
  message.replace(/\p{Cc}/gu, (control) => JSON.stringify(control).slice(1, -1));

/** A mistake of the client in a field of its request. */
export function badRequest(param: string | undefined, message: Text, code?: string): ApiError {
  return new ApiError(400, message, { param, code });
}

/**
 * What the client is told of any error. A `UserError` was caused by the request (a prompt too long, an option out of
 * range); anything else that is no `ApiError` is a defect of the server, whose details are nobody's business.
 */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof UserError) return badRequest(undefined, { zh: error.message, en: error.message });
  return new ApiError(500, {
    zh: '服务器内部错误；请再试一次，仍不行就看服务器的输出',
    en: 'internal error of the server; try again, and look at its output if that does not help',
  });
}

/** The body of an answer that tells an error. */
export function errorBody({ status, message, details }: ApiError): object {
  const type = status === 429 ? 'rate_limit_error' : status >= 500 ? 'server_error' : 'invalid_request_error';
  return { error: { message, type, param: details.param ?? null, code: details.code ?? null } };
}
