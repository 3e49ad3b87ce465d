/** @file A command of `src/cli` in the process of the test, where its coverage counts. */

import { Readable } from 'node:stream';
import { vi } from 'vitest';

/** Thrown in the place of `process.exit`. */
export class Exit extends Error {
  readonly code: unknown;

  constructor(code: unknown) {
    super(`exit ${code}`);
    this.code = code;
  }
}

/** What is printed while `main` runs; `process.exit` throws `Exit`. */
export async function printed(
  main: () => Promise<unknown>,
  onWrite: (chunk: string) => void = () => {},
): Promise<string> {
  let output = '';
  const write = (chunk: string): true => {
    output += chunk;
    onWrite(chunk);
    return true;
  };
  const spies = [
    vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => write(String(chunk))),
    vi.spyOn(console, 'log').mockImplementation((line) => void write(`${line}\n`)),
    vi.spyOn(process, 'exit').mockImplementation((code) => {
      throw new Exit(code);
    }),
  ];
  try {
    await main();
    return output;
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

const EVENTS = ['uncaughtException', 'unhandledRejection'];

/**
 * Run a command that is expected to succeed, and return what it prints.
 * @param name file in `src/cli`
 * @param input what is piped in
 */
export async function runHere(name: string, args: readonly string[], input = ''): Promise<string> {
  const { argv } = process;
  const stdin = Object.getOwnPropertyDescriptor(process, 'stdin')!;
  const listeners = EVENTS.map((event) => process.listeners(event as 'exit'));
  process.argv = [process.execPath, name, ...args, '--lang', 'en'];
  Object.defineProperty(process, 'stdin', { configurable: true, value: Readable.from([Buffer.from(input)]) });
  vi.resetModules();
  try {
    const output = await printed(() => import(`../../src/cli/${name}.ts`));
    if (process.exitCode) throw new Error(`${name} ${args.join(' ')} failed`);
    return output;
  } finally {
    process.argv = argv;
    process.exitCode = undefined;
    Object.defineProperty(process, 'stdin', stdin);
    process.stdout.removeAllListeners('error');
    EVENTS.forEach((event, i) => {
      for (const each of process.listeners(event as 'exit'))
        if (!listeners[i].includes(each)) process.off(event, each);
    });
  }
}
