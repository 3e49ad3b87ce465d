import { cpSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadCheckpoint, loadTrainingState, saveCheckpoint, saveTrainingState } from '../src/checkpoint.ts';
import { PRESETS } from '../src/config.ts';
import { UserError } from '../src/errors.ts';
import { encodeSafetensors } from '../src/safetensors.ts';
import type { NdArray } from '../src/tensor/ndarray.ts';
import { Tokenizer } from '../src/tokenizer.ts';

const tokenizer = Tokenizer.train(['你好，你好，世界'], { vocabSize: 264 });
const config = { ...PRESETS.nano, vocabSize: tokenizer.vocabSize };
const params: Record<string, NdArray> = {
  'embedding.weight': { dtype: 'float32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) },
  'norm.weight': { dtype: 'float32', shape: [2], data: Float32Array.of(1, 1) },
};
const expected = { 'embedding.weight': [2, 2], 'norm.weight': [2] };

let folder: string;
let dir: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'my-llm-checkpoint-'));
  dir = join(folder, 'sft_final');
  saveCheckpoint(dir, { params, config, tokenizer, stage: 'sft', extra: { loss: 1.5 } });
});
afterEach(() => rmSync(folder, { recursive: true }));

function expectFailure(message: RegExp, load: () => unknown = () => loadCheckpoint(dir, expected)): void {
  expect(load).toThrow(UserError);
  expect(load).toThrow(message);
}

test('a checkpoint comes back, and is three files', () => {
  expect(readdirSync(dir).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
  const loaded = loadCheckpoint(dir, expected);
  expect(loaded).toMatchObject({ params, config, stage: 'sft', extra: { loss: 1.5 } });
  expect([...loaded.tokenizer.encode('你好')]).toEqual([...tokenizer.encode('你好')]);
  expect(loadCheckpoint(dir, ({ vocabSize }) => (vocabSize > 0 ? expected : {})).stage).toBe('sft');
  expect(loadCheckpoint(dir).params).toEqual(params);
});

test('an interrupted replacement is finished by the reader', () => {
  cpSync(dir, `${dir}.new`, { recursive: true });
  renameSync(dir, `${dir}.old`);
  expect(loadCheckpoint(dir, expected).params).toEqual(params);
  expect(readdirSync(folder)).toEqual(['sft_final']);
});

test('a missing file is named, with the command that makes it', () => {
  for (const name of ['tokenizer.json', 'config.json', 'model.safetensors']) {
    rmSync(join(dir, name));
    expectFailure(
      new RegExp(`sft_final.${name} is missing; run npm run train -- --out .* \\(without --skip-sft\\)`),
    );
  }
  expectFailure(
    /no-such-folder.checkpoints.rlvf_final.model.safetensors is missing; run .* --out no-such-folder.checkpoints \(without --skip-rlvf\)/,
    () => loadCheckpoint(join('no-such-folder', 'checkpoints', 'rlvf_final')),
  );
});

test('files that are damaged or do not belong together', () => {
  const replace = (name: string, content: string | Uint8Array, message: RegExp): void => {
    const path = join(dir, name);
    const before = readFileSync(path);
    writeFileSync(path, content);
    expectFailure(message);
    expectFailure(new RegExp(name));
    writeFileSync(path, before);
  };
  const [weights, configText] = [
    readFileSync(join(dir, 'model.safetensors')),
    readFileSync(join(dir, 'config.json'), 'utf8'),
  ];
  replace('model.safetensors', weights.subarray(0, weights.length - 4), /cut short/);
  replace('model.safetensors', '', /damaged/);
  replace('config.json', '', /is empty/);
  replace('config.json', configText.slice(0, 20), /not valid JSON/);
  replace('config.json', configText.replace('"numHeads": 2', '"numHeads": 5'), /not divisible by numHeads 5/);
  replace(
    'config.json',
    configText.replace(/"vocabSize": \d+/, '"vocabSize": 300'),
    /has 264 tokens.*vocabSize.*300/,
  );
  replace('tokenizer.json', '{}', /tokenizer.json/);
  const { 'norm.weight': norm, 'embedding.weight': embedding } = params;
  const broken = (
    tensors: Record<string, NdArray>,
    message: RegExp,
    metadata?: Record<string, string>,
  ): void => replace('model.safetensors', encodeSafetensors(tensors, metadata), message);
  broken({ 'norm.weight': norm }, /lacks the tensor "embedding.weight"/);
  broken({ ...params, other: norm }, /unknown tensor "other"/);
  broken(
    { ...params, 'embedding.weight': { ...embedding, shape: [4, 1] } },
    /shape \[4,1\], expected \[2,2\]/,
  );
  broken(
    { ...params, 'norm.weight': { dtype: 'int32', shape: [2], data: Int32Array.of(1, 1) } },
    /as int32, not float32/,
  );
  broken(
    { ...params, 'norm.weight': { ...norm, data: Float32Array.of(1, Number.NaN) } },
    /"norm.weight".*NaN/,
  );
  broken(params, /metadata/, { extra: '{' });
  expect(loadCheckpoint(dir, expected).stage).toBe('sft');
});

test('what cannot be loaded again is not saved, and the old checkpoint stays', () => {
  const nan = {
    ...params,
    'norm.weight': { ...params['norm.weight'], data: Float32Array.of(Number.NaN, 0) },
  };
  expectFailure(/norm.weight/, () => saveCheckpoint(dir, { params: nan, config, tokenizer, stage: 'sft' }));
  expectFailure(/vocabSize/, () =>
    saveCheckpoint(dir, { params, config: PRESETS.nano, tokenizer, stage: 'sft' }),
  );
  expect(() =>
    saveCheckpoint(dir, { params, config, tokenizer, stage: 'x', extra: { a: Infinity } }),
  ).toThrow('Infinity');
  expect(loadCheckpoint(dir, expected).extra).toEqual({ loss: 1.5 });
});

test('a training state comes back exactly', () => {
  const file = join(folder, 'state.safetensors');
  const tensors: Record<string, NdArray> = {
    ...params,
    order: { dtype: 'int32', shape: [3], data: Int32Array.of(2, 0, 1) },
    key: { dtype: 'int64', shape: [], data: BigInt64Array.of(-5n) },
  };
  const state = { step: 7, klCoefficient: 0.1 + 0.2, history: [1e-320, null, '好'] };
  saveTrainingState(file, { tensors, state });
  expect(loadTrainingState(file)).toEqual({ tensors, state });
  expect(() => saveTrainingState(file, { tensors, state: { loss: Number.NaN } })).toThrow('loss is NaN');
  expect(loadTrainingState(file).state).toEqual(state);
  expectFailure(/does not exist/, () => loadTrainingState(join(folder, 'none')));
  writeFileSync(file, readFileSync(file).subarray(0, 50));
  expectFailure(/damaged/, () => loadTrainingState(file));
  writeFileSync(file, encodeSafetensors({}));
  expectFailure(/metadata/, () => loadTrainingState(file));
});
