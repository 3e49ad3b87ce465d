/** @file The options that say how tokens are chosen and when a text ends, for every command that writes. */

import type { Command } from 'commander';
import { UserError } from '../errors.ts';
import { DEFAULT_MAX_NEW_TOKENS, DEFAULT_SAMPLING } from '../generate.ts';
import { text } from '../i18n.ts';
import { GREEDY, type SamplingOptions } from '../sampling.ts';
import { checkStops } from '../stop-strings.ts';
import { collect, integer, number } from './options.ts';

/** As commander names them. */
export interface SamplingFlags {
  readonly maxLength: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly frequencyPenalty?: number;
  readonly presencePenalty?: number;
  readonly greedy?: boolean;
  readonly stop: readonly string[];
  readonly seed?: number;
}

/** What `--max-length`, `--stop` and the samplers ask for together. */
export interface WritingOptions {
  readonly sampling: SamplingOptions;
  /** Longest answer, in tokens. */
  readonly maxNewTokens: number;
  readonly stop: readonly string[];
}

/** `--greedy` and `--temperature 0` take the best token as it is: penalties then apply only if asked for. */
export function writingOptionsOf(flags: SamplingFlags): WritingOptions {
  const { greedy, temperature, maxLength: maxNewTokens, stop } = flags;
  if (greedy && temperature !== undefined && temperature > 0) {
    throw new UserError({
      zh: `--greedy 总是选最可能的词元，与 --temperature ${temperature} 互相矛盾；请去掉其中一个`,
      en: `--greedy always takes the likeliest token and contradicts --temperature ${temperature}; remove one of them`,
    });
  }
  checkStops(stop);
  const { topK, topP, minP, repetitionPenalty, frequencyPenalty, presencePenalty } = flags;
  const given = { topK, topP, minP, repetitionPenalty, frequencyPenalty, presencePenalty };
  const defaults = greedy || temperature === 0 ? GREEDY : DEFAULT_SAMPLING;
  const chosen = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  const sampling = {
    ...defaults,
    ...chosen,
    temperature: greedy ? 0 : (temperature ?? defaults.temperature),
  };
  return { sampling, maxNewTokens, stop };
}

/** The options that choose or shape a sampler, as they are written, among those that were given. */
export function samplersAmong(flags: SamplingFlags): string[] {
  const { temperature, topK, topP, minP, repetitionPenalty, frequencyPenalty, presencePenalty } = flags;
  const samplers = {
    '--greedy': flags.greedy,
    '--temperature': temperature,
    '--top-k': topK,
    '--top-p': topP,
    '--min-p': minP,
    '--repetition-penalty': repetitionPenalty,
    '--frequency-penalty': frequencyPenalty,
    '--presence-penalty': presencePenalty,
  };
  return Object.entries(samplers).flatMap(([option, value]) => (value === undefined ? [] : [option]));
}

/** A seed for when none was asked for. */
export function anySeed(): number {
  return Math.floor(Math.random() * 2 ** 32);
}

/** @param fallback the seed where none is given; undefined: another one each time */
export function addSamplingOptions(command: Command, fallback: { readonly seed?: number } = {}): Command {
  const defaults = DEFAULT_SAMPLING;
  const byDefault = (value: number): string => text({ zh: `（默认: ${value}）`, en: ` (default: ${value})` });
  return command
    .option(
      '--max-length <n>',
      text({ zh: '回答最多多少个词元', en: 'longest answer, in tokens' }),
      integer({ min: 1 }),
      DEFAULT_MAX_NEW_TOKENS,
    )
    .option(
      '--temperature <t>',
      text({
        zh: '越低越稳，越高越活；0 等于 --greedy',
        en: 'low is steady, high is lively; 0 is --greedy',
      }) + byDefault(defaults.temperature),
      number({ min: 0 }),
    )
    .option(
      '--top-k <k>',
      text({ zh: '只在最可能的 k 个词元中选；0 不限', en: 'choose among the k best tokens; 0: among all' }) +
        byDefault(defaults.topK),
      integer({ min: 0 }),
    )
    .option(
      '--top-p <p>',
      text({
        zh: '只在概率之和达到 p 的最可能词元中选；1 不限',
        en: 'choose among the best tokens whose probabilities reach p; 1: among all',
      }) + byDefault(defaults.topP),
      number({ above: 0, max: 1 }),
    )
    .option(
      '--min-p <p>',
      text({
        zh: '只在概率不低于最可能词元 p 倍的词元中选；0 不限',
        en: 'choose among the tokens at least p times as probable as the best; 0: among all',
      }) + byDefault(defaults.minP),
      number({ min: 0, max: 1 }),
    )
    .option(
      '--repetition-penalty <r>',
      text({
        zh: '压低回答中已出现的字词，数字和标点除外；1 不压低，--greedy 时默认为 1',
        en: 'make words that the answer has used less likely, but not digits or punctuation; 1: off, as with --greedy',
      }) + byDefault(defaults.repetitionPenalty),
      number({ above: 0 }),
    )
    .option(
      '--frequency-penalty <f>',
      text({
        zh: '词元每写过一次，分数减 f，f 在 -2 到 2 之间',
        en: 'take f, from -2 to 2, off the score of a token for each time it was written',
      }) + byDefault(defaults.frequencyPenalty),
      number({ min: -2, max: 2 }),
    )
    .option(
      '--presence-penalty <f>',
      text({
        zh: '写过的词元，分数减 f，f 在 -2 到 2 之间',
        en: 'take f, from -2 to 2, off the score of a token that was written',
      }) + byDefault(defaults.presencePenalty),
      number({ min: -2, max: 2 }),
    )
    .option('--greedy', text({ zh: '总是选最可能的词元', en: 'always take the likeliest token' }))
    .option(
      '--stop <text>',
      text({
        zh: '写到这段文字就停，这段文字不输出；可以多次使用',
        en: 'end the answer before this text; may be given several times',
      }),
      collect,
      [],
    )
    .option(
      '--seed <n>',
      text({
        zh: '随机数种子；同样的种子给出同样的回答',
        en: 'seed of the random numbers; the same seed gives the same answer',
      }),
      integer({ min: 0, max: 2 ** 32 - 1 }),
      fallback.seed,
    );
}
