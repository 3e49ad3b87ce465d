/** @file The shape of a model: its configuration, what makes one valid, and the three sizes that come ready-made. */

import { z } from 'zod';
import { UserError } from './errors.ts';
import type { Text } from './i18n.ts';

/** Everything that the weights depend on. Saved as `config.json` beside them. */
export interface ModelConfig {
  /** Number of tokens of the tokenizer. */
  readonly vocabSize: number;
  /** Longest sequence, in tokens. */
  readonly contextLength: number;
  /** Width of the residual stream, `C`. */
  readonly hiddenSize: number;
  /** Number of transformer blocks. */
  readonly numLayers: number;
  /** Number of query heads, `H`; each is `hiddenSize / numHeads` wide. */
  readonly numHeads: number;
  /**
   * Number of key/value heads: `numHeads` is multi-head attention, 1 is multi-query (Shazeer 2019), between them
   * grouped-query (Ainslie et al. 2023).
   */
  readonly numKvHeads: number;
  /** Width inside the feed-forward layer. */
  readonly intermediateSize: number;
  readonly norm: 'layernorm' | 'rmsnorm';
  readonly activation: 'gelu' | 'swiglu';
  /** Base of the rotary position angles (Su et al. 2021). */
  readonly ropeBase: number;
  /** Probability of dropping an activation while training, in [0, 1). */
  readonly dropout: number;
  /** Feed-forward layers of a block, the experts, at least 2; undefined: one, which every token goes through. */
  readonly numExperts?: number;
  /** How many experts each token goes through. */
  readonly numExpertsPerToken?: number;
}

export type PresetName = 'nano' | 'mini' | 'small';

/** `nano` for tests and first steps, `mini` (about 5M parameters), `small` (Llama form, about 25M). */
export const PRESETS: Readonly<Record<PresetName, ModelConfig>> = {
  nano: {
    vocabSize: 600,
    contextLength: 128,
    hiddenSize: 64,
    numLayers: 2,
    numHeads: 2,
    numKvHeads: 2,
    intermediateSize: 256,
    norm: 'layernorm',
    activation: 'gelu',
    ropeBase: 10000,
    dropout: 0,
  },
  mini: {
    vocabSize: 2000,
    contextLength: 256,
    hiddenSize: 256,
    numLayers: 6,
    numHeads: 8,
    numKvHeads: 8,
    intermediateSize: 1024,
    norm: 'layernorm',
    activation: 'gelu',
    ropeBase: 10000,
    dropout: 0,
  },
  small: {
    vocabSize: 4000,
    contextLength: 256,
    hiddenSize: 512,
    numLayers: 8,
    numHeads: 8,
    numKvHeads: 4,
    intermediateSize: 1408,
    norm: 'rmsnorm',
    activation: 'swiglu',
    ropeBase: 10000,
    dropout: 0,
  },
};

const count = z.int().min(1);

const schema = z.strictObject({
  vocabSize: count,
  contextLength: count,
  hiddenSize: count,
  numLayers: count,
  numHeads: count,
  numKvHeads: count,
  intermediateSize: count,
  norm: z.enum(['layernorm', 'rmsnorm']),
  activation: z.enum(['gelu', 'swiglu']),
  ropeBase: z.number().gt(1),
  dropout: z.number().min(0).lt(1),
  numExperts: z.int().min(2).optional(),
  numExpertsPerToken: count.optional(),
});

const WORDS = { norm: 'layernorm, rmsnorm', activation: 'gelu, swiglu' };

/** What a field must be, for messages. */
function requirement(field: string): Text {
  switch (field) {
    case 'norm':
    case 'activation':
      return { zh: `必须是 ${WORDS[field]} 之一`, en: `must be one of ${WORDS[field]}` };
    case 'ropeBase':
      return { zh: '必须是大于 1 的数', en: 'must be a number above 1' };
    case 'dropout':
      return { zh: '必须是不小于 0 且小于 1 的数', en: 'must be a number of at least 0 and below 1' };
    case 'numExperts':
      return { zh: '必须是不小于 2 的整数', en: 'must be a whole number of at least 2' };
    default:
      return { zh: '必须是正整数', en: 'must be a positive whole number' };
  }
}

