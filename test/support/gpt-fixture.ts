/** @file The models of `scripts/fixtures/gpt.py`, and what they say to the ids that come with them. */

import { readFileSync } from 'node:fs';
import type { ModelConfig } from '../../src/config.ts';
import { GPT } from '../../src/model.ts';
import type { Parameters } from '../../src/nn/parameters.ts';
import { decodeSafetensors } from '../../src/safetensors.ts';
import { fromNdArray, type NdArray } from '../../src/tensor/index.ts';

export interface GptFixture {
  readonly config: ModelConfig;
  readonly params: Record<string, NdArray>;
  /** int32 `[B, T]`. */
  readonly ids: NdArray;
}

export function readGptFixture(name: string): GptFixture {
  const path = new URL(`../fixtures/gpt/${name}.safetensors`, import.meta.url);
  const { tensors, metadata } = decodeSafetensors(readFileSync(path), `${name}.safetensors`);
  const parameters = Object.entries(tensors).filter(([key]) => key.startsWith('parameter.'));
  return {
    config: JSON.parse(metadata['fixture']).config,
    params: Object.fromEntries(parameters.map(([key, value]) => [key.slice('parameter.'.length), value])),
    ids: tensors['ids'],
  };
}

/** Logits `[B * T, V]`. */
export function logitsOf({ config, ids }: GptFixture, parameters: Parameters): NdArray {
  const model = new GPT(parameters, config);
  return model.logits(model.forward(fromNdArray(ids)).hidden).value;
}
