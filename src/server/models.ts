/** @file The models that a server has: each a set of weights with an engine that writes and an embedder. */

import type { Checkpoint } from '../checkpoint.ts';
import { createDecoder } from '../decoder.ts';
import { createEmbedder, type Embedder } from '../embedder.ts';
import { createEngine, type Engine } from '../engine.ts';
import { GREEDY } from '../sampling.ts';
import { type Lora, mergeLora } from '../stages/lora.ts';
import { createRandom, type Runtime } from '../tensor/index.ts';
import { SPECIAL, type Tokenizer } from '../tokenizer.ts';
import { ApiError } from './errors.ts';

export interface ServedModel {
  readonly id: string;
  /** The model that it was adapted from, for one with an adapter. */
  readonly parent: string | undefined;
  /** Seconds since 1970. */
  readonly created: number;
  readonly tokenizer: Tokenizer;
  /** Whether it only continues texts, because it was never taught to converse. */
  readonly raw: boolean;
  readonly engine: Engine;
  readonly embedder: Embedder;
}

export interface ServedModelOptions {
  readonly id: string;
  readonly runtime: Runtime;
  readonly checkpoint: Pick<Checkpoint, 'params' | 'config' | 'tokenizer' | 'stage'>;
  /** Texts that are written at a time. */
  readonly slots: number;
  /** Texts that may wait for that. */
  readonly queue: number;
}

/** A name and an adapter that is to be served under it. */
export interface ServedAdapter {
  readonly id: string;
  readonly lora: Lora;
}

/**
 * Open a base, and beside it a model for each adapter: the base's weights with the update added in. All other weights are
 * the very arrays of the base. Nothing of an adapter is compiled before its first request.
 */
export async function openModels(
  options: ServedModelOptions,
  adapters: readonly ServedAdapter[],
): Promise<ServedModel[]> {
  const models = [await openModel(options)];
  for (const { id, lora } of adapters)
    models.push(
      await createModel({ ...options, id, checkpoint: mergeLora(options.checkpoint, lora) }, options.id),
    );
  return models;
}

/** Make a model ready to answer; what it needs for a first short answer is compiled now, the rest when it is needed. */
export async function openModel(options: ServedModelOptions): Promise<ServedModel> {
  const model = await createModel(options);
  await model.engine.write({
    prompt: [SPECIAL.eos],
    maxNewTokens: 2,
    sampling: GREEDY,
    random: createRandom(0),
    stopTokens: [],
    onToken: () => {},
  });
  return model;
}

async function createModel(options: ServedModelOptions, parent?: string): Promise<ServedModel> {
  const { id, runtime, checkpoint, slots, queue } = options;
  const { config, params: weights, tokenizer, stage } = checkpoint;
  const smallerBatches = [1, 4, 16, 64].filter((size) => size < slots);
  const decoder = await createDecoder({ runtime, config, weights, batchSize: slots, smallerBatches });
  return {
    id,
    parent,
    created: Math.floor(Date.now() / 1000),
    tokenizer,
    raw: stage === 'pretrain',
    engine: createEngine({ decoder, tokenizer, queue }),
    embedder: createEmbedder({ runtime, config, weights }),
  };
}

export async function closeModel({ engine, embedder }: ServedModel): Promise<void> {
  await engine.close();
  await embedder.release();
}

/** The model of a request; the first one when it names none. @throws ApiError 404 for an unknown one */
export function findModel(models: readonly ServedModel[], id: string | null | undefined): ServedModel {
  const found = id == null ? models[0] : models.find((model) => model.id === id);
  if (found) return found;
  const known = models.map((model) => model.id).join(', ');
  throw new ApiError(
    404,
    {
      zh: `没有名为 ${JSON.stringify(id)} 的模型；这里有 ${known}`,
      en: `there is no model ${JSON.stringify(id)}; there is ${known}`,
    },
    { param: 'model', code: 'model_not_found' },
  );
}

/** As `/v1/models` tells of a model. */
export function describeModel({ id, parent, created, engine }: ServedModel): object {
  return {
    id,
    object: 'model',
    created,
    owned_by: 'my-llm',
    parent: parent ?? null,
    max_model_len: engine.maxLength,
  };
}
