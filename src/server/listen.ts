/** @file From an app to a port: listening, and stopping without cutting anybody short. */

import type { Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import { UserError } from '../errors.ts';
import type { App } from './app.ts';

export interface Listening {
  /** Such as `http://127.0.0.1:8000`. */
  readonly url: string;
  /**
   * Take no new requests, let those under way end, and close. After so many milliseconds whatever is left is cut off.
   * Returns whether everything ended by itself.
   */
  stop(patience: number): Promise<boolean>;
}

/** Milliseconds within which a request must have arrived completely. */
const REQUEST_TIMEOUT = 30_000;
/** @param port 0 for any that is free @throws UserError if it cannot be had */
export async function listen(
  app: App,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<Listening> {
  const server = createAdaptorServer({
    fetch: app.fetch,
    serverOptions: { requestTimeout: REQUEST_TIMEOUT, headersTimeout: REQUEST_TIMEOUT },
  }) as Server;
  const connections = trackConnections(server);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(describe(error, host, port)));
    server.listen(port, host, resolve);
  });
  const { address, family, port: taken } = server.address() as AddressInfo;
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${taken}`,
    async stop(patience) {
      app.drain();
      let ended = true;
      const timer = setTimeout(() => {
        ended = false;
        server.closeAllConnections();
      }, patience);
      server.close();
      await connections.closeWhenIdle();
      clearTimeout(timer);
      return ended;
    },
  };
}

/**
 * Connections are kept for further requests, and browsers open some in advance. Node's `closeIdleConnections` leaves
 * those alone on which nothing has been asked yet, so requests are counted here.
 */
function trackConnections(server: Server): { closeWhenIdle(): Promise<void> } {
  const requests = new Map<Socket, number>();
  let onEmpty: (() => void) | undefined;
  const closeIdle = (socket: Socket): void => {
    if (onEmpty && requests.get(socket) === 0) socket.destroySoon();
  };
  server.on('connection', (socket: Socket) => {
    requests.set(socket, 0);
    socket.once('close', () => {
      requests.delete(socket);
      // The requests that were under way on it learn of it first.
      if (onEmpty && requests.size === 0) setImmediate(onEmpty);
    });
  });
  server.on('request', ({ socket }: { socket: Socket }, response: ServerResponse) => {
    requests.set(socket, (requests.get(socket) ?? 0) + 1);
    response.once('close', () => {
      if (!requests.has(socket)) return;
      requests.set(socket, requests.get(socket)! - 1);
      closeIdle(socket);
    });
  });
  return {
    closeWhenIdle: () =>
      new Promise((resolve) => {
        onEmpty = resolve;
        if (requests.size === 0) resolve();
        for (const socket of requests.keys()) closeIdle(socket);
      }),
  };
}

function describe(error: NodeJS.ErrnoException, host: string, port: number): unknown {
  switch (error.code) {
    case 'EADDRINUSE':
      return new UserError({
        zh: `端口 ${port} 已被别的程序占用；请用 --port 换一个，或先停掉那个程序`,
        en: `port ${port} is taken by another program; choose another one with --port, or stop that program`,
      });
    case 'EACCES':
      return new UserError({
        zh: `没有权限使用端口 ${port}；请用 --port 换一个 1024 以上的`,
        en: `no permission to use port ${port}; choose one above 1024 with --port`,
      });
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new UserError({
        zh: `--host ${host} 不是这台机器的地址；本机用 127.0.0.1，让别的机器也能访问用 0.0.0.0`,
        en: `--host ${host} is no address of this machine; 127.0.0.1 serves this machine alone, 0.0.0.0 others too`,
      });
    default:
      return error;
  }
}
