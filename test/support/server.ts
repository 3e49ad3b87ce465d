/** @file A server with a tiny model, on a free port of this machine. */

import { type AppOptions, createApp } from '../../src/server/app.ts';
import { listen } from '../../src/server/listen.ts';
import { closeModel, openModels, type ServedAdapter, type ServedModel } from '../../src/server/models.ts';
import { createNodeRuntime } from '../../src/tensor/runtime/node.ts';
import { tinyCheckpoint } from './writer.ts';

export interface TestServer {
  readonly url: string;
  readonly model: ServedModel;
  /** Errors that clients were told of as internal. */
  readonly defects: unknown[];
  /** Post JSON, or a body as it is. */
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Response>;
  /** Stop, giving answers under way so many milliseconds. */
  stop(patience?: number): Promise<boolean>;
}

export async function startServer(
  options: Partial<AppOptions> & {
    slots?: number;
    queue?: number;
    stage?: string;
    contextLength?: number;
    adapters?: readonly ServedAdapter[];
  } = {},
): Promise<TestServer> {
  const { slots = 4, queue = 64, stage = 'sft', contextLength = 128, adapters = [] } = options;
  const runtime = await createNodeRuntime({ threads: 1 });
  const checkpoint = tinyCheckpoint(stage, contextLength);
  const models = await openModels({ id: `tiny-${stage}`, runtime, checkpoint, slots, queue }, adapters);
  const defects: unknown[] = [];
  const app = createApp({ models, onError: (error) => defects.push(error), ...options });
  const server = await listen(app, { host: '127.0.0.1', port: 0 });
  return {
    url: server.url,
    model: models[0],
    defects,
    post: (path, body, headers = {}) =>
      fetch(`${server.url}${path}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...headers },
        body:
          typeof body === 'string' || body instanceof Uint8Array ? (body as BodyInit) : JSON.stringify(body),
      }),
    async stop(patience = 2000) {
      const ended = await server.stop(patience);
      for (const model of models) await closeModel(model);
      return ended;
    },
  };
}
