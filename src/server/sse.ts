/** @file Server-sent events: an answer that is sent piece by piece, each as a line `data: {...}` and an empty line. */

import { errorBody, toApiError } from './errors.ts';

/**
 * An answer that `produce` sends event by event; `data: [DONE]` follows the last one. The status was told before the
 * first event, so an error that comes later is told as an event, after which the stream ends.
 *
 * @param onError told of an error, unless the client has gone
 */
export function eventStream(
  signal: AbortSignal,
  produce: (send: (event: object) => void) => Promise<void>,
  onError: (error: unknown) => void,
): Response {
  const encoder = new TextEncoder();
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      const write = (data: string): void => {
        if (!signal.aborted) controller.enqueue(encoder.encode(`data: ${data}\n\n`));
      };
      // Not awaited: a stream is not read before its start has ended.
      void produce((event) => write(JSON.stringify(event)))
        .then(() => write('[DONE]'))
        .catch((error) => {
          if (signal.aborted) return;
          onError(error);
          write(JSON.stringify(errorBody(toApiError(error))));
        })
        .finally(() => {
          if (!signal.aborted) controller.close();
        });
    },
  });
  return new Response(stream, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      // Proxies that collect an answer before they pass it on leave this one alone.
      'x-accel-buffering': 'no',
      'transfer-encoding': 'chunked',
    },
  });
}
