/** @file Several seeds as a table: stages side by side; of each figure the mean, its interval, and the range of the runs. */

import { text } from '../i18n.ts';
import { STAGE_NAMES } from '../stages/stage.ts';
import { MEASURE_NAMES, MEASURES } from './measures.ts';
import type { SeedEvaluation, SeedFigure } from './seeds.ts';
import { formatValue, idsOf, multilineTable } from './table.ts';

/** Mean, interval, least and most, each on a line. */
function cellOf(figure: SeedFigure): string {
  const { mean, low, high, least, most } = figure;
  const [middle, from, to, bottom, top] = [mean, low, high, least, most].map((each) =>
    formatValue(each, figure),
  );
  return `${middle}\n[${from}, ${to}]\n${bottom} … ${top}`;
}

export function seedsTable({ runs, stages, leftOut }: SeedEvaluation): string {
  const heading = [
    text({ zh: '指标', en: 'Figure' }),
    ...stages.map(({ stage }) => text(STAGE_NAMES[stage])),
  ];
  const rows = MEASURES.flatMap((measure) => {
    const lists = stages.map(({ figures }) => figures[measure] ?? []);
    const ids = idsOf(lists);
    if (ids.length === 0) return [];
    const own = ids.map((id) => {
      const found = lists.map((list) => list.find((each) => each.id === id));
      const { name } = found.find((each) => each !== undefined)!;
      return [text(name), ...found.map((each) => (each ? cellOf(each) : ''))];
    });
    return [[text(MEASURE_NAMES[measure])], ...own];
  });
  return `${multilineTable([heading, ...rows])}\n\n${legend(runs, leftOut)}`;
}

function legend(runs: SeedEvaluation['runs'], leftOut: number): string {
  const named = runs.map(({ folder, seed }) => `${folder} (${seed})`);
  const n = runs.length;
  const lines = [
    text({
      zh: `${n} 次训练（括号里是种子）：${named.join('，')}。`,
      en: `${n} runs, with their seeds: ${named.join(', ')}.`,
    }),
    text({
      zh: `每格是平均、平均值的 95% 区间（t 分布，${n - 1} 个自由度）、最小 … 最大。`,
      en: `A cell has the mean, its 95% interval (Student's t, ${n - 1} degrees of freedom), the least … the most.`,
    }),
  ];
  if (leftOut > 0) {
    lines.push(
      text({
        zh: `有 ${leftOut} 个指标不是每次训练都有，没有列出；请用同一版本的 npm run eval 重新评测各个文件夹。`,
        en: `${leftOut} figures that not every run has are not shown; evaluate all folders anew with one version of npm run eval.`,
      }),
    );
  }
  return lines.join('\n');
}
