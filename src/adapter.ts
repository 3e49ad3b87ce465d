/**
 * @file Adapters on disk: a folder in PEFT's layout, `adapter_config.json` and `adapter_model.safetensors`.
 *
 * An adapter is of no use beside another base than its own, and nothing would show it but nonsense answers. So the file
 * carries a fingerprint of the base, in metadata that PEFT does not read, and everything else is checked as well.
 */

import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { UserError } from './errors.ts';
import { readTextFile, recoverFolder, writeFolderAtomic } from './files.ts';
import type { Text } from './i18n.ts';
import { fromPeft, ourTargets, peftConfig, peftShapes, toPeft } from './peft.ts';
import { assertFinite, decodeSafetensors, encodeSafetensors } from './safetensors.ts';
import { type BaseModel, type Lora, type LoraOptions, loraParameters } from './stages/lora.ts';
import type { NdArray } from './tensor/index.ts';

const CONFIG = 'adapter_config.json';
const WEIGHTS = 'adapter_model.safetensors';

/** Whether there is an adapter in a folder, whole or damaged. */
export function isAdapter(dir: string): boolean {
  recoverFolder(dir);
  return existsSync(join(dir, CONFIG)) || existsSync(join(dir, WEIGHTS));
}

/** SHA-256 of the names, shapes and bits of weights: equal only for the same weights. */
export function fingerprintOf(params: Readonly<Record<string, NdArray>>): string {
  const hash = createHash('sha256');
  for (const name of Object.keys(params).sort()) {
    const { shape, data } = params[name];
    hash.update(`${name} ${shape}\n`);
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}

/**
 * Write an adapter, both files or nothing.
 * @param base the model that it was trained beside, and its folder
 * @param extra what else to remember, as JSON
 */
export function saveLora(
  dir: string,
  lora: Lora,
  base: BaseModel & { readonly name: string },
  extra: Record<string, unknown> = {},
): void {
  assertFinite(lora.weights, dir);
  const metadata = { format: 'pt', base: fingerprintOf(base.params), extra: JSON.stringify(extra) };
  writeFolderAtomic(dir, {
    [CONFIG]: `${JSON.stringify(peftConfig(lora.options, base.config, base.name), undefined, 2)}\n`,
    [WEIGHTS]: encodeSafetensors(toPeft(lora, base.config), metadata),
  });
}

/** An adapter as it lies in its folder, before it is laid beside a base. */
export interface StoredAdapter {
  readonly dir: string;
  /** The folder of its base, as it was called in training. */
  readonly baseName: string;
  /** Fingerprint of the base; undefined where another program wrote the adapter. */
  readonly base: string | undefined;
  readonly extra: Readonly<Record<string, unknown>>;
  readonly settings: Omit<LoraOptions, 'targetModules'> & { readonly targetNames: readonly string[] };
  readonly tensors: Readonly<Record<string, NdArray>>;
}

/** @throws UserError where there is no adapter, or one that is damaged or of a kind that MyLLM does not know */
export function readAdapter(dir: string): StoredAdapter {
  recoverFolder(dir);
  const missing = [CONFIG, WEIGHTS].find(
    (name) => !statSync(join(dir, name), { throwIfNoEntry: false })?.isFile(),
  );
  if (missing !== undefined) {
    throw new UserError({
      zh: `${dir} 中没有适配器（缺少 ${missing}）；请检查路径，或先运行 npm run train-lora 训练一个`,
      en: `there is no adapter in ${dir} (${missing} is missing); check the path, or train one with npm run train-lora`,
    });
  }
  const { base_model_name_or_path, r, lora_alpha, lora_dropout, target_modules } = parseConfig(
    join(dir, CONFIG),
  );
  const source = join(dir, WEIGHTS);
  const { tensors, metadata } = decodeSafetensors(readFileSync(source), source);
  assertFinite(tensors, source);
  return {
    dir,
    baseName: base_model_name_or_path ?? '',
    base: metadata['base'],
    extra: parseExtra(metadata['extra']),
    settings: {
      r,
      alpha: lora_alpha,
      dropout: lora_dropout,
      targetNames: typeof target_modules === 'string' ? [target_modules] : target_modules,
    },
    tensors,
  };
}

/** What a run remembers is only a convenience: without it, the adapter is as good. */
function parseExtra(json: string | undefined): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(json ?? '{}');
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

const schema = z.looseObject({
  peft_type: z.literal('LORA'),
  base_model_name_or_path: z.string().nullish(),
  r: z.int().min(1),
  lora_alpha: z.number().gt(0),
  lora_dropout: z.number().min(0).lt(1).default(0),
  target_modules: z.union([z.string(), z.array(z.string()).min(1)]),
});

/** Settings of PEFT that change what an adapter computes, and the only value that is known here. */
const KNOWN_VALUES: Readonly<Record<string, unknown>> = {
  bias: 'none',
  fan_in_fan_out: false,
  use_rslora: false,
  use_dora: false,
  rank_pattern: {},
  alpha_pattern: {},
  modules_to_save: null,
  layers_to_transform: null,
};

function parseConfig(path: string): z.infer<typeof schema> {
  const fail = (zh: string, en: string): never => {
    throw new UserError({
      zh: `${path} ${zh}；请重新训练或重新复制这个适配器`,
      en: `${path} ${en}; train the adapter or copy it again`,
    });
  };
  let json: unknown;
  try {
    json = JSON.parse(readTextFile(path));
  } catch (error) {
    if (error instanceof UserError) throw error;
    fail('不是合法的 JSON', 'is not valid JSON');
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const field = String(parsed.error.issues[0].path[0] ?? 'JSON');
    return fail(`中的 ${field} 不合法`, `has no valid ${field}`);
  }
  for (const [name, known] of Object.entries(KNOWN_VALUES)) {
    const found = parsed.data[name] ?? known;
    if (JSON.stringify(found) === JSON.stringify(known)) continue;
    const value = `${name}=${JSON.stringify(found)}`;
    fail(`用到了 MyLLM 没有的 ${value}`, `asks for ${value}, which MyLLM does not have`);
  }
  return parsed.data;
}

/**
 * An adapter for a model.
 * @param adapter a folder, or what `readAdapter` made of one
 * @param name what the model is called in messages
 * @throws UserError where there is no adapter, or a damaged one, or one of another base
 */
export function loadLora(adapter: string | StoredAdapter, model: BaseModel, name: string): Lora {
  const stored = typeof adapter === 'string' ? readAdapter(adapter) : adapter;
  const { dir, baseName, base, tensors, settings } = stored;
  if (base !== undefined && base !== fingerprintOf(model.params)) {
    throw new UserError({
      zh: `适配器 ${dir} 属于另一个基座（${baseName}），不能用在 ${name} 上；请用 --checkpoint 指定它的基座，或在这个基座上重新训练`,
      en: `the adapter ${dir} belongs to another base (${baseName}) and is of no use for ${name}; name its own base with --checkpoint, or train one for this base`,
    });
  }
  const { targetNames, ...rest } = settings;
  const targetModules = ourTargets(model.config, targetNames);
  if (!targetModules) {
    throw mismatch(dir, {
      zh: `的 target_modules（${targetNames.join(', ')}）与 ${name} 的层不符`,
      en: `names target_modules (${targetNames.join(', ')}) that are not the layers of ${name}`,
    });
  }
  const options = { ...rest, targetModules };
  const expected = peftShapes(loraParameters(model.config, options), model.config);
  checkTensors(tensors, expected, options.r, dir, name);
  return fromPeft(tensors, options, model.config);
}

function checkTensors(
  tensors: Readonly<Record<string, NdArray>>,
  expected: Readonly<Record<string, readonly number[]>>,
  r: number,
  dir: string,
  name: string,
): void {
  for (const [key, shape] of Object.entries(expected)) {
    const found = Object.hasOwn(tensors, key) ? tensors[key] : undefined;
    if (!found) throw mismatch(dir, { zh: `缺少张量 "${key}"`, en: `lacks the tensor "${key}"` });
    const rank = found.shape[key.endsWith('.lora_A.weight') ? 0 : 1];
    if (found.shape.length === 2 && rank !== r) {
      throw mismatch(dir, {
        zh: `中张量 "${key}" 的秩是 ${rank}，${CONFIG} 里却写着 r=${r}`,
        en: `holds "${key}" of rank ${rank}, but ${CONFIG} says r=${r}`,
      });
    }
    if (found.dtype !== 'float32' || found.shape.join() !== shape.join()) {
      throw mismatch(dir, {
        zh: `中张量 "${key}" 是 ${found.dtype} [${found.shape}]，${name} 需要 float32 [${shape}]`,
        en: `holds "${key}" as ${found.dtype} [${found.shape}], ${name} needs float32 [${shape}]`,
      });
    }
  }
  const unknown = Object.keys(tensors).find((key) => !Object.hasOwn(expected, key));
  if (unknown !== undefined) {
    throw mismatch(dir, { zh: `含有未知的张量 "${unknown}"`, en: `holds the unknown tensor "${unknown}"` });
  }
}

function mismatch(dir: string, { zh, en }: Text): UserError {
  return new UserError({
    zh: `适配器 ${dir} ${zh}；请重新训练或重新复制它`,
    en: `the adapter ${dir} ${en}; train it or copy it again`,
  });
}
