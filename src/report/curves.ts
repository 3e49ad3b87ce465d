/** @file Which figures of a run are worth a drawing, and how they are called. */

import { type Text, text } from '../i18n.ts';
import type { TimedRecord } from '../metrics.ts';
import { type Evaluation, STAGE_NAMES, STAGES, type StageName } from '../stages/stage.ts';
import type { Chart, Series } from './document.ts';
import type { Point } from './scale.ts';

/** A figure of a stage over its steps. */
export interface Curve {
  /** The same for the same figure of every run. */
  readonly id: string;
  readonly title: string;
  readonly points: readonly Point[];
}

const LOSS = { zh: '损失', en: 'loss' };
const REWARD = { zh: '平均奖励', en: 'mean reward' };
const KL = { zh: '与起点模型的 KL（nats）', en: 'KL from the model at the start (nats)' };
const LENGTH = { zh: '回答长度（词元）', en: 'length of responses (tokens)' };

const FIGURES: Readonly<Record<StageName, Readonly<Record<string, Text>>>> = {
  pretrain: { loss: { zh: '损失（nats/词元）', en: 'loss (nats per token)' } },
  sft: { loss: { zh: '回答的损失（nats/词元）', en: 'loss on answers (nats per token)' } },
  reward: {
    loss: LOSS,
    accuracy: { zh: '训练偏好对的正确率', en: 'accuracy on training pairs' },
    rehearsalLoss: { zh: '复习好回答的损失（nats/词元）', en: 'loss of rehearsal (nats per token)' },
  },
  rlhf: {
    reward: REWARD,
    kl: KL,
    entropy: { zh: '熵（nats）', en: 'entropy (nats)' },
    responseLength: LENGTH,
  },
  rlvf: {
    reward: REWARD,
    accuracy: { zh: '采样回答的正确率', en: 'accuracy of sampled answers' },
    kl: KL,
    responseLength: LENGTH,
  },
};

/** The curves of a run, in the order of the stages. */
export function curvesOf(metrics: readonly TimedRecord[]): Curve[] {
  return STAGES.flatMap((stage) => {
    const records = metrics.filter((record) => record.stage === stage);
    return Object.entries(FIGURES[stage]).flatMap(([figure, name]): Curve[] => {
      const points = records.flatMap((record): Point[] => {
        const value = record[figure];
        return typeof value === 'number' && Number.isFinite(value) ? [[record.step, value]] : [];
      });
      if (points.length === 0) return [];
      return [{ id: `${stage}/${figure}`, title: titleOf(stage, name), points }];
    });
  });
}

export function stepLabel(): string {
  return text({ zh: '步', en: 'step' });
}

function titleOf(stage: StageName, name: Text): string {
  return text({
    zh: `${STAGE_NAMES[stage].zh}：${name.zh}`,
    en: `${STAGE_NAMES[stage].en}: ${name.en}`,
  });
}

/**
 * Bits per byte of pretraining: the loss over ln 2 and over the bytes that a token stands for, which does not depend on
 * the tokenizer. Beside it, what was measured on held-out text before and after.
 */
export function bitsPerByteChart(
  loss: readonly Point[],
  bytesPerToken: number,
  evaluations: readonly Evaluation[],
): Chart {
  const heldOut = evaluations.find(({ unit }) => unit === 'bits/byte');
  const series: Series[] = [
    {
      name: text({ zh: '训练文本', en: 'training text' }),
      points: loss.map(([step, nats]): Point => [step, nats / Math.LN2 / bytesPerToken]),
      form: 'noisy',
    },
  ];
  if (heldOut) {
    const before: Point[] = heldOut.before === undefined ? [] : [[loss[0][0], heldOut.before]];
    series.push({
      name: text({ zh: '留出文本，之前和之后', en: 'held-out text, before and after' }),
      points: [...before, [loss[loss.length - 1][0], heldOut.after]],
      form: 'marks',
    });
  }
  const title = titleOf('pretrain', { zh: '每字节比特', en: 'bits per byte' });
  return { title, x: stepLabel(), series };
}

export function chartOf({ title, points }: Curve): Chart {
  return { title, x: stepLabel(), series: [{ name: title, points, form: 'noisy' }] };
}
