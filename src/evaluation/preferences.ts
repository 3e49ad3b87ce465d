/** @file What the reward model is for: telling the better of two answers, and knowing how sure it may be. */

import type { Checkpoint } from '../checkpoint.ts';
import type { PreferencePair } from '../data/formats.ts';
import { createScorer } from '../scorer.ts';
import { renderPairs } from '../stages/pairs.ts';
import type { Runtime } from '../tensor/index.ts';
import { brierScore, calibrationError } from './calibration.ts';
import { type Baseline, type Figure, figure } from './figures.ts';
import { bootstrap, jackknife, meanOf, shareOf } from './intervals.ts';

/** Accuracy (by category too), margin and calibration on held-out pairs. */
export async function evaluatePreferences(options: {
  readonly runtime: Runtime;
  readonly checkpoint: Checkpoint;
  readonly pairs: readonly PreferencePair[];
  readonly seed: number;
}): Promise<Figure[]> {
  const { runtime, checkpoint, seed } = options;
  const { config, tokenizer, params: weights } = checkpoint;
  const fits = (pair: PreferencePair): boolean =>
    renderPairs(tokenizer, [pair], config.contextLength).skipped === 0;
  const pairs = options.pairs.filter(fits);
  if (pairs.length === 0) return [];
  const { rendered } = renderPairs(tokenizer, pairs, config.contextLength);
  const length = Math.max(...rendered.flatMap(({ chosen, rejected }) => [chosen.length, rejected.length]));
  const scorer = await createScorer({ runtime, config, weights, length });
  const chosen = await scorer.score(rendered.map((pair) => pair.chosen));
  const rejected = await scorer.score(rendered.map((pair) => pair.rejected));
  await scorer.release();
  const margins = chosen.map((reward, i) => reward - rejected[i]);

  const categories = [...new Set(pairs.map(({ category }) => category))].filter((each) => each !== undefined);
  return [
    figure(
      'pair-accuracy',
      { zh: '判断正确率', en: 'pair accuracy' },
      'share',
      shareOf(margins.map((margin) => margin > 0)),
      { better: 'higher', baselines: [longerIsBetter(pairs)] },
    ),
    ...categories.sort().map((category) => {
      const own = pairs.filter((pair) => pair.category === category);
      const right = margins.filter((_, i) => pairs[i].category === category).map((margin) => margin > 0);
      return figure(
        `pair-accuracy-${category}`,
        { zh: `　其中 ${category}`, en: `  of ${category}` },
        'share',
        shareOf(right),
        { better: 'higher', baselines: [longerIsBetter(own)] },
      );
    }),
    figure('pair-margin', { zh: '平均奖励差', en: 'mean margin' }, 'number', meanOf(margins, seed), {
      better: 'higher',
    }),
    figure(
      'calibration-error',
      { zh: '校准误差 ECE', en: 'calibration error (ECE)' },
      'share',
      // A bootstrap would only add error: bins of repeated pairs are less even.
      jackknife(margins, calibrationError, { least: 0, most: 1 }),
      { better: 'lower' },
    ),
    figure('brier', { zh: 'Brier 分数', en: 'Brier score' }, 'number', bootstrap(margins, brierScore, seed), {
      better: 'lower',
      baselines: [{ name: { zh: '抛硬币', en: 'a coin' }, value: 0.25 }],
    }),
  ];
}

/** The baseline of taking the longer answer for the better one; a tie is half right. */
function longerIsBetter(pairs: readonly PreferencePair[]): Baseline {
  const points = pairs.map(({ chosen, rejected }) => (Math.sign(chosen.length - rejected.length) + 1) / 2);
  return {
    name: { zh: '选更长的回答', en: 'the longer answer' },
    value: points.reduce((sum, each) => sum + each, 0) / points.length,
  };
}
