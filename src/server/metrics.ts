/** @file What `/metrics` tells: counters and timings in the text format of Prometheus. */

import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { ServedModel } from './models.ts';

export interface Meters {
  /** A request was answered; `seconds` until the answer, or its stream, began. */
  request(route: string, status: number, seconds: number): void;
  /** A text was begun after a prompt of so many tokens. */
  startText(model: string, promptTokens: number): TextClock;
  /** All of it as text. */
  render(): Promise<string>;
  readonly contentType: string;
}

/** Times the tokens of one text. */
export interface TextClock {
  /** A token was written. */
  token(): void;
}

/** Seconds, from a step of a small model to a long wait in the queue. */
const BUCKETS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10];

export function createMeters(models: readonly ServedModel[]): Meters {
  const registers = [new Registry()];
  const counter = (name: string, help: string, ...labelNames: string[]): Counter =>
    new Counter({ name, help, labelNames, registers });
  const histogram = (name: string, help: string, ...labelNames: string[]): Histogram =>
    new Histogram({ name, help, labelNames, buckets: BUCKETS, registers });
  const gauge = (name: string, help: string, read: (model: ServedModel) => number): Gauge =>
    new Gauge({
      name,
      help,
      labelNames: ['model'],
      registers,
      collect() {
        for (const model of models) this.set({ model: model.id }, read(model));
      },
    });

  const requests = counter('myllm_http_requests_total', 'Answered requests', 'route', 'status');
  const requestSeconds = histogram(
    'myllm_http_request_seconds',
    'Time until an answer, or its stream, began',
    'route',
  );
  const promptTokens = counter('myllm_prompt_tokens_total', 'Tokens of prompts', 'model');
  const generatedTokens = counter('myllm_generated_tokens_total', 'Tokens written', 'model');
  const firstToken = histogram(
    'myllm_time_to_first_token_seconds',
    'From the request to its first token, the wait in the queue included',
    'model',
  );
  const nextToken = histogram('myllm_time_per_token_seconds', 'From a token to the next', 'model');
  gauge('myllm_texts_running', 'Texts being written', ({ engine }) => engine.running);
  gauge('myllm_texts_waiting', 'Texts waiting for a slot', ({ engine }) => engine.waiting);
  gauge('myllm_slots', 'Texts that can be written at a time', ({ engine }) => engine.slots);
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory of the process',
    registers,
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });

  return {
    request(route, status, seconds) {
      requests.inc({ route, status });
      requestSeconds.observe({ route }, seconds);
    },
    startText(model, tokens) {
      promptTokens.inc({ model }, tokens);
      let last = performance.now();
      let isFirst = true;
      return {
        token() {
          const now = performance.now();
          generatedTokens.inc({ model });
          (isFirst ? firstToken : nextToken).observe({ model }, (now - last) / 1000);
          last = now;
          isFirst = false;
        },
      };
    },
    render: () => registers[0].metrics(),
    contentType: registers[0].contentType,
  };
}
