/** @file Lines that a person types, with editing and history, or that come through a pipe. */

import { createInterface } from 'node:readline';
import { type Readable, Writable } from 'node:stream';

const PROMPT = '> ';

/** A terminal, or what looks like one. */
export type Screen = Writable & { readonly columns?: number };

/** What a Ctrl-C does: nothing more, a new prompt, or the end. */
export type InterruptAction = 'ignore' | 'prompt' | 'leave';

export interface Lines {
  /** The next line; undefined at the end. */
  next(): Promise<string | undefined>;
  /** Show a line that nobody typed at a prompt as if somebody had; nothing through a pipe. */
  echo(line: string): void;
  close(): void;
}

/**
 * Lines as they are typed or piped in. In a terminal, what is typed while nobody asks for a line is kept and not shown,
 * so that it does not run into the answer; it appears at the next prompt.
 */
export function openLines(
  input: Readable,
  output: Screen,
  terminal: boolean,
  { onInterrupt, onEnd }: { onInterrupt: () => InterruptAction; onEnd: () => void },
): Lines {
  const queue: string[] = [];
  let waiting: ((line: string | undefined) => void) | undefined;
  let ended = false;
  const screen = terminal ? mutableScreen(output, () => waiting !== undefined) : undefined;
  const readline = createInterface({ input, output: screen, terminal, prompt: PROMPT, historySize: 500 });
  const give = (line: string | undefined): void => {
    const receive = waiting;
    waiting = undefined;
    receive?.(line);
  };
  readline.on('line', (line) => {
    if (waiting) give(line);
    else queue.push(line);
  });
  readline.on('close', () => {
    ended = true;
    if (terminal) {
      if (waiting) output.write('\n');
      else onEnd();
    }
    give(undefined);
  });
  readline.on('SIGINT', () => {
    if (waiting && readline.line !== '') {
      // As in a shell: give the line up.
      readline.write(null, { ctrl: true, name: 'e' });
      readline.write(null, { ctrl: true, name: 'u' });
      return;
    }
    const action = onInterrupt();
    if (action === 'leave') readline.close();
    else if (action === 'prompt') readline.prompt();
  });
  const echo = (line: string): void => {
    if (terminal) output.write(`${PROMPT}${line}\n`);
  };
  return {
    echo,
    next() {
      const queued = queue.shift();
      if (queued !== undefined) {
        echo(queued);
        return Promise.resolve(queued);
      }
      if (ended) return Promise.resolve(undefined);
      return new Promise((resolve) => {
        waiting = resolve;
        if (terminal) readline.prompt(true);
      });
    },
    close() {
      readline.close();
      screen?.destroy();
    },
  };
}

/** A screen for readline that shows nothing while `visible` says no. */
function mutableScreen(output: Screen, visible: () => boolean): Writable {
  const screen = new Writable({
    decodeStrings: false,
    write(chunk, _, done) {
      if (visible()) output.write(chunk);
      done();
    },
  });
  const onResize = (): boolean => screen.emit('resize');
  output.on('resize', onResize);
  screen.on('close', () => output.off('resize', onResize));
  return Object.defineProperties(screen, {
    isTTY: { value: true },
    columns: { get: () => output.columns },
  });
}
