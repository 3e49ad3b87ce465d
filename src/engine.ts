/**
 * @file Continuous batching: many texts written at a time, each joining and leaving whenever it likes.
 *
 * A step of the decoder reads all weights once, for one text or for many; so texts should share steps. A batch that
 * starts together and waits for its longest member leaves most of its places empty before the end, and lets those who
 * come later wait. Here the unit of scheduling is the single step (Yu et al. 2022, "Orca"): before each one, waiting
 * texts take the places that have become free.
 *
 *     slot 0  A A A A A D D D ...
 *     slot 1  B B E E E E ...          a letter is a token, a column is a step; D took the place of A, and E that of B
 *     slot 2  C C C C C C C C ...
 *
 * What a text becomes depends on its prompt, its options and its seed alone: the numbers of a row do not depend on the
 * other rows of a batch, and every text has random numbers of its own.
 */

import { beginContinuation, type ContinuationOptions, type Finish } from './continuation.ts';
import type { SharedDecoder } from './decoder.ts';
import type { ScoredToken } from './generate.ts';
import type { Tokenizer } from './tokenizer.ts';

export interface WriteRequest extends Omit<ContinuationOptions, 'tokenizer'> {
  /** Tokens to go on from: at least one, and fewer than the decoder's `maxLength`. */
  readonly prompt: ArrayLike<number>;
  /** Called with each token as it comes. */
  readonly onToken: (token: ScoredToken) => void;
  /** Gives the place, or the wait for one, up at once. */
  readonly signal?: AbortSignal;
}

export interface Engine {
  /** Places for texts that are written at a time. */
  readonly slots: number;
  /** Texts that are taken on at a time, those that wait included. */
  readonly capacity: number;
  /** Longest text in tokens, its prompt included. */
  readonly maxLength: number;
  /** Texts being written. */
  readonly running: number;
  /** Texts waiting for a place. */
  readonly waiting: number;
  /** Whether so many more texts would find a place, or one in the queue. */
  hasRoomFor(count: number): boolean;
  /**
   * Write a text; settles when its last token was given to `onToken`. Rejects with a RangeError where there is no room or
   * the prompt has no length that fits, with a UserError for options out of range, and with the signal's reason when that
   * aborts.
   */
  write(request: WriteRequest): Promise<Finish>;
  /** Reject what is unfinished, and release the decoder. */
  close(): Promise<void>;
}

export interface EngineOptions {
  /** Used by nobody else; a place in its batch is a slot. */
  readonly decoder: SharedDecoder;
  readonly tokenizer: Tokenizer;
  /** Texts that may wait for a place. */
  readonly queue: number;
}

/**
 * So many prompt tokens are read between two steps, the last prompt whole: those who are being written wait no longer for
 * newcomers than for the reading of one long prompt or so.
 */
const PREFILL_TOKENS = 256;

/** A text on its way. */
interface Job {
  readonly request: WriteRequest;
  /** Give the next token on, chosen from these scores. True when it was the last. */
  advance(logits: Float32Array): boolean;
  /** The token that the next step appends. */
  last: number;
  settle(result: { readonly finish: Finish } | { readonly error: unknown }): void;
}

export function createEngine({ decoder, tokenizer, queue }: EngineOptions): Engine {
  const { batchSize: slots, maxLength } = decoder;
  const seats: (Job | undefined)[] = Array.from({ length: slots });
  let waiting: Job[] = [];
  let loop: Promise<void> | undefined;
  let closed = false;
  const running = (): number => seats.filter((seat) => seat !== undefined).length;
  const hasRoomFor = (count: number): boolean => running() + waiting.length + count <= slots + queue;

  /** The lowest free place: the step then runs on as few rows as there are. */
  const freeSlot = (): number => seats.indexOf(undefined);
  const vacate = (slot: number): void => {
    seats[slot] = undefined;
    decoder.dismiss(slot);
  };
  const leave = (job: Job): void => {
    const slot = seats.indexOf(job);
    if (slot >= 0) vacate(slot);
    else waiting = waiting.filter((each) => each !== job);
  };
  const advance = (slot: number, job: Job, logits: Float32Array): void => {
    // It may have left while its scores were computed, which were then appended to nothing.
    if (seats[slot] !== job || job.advance(logits)) vacate(slot);
  };

  const admitWaiting = async (): Promise<void> => {
    for (let read = 0; read < PREFILL_TOKENS && waiting.length > 0 && freeSlot() >= 0; ) {
      const slot = freeSlot();
      const job = waiting.shift()!;
      seats[slot] = job;
      read += job.request.prompt.length;
      advance(slot, job, await decoder.admit(slot, job.request.prompt));
    }
  };
  const stepAll = async (): Promise<void> => {
    const jobs = [...seats];
    const logits = await decoder.step(jobs.map((job) => job?.last ?? -1));
    jobs.forEach((job, slot) => {
      if (job) advance(slot, job, logits[slot]);
    });
  };
  const run = async (): Promise<void> => {
    try {
      while (running() > 0 || waiting.length > 0) {
        await admitWaiting();
        if (running() > 0) await stepAll();
      }
    } catch (error) {
      abandon(error);
    }
    loop = undefined;
  };
  const abandon = (error: unknown): void => {
    for (const job of [...seats, ...waiting]) {
      if (!job) continue;
      leave(job);
      job.settle({ error });
    }
  };

  const start = (
    request: WriteRequest,
    resolve: (finish: Finish) => void,
    reject: (error: unknown) => void,
  ): void => {
    const { prompt, onToken, signal } = request;
    signal?.throwIfAborted();
    if (closed) throw new Error('the engine is closed');
    if (prompt.length === 0 || prompt.length >= maxLength)
      throw new RangeError(`a prompt of ${prompt.length} tokens leaves no room in ${maxLength}`);
    if (!hasRoomFor(1)) throw new RangeError(`all ${slots} places and the queue of ${queue} are taken`);
    const continuation = beginContinuation({ ...request, tokenizer }, maxLength - prompt.length);
    const onAbort = (): void => {
      leave(job);
      job.settle({ error: signal!.reason });
    };
    const job: Job = {
      request,
      last: -1,
      advance(logits) {
        try {
          const piece = continuation.next(logits);
          job.last = piece.token;
          onToken({ ...piece, logits });
          if (piece.finish) job.settle({ finish: piece.finish });
          return piece.finish !== undefined;
        } catch (error) {
          job.settle({ error });
          return true;
        }
      },
      settle(result) {
        signal?.removeEventListener('abort', onAbort);
        if ('finish' in result) resolve(result.finish);
        else reject(result.error);
      },
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    waiting.push(job);
    loop ??= run();
  };

  return {
    slots,
    capacity: slots + queue,
    maxLength,
    get running() {
      return running();
    },
    get waiting() {
      return waiting.length;
    },
    hasRoomFor,
    write: (request) => new Promise((resolve, reject) => start(request, resolve, reject)),
    async close() {
      closed = true;
      abandon(new Error('the engine was closed'));
      await loop;
      await decoder.release();
    },
  };
}