/** The contradictions between fields that are valid one by one. */
function findContradiction(config: ModelConfig): Text | undefined {
  const { hiddenSize, numHeads, numKvHeads, vocabSize, numExperts, numExpertsPerToken } = config;
  if (hiddenSize % numHeads !== 0) {
    return {
      zh: `hiddenSize ${hiddenSize} 不能被 numHeads ${numHeads} 整除；请修改其中一个`,
      en: `hiddenSize ${hiddenSize} is not divisible by numHeads ${numHeads}; change one of them`,
    };
  }
  if ((hiddenSize / numHeads) % 2 !== 0) {
    return {
      zh: `每个头的宽度 ${hiddenSize / numHeads}（hiddenSize / numHeads）是奇数，而 RoPE 成对旋转；请改成偶数`,
      en: `the head width ${hiddenSize / numHeads} (hiddenSize / numHeads) is odd, but RoPE rotates pairs; make it even`,
    };
  }
  if (numHeads % numKvHeads !== 0) {
    return {
      zh: `numHeads ${numHeads} 不能被 numKvHeads ${numKvHeads} 整除；请修改其中一个`,
      en: `numHeads ${numHeads} is not divisible by numKvHeads ${numKvHeads}; change one of them`,
    };
  }
  if ((numExperts === undefined) !== (numExpertsPerToken === undefined)) {
    return {
      zh: 'numExperts 和 numExpertsPerToken 只给了一个；请两个都给，或都不给',
      en: 'only one of numExperts and numExpertsPerToken is given; give both or neither',
    };
  }
  if (numExperts !== undefined && numExpertsPerToken! > numExperts) {
    return {
      zh: `numExpertsPerToken ${numExpertsPerToken} 大于 numExperts ${numExperts}；请修改其中一个`,
      en: `numExpertsPerToken ${numExpertsPerToken} is more than numExperts ${numExperts}; change one of them`,
    };
  }
  if (vocabSize < 6 + 256) {
    return {
      zh: `vocabSize ${vocabSize} 放不下 6 个特殊词元和 256 个字节；请至少给 262`,
      en: `vocabSize ${vocabSize} has no room for 6 special tokens and 256 bytes; give at least 262`,
    };
  }
  return undefined;
}

/**
 * Check a configuration, from JSON text or an object.
 * @param json the text of a `config.json`, or the object itself
 * @param source where it comes from (a file or an option), for messages
 * @throws UserError that names `source`, the field and the fix
 */
export function parseModelConfig(json: unknown, source: string): ModelConfig {
  let value: unknown = json;
  if (typeof json === 'string') {
    try {
      value = JSON.parse(json);
    } catch {
      throw new UserError({
        zh: `${source} 不是合法的 JSON；请修正它，或重新生成检查点`,
        en: `${source} is not valid JSON; correct it, or create the checkpoint again`,
      });
    }
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    if (issue.code === 'unrecognized_keys') {
      throw new UserError({
        zh: `${source} 中有未知的字段 ${issue.keys.join(', ')}；请删除或改正拼写`,
        en: `${source} has the unknown field ${issue.keys.join(', ')}; remove it or correct its spelling`,
      });
    }
    const [field] = issue.path;
    if (field === undefined) {
      throw new UserError({
        zh: `${source} 必须是一个含有模型配置的 JSON 对象`,
        en: `${source} must be a JSON object with the configuration of a model`,
      });
    }
    const must = requirement(String(field));
    const found = JSON.stringify((value as Record<string, unknown>)[String(field)]) ?? 'undefined';
    throw new UserError({
      zh: `${source} 的 ${String(field)} ${must.zh}，现在是 ${found}`,
      en: `${String(field)} in ${source} ${must.en}, it is ${found}`,
    });
  }
  const contradiction = findContradiction(parsed.data);
  if (contradiction) {
    throw new UserError({ zh: `${source}：${contradiction.zh}`, en: `${source}: ${contradiction.en}` });
  }
  return parsed.data;
}
