/**
 * @file What every stage is given and gives back. The loops themselves differ, and are read in their own files.
 *
 * A stage computes; it does not touch files or the terminal. What it wants to report or to keep goes through
 * `StageIo`, so that the same loop runs from the command line, in a browser, and in a test.
 */

import type { ModelConfig } from '../config.ts';
import { UserError } from '../errors.ts';
import type { Text } from '../i18n.ts';
import { type Breakdown, type LargestWeight, largestWeight } from '../nn/breakdown.ts';
import type { StepResult, TrainState } from '../nn/train-step.ts';
import type { NdArray, Runtime } from '../tensor/index.ts';
import type { Tokenizer } from '../tokenizer.ts';

export const STAGES = ['pretrain', 'sft', 'reward', 'rlhf', 'rlvf'] as const;
export type StageName = (typeof STAGES)[number];

/** What each stage is called. */
export const STAGE_NAMES: Readonly<Record<StageName, Text>> = {
  pretrain: { zh: '预训练', en: 'Pretrain' },
  sft: { zh: '监督微调', en: 'SFT' },
  reward: { zh: '奖励模型', en: 'Reward model' },
  rlhf: { zh: '强化学习', en: 'RLHF' },
  rlvf: { zh: '可验证奖励', en: 'RLVF' },
};

/** Everything that an interrupted stage needs to end as if it had not been interrupted. */
export interface SavedState {
  readonly tensors: Record<string, NdArray>;
  /** Small things as JSON: step, positions in the data, states of random streams, controllers. */
  readonly state: Record<string, unknown>;
}

/** Figures of one step. */
export interface StepRecord {
  /** Steps done, counting this one. */
  readonly step: number;
  readonly total: number;
  /** Tokens processed in this step. */
  readonly tokens: number;
  readonly lr: number;
  readonly loss: number;
  readonly gradientNorm: number;
  /** Further figures of the stage. */
  readonly figures?: Readonly<Record<string, number>>;
}

export interface StageIo {
  /** What an interrupted run of this stage with the same settings had saved. */
  readonly resumed?: SavedState;
  /** Report a step. */
  log(record: StepRecord): void;
  /** Report something in words. */
  note(message: Text): void;
  /** Offer the state for saving. Called between steps; `make` is called only when it is time to save. */
  offer(make: () => SavedState): void;
}

/** What all stages need. */
export interface StageContext {
  readonly runtime: Runtime;
  readonly config: ModelConfig;
  readonly tokenizer: Tokenizer;
  readonly seed: number;
  readonly io: StageIo;
}

/** One figure on held-out data, before and after the stage. */
export interface Evaluation {
  readonly name: Text;
  /** Undefined where the stage starts from nothing. */
  readonly before?: number;
  readonly after: number;
  readonly unit: 'nats' | 'bits/byte' | 'share' | 'number';
}

export interface StageResult {
  readonly weights: Record<string, NdArray>;
  readonly evaluations: readonly Evaluation[];
  /** Why the stage ended before its time, with what it had reached until then. */
  readonly stoppedEarly?: Text;
}

/** Throws a UserError when a step went wrong, with the tensor where it began: what stands on disk is still good. */
export function checkStep(
  stage: string,
  step: number,
  { loss, gradientNorm, breakdown }: Omit<StepResult, 'metrics'>,
): void {
  if (Number.isFinite(loss) && Number.isFinite(gradientNorm)) return;
  const [what, value] = Number.isFinite(loss) ? ['gradientNorm', gradientNorm] : ['loss', loss];
  const where = breakdown ? describeBreakdown(breakdown) : { zh: '', en: '' };
  throw new UserError({
    zh: `阶段 ${stage} 的第 ${step} 步 ${what} 变成了 ${value}${where.zh}；请调低 --lr 后重新运行，之前的检查点都完好。`,
    en: `In step ${step} of stage ${stage} the ${what} became ${value}${where.en}; lower --lr and run again, earlier checkpoints are intact.`,
  });
}

/** The error of a loss that has exploded: it is a number still, but the weights are lost. */
export function divergenceError(
  stage: string,
  { step, loss, median }: { readonly step: number; readonly loss: number; readonly median: number },
  weights: Readonly<Record<string, NdArray>>,
): UserError {
  const { zh, en } = describeWeight(largestWeight(weights));
  const [now, before] = [loss, median].map((value) => value.toPrecision(3));
  return new UserError({
    zh: `阶段 ${stage} 的第 ${step} 步 loss 从 ${before}（中位数）跳到了 ${now}（${zh}）；请调低 --lr 后重新运行，之前的检查点都完好。`,
    en: `In step ${step} of stage ${stage} the loss jumped to ${now} from a median of ${before} (${en}); lower --lr and run again, earlier checkpoints are intact.`,
  });
}

function describeBreakdown({ gradient, largest }: Breakdown): Text {
  const weight = describeWeight(largest);
  if (gradient === undefined) return { zh: `（${weight.zh}）`, en: ` (${weight.en})` };
  return {
    zh: `（最先出现在 ${gradient} 的梯度里；${weight.zh}）`,
    en: ` (first in the gradient of ${gradient}; ${weight.en})`,
  };
}

/** Where to look for what went wrong. */
function describeWeight({ name, size }: LargestWeight): Text {
  const value = size.toPrecision(2);
  return { zh: `绝对值最大的权重 ${value} 在 ${name} 中`, en: `the largest weight, ${value}, is in ${name}` };
}

/** Throws a UserError when a figure of a finished stage is no number: its weights are of no use. */
export function checkEvaluations(stage: string, evaluations: readonly Evaluation[]): void {
  const broken = evaluations.find(
    ({ before = 0, after }) => !Number.isFinite(before) || !Number.isFinite(after),
  );
  if (!broken) return;
  const { before = 0, after, name } = broken;
  const value = Number.isFinite(after) ? before : after;
  throw new UserError({
    zh: `阶段 ${stage} 结束时“${name.zh}”是 ${value}；请调低 --lr 后重新运行，之前的检查点都完好。`,
    en: `At the end of stage ${stage} the figure "${name.en}" is ${value}; lower --lr and run again, earlier checkpoints are intact.`,
  });
}

/** Throws a UserError when there is nothing to train on because every record is longer than the context. */
export function requireFitting(count: number, option: Text, contextLength: number): void {
  if (count > 0) return;
  throw new UserError({
    zh: `${option.zh} 中没有一条数据放得进 ${contextLength} 个词元的上下文；请换用更短的数据。`,
    en: `Nothing in ${option.en} fits into the context of ${contextLength} tokens; give shorter records.`,
  });
}

/** Flatten a training state into named arrays and JSON. */
export function saveTrainState(
  { weights, means, variances, step }: TrainState,
  more: Readonly<Record<string, unknown>> = {},
): SavedState {
  const tensors: Record<string, NdArray> = {};
  for (const [kind, arrays] of Object.entries({ weights, means, variances })) {
    for (const [name, array] of Object.entries(arrays)) tensors[`${kind}:${name}`] = array;
  }
  return { tensors, state: { ...more, step } };
}

/** The inverse of `saveTrainState`. */
export function loadTrainState({ tensors, state }: SavedState): TrainState {
  const pick = (kind: string): Record<string, NdArray> =>
    Object.fromEntries(
      Object.entries(tensors)
        .filter(([name]) => name.startsWith(`${kind}:`))
        .map(([name, array]) => [name.slice(kind.length + 1), array]),
    );
  return {
    weights: pick('weights'),
    means: pick('means'),
    variances: pick('variances'),
    step: Number(state['step']),
  };
}
