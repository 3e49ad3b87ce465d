/** @file What differs between two runs: settings, evaluations side by side, and their curves in one drawing. */

import type { Figure } from '../evaluation/figures.ts';
import { MEASURES } from '../evaluation/measures.ts';
import { withInterval } from '../evaluation/table.ts';
import { formatDuration, formatFigure } from '../format-text.ts';
import { text } from '../i18n.ts';
import type { StageRecord } from '../last-run.ts';
import { STAGE_NAMES, STAGES, type StageName } from '../stages/stage.ts';
import { curvesOf, stepLabel } from './curves.ts';
import { type Block, type Chart, type ReportDocument, section } from './document.ts';
import type { RunRecord } from './run-record.ts';
import { settingsOf } from './settings.ts';

const NONE = '–';

export function compareRuns(a: RunRecord, b: RunRecord): ReportDocument {
  const names = namesOf(a, b);
  return {
    title: text({ zh: `比较 ${names[0]} 和 ${names[1]}`, en: `${names[0]} and ${names[1]} compared` }),
    blocks: [
      ...section(text({ zh: '不同的设置', en: 'Settings that differ' }), settingsSection(a, b, names)),
      ...section(
        text({ zh: '训练结束时的指标', en: 'Figures at the end of training' }),
        stagesSection(a, b, names),
      ),
      ...section(text({ zh: '评测', en: 'Evaluation' }), evaluationSection(a, b, names)),
      ...section(text({ zh: '曲线', en: 'Curves' }), curvesSection(a, b, names)),
    ],
  };
}

/** What another run in the same folder has changed: the settings, what the stages came to, and the evaluation. */
export function changesSince(previous: RunRecord, run: RunRecord): Block[] {
  const names: Names = [text({ zh: '上一次', en: 'Last run' }), text({ zh: '这一次', en: 'This run' })];
  return [
    ...settingsSection(previous, run, names),
    ...stagesSection(previous, run, names),
    ...(previous.evaluation && run.evaluation ? evaluationSection(previous, run, names) : []),
  ];
}

type Names = readonly [string, string];

/** The names of the folders, or their whole paths where the names are the same. */
function namesOf(a: RunRecord, b: RunRecord): Names {
  return a.name === b.name ? [a.folder, b.folder] : [a.name, b.name];
}

function settingsSection(a: RunRecord, b: RunRecord, names: Names): Block[] {
  const [ofA, ofB] = [settingsOf(a), settingsOf(b)];
  const all = [...new Set([...ofA.keys(), ...ofB.keys()])];
  const rows = all
    .map((name) => [name, ofA.get(name) ?? NONE, ofB.get(name) ?? NONE])
    .filter(([, one, other]) => one !== other);
  const same = all.length - rows.length;
  const count: Block = {
    kind: 'paragraph',
    text: text({ zh: `另有 ${same} 项设置相同。`, en: `${same} other settings are the same.` }),
  };
  const head = [text({ zh: '设置', en: 'Setting' }), ...names];
  return rows.length === 0 ? [count] : [{ kind: 'table', head, rows }, count];
}

/** What each stage came to: after training, and the time. */
function stagesSection(a: RunRecord, b: RunRecord, names: Names): Block[] {
  const head = [
    text({ zh: '阶段', en: 'Stage' }),
    text({ zh: '指标', en: 'Figure' }),
    ...names,
    text({ zh: '差', en: 'Difference' }),
  ];
  const rows = STAGES.flatMap((stage) => {
    const [ofA, ofB] = [a, b].map(({ stages }) => stages.find((each) => each.stage === stage));
    return ofA || ofB ? rowsOfStage(stage, ofA, ofB) : [];
  });
  return [{ kind: 'table', head, rows }];
}

function rowsOfStage(stage: StageName, a: StageRecord | undefined, b: StageRecord | undefined): string[][] {
  const byName = ({ evaluations = [] }: Partial<StageRecord>) =>
    new Map(evaluations.map((each) => [text(each.name), each]));
  const [ofA, ofB] = [byName(a ?? {}), byName(b ?? {})];
  const rows = [...new Set([...ofA.keys(), ...ofB.keys()])].map((name) => {
    const [one, other] = [ofA.get(name), ofB.get(name)];
    const { unit } = (one ?? other)!;
    const difference = one && other ? other.after - one.after : undefined;
    const sign = difference !== undefined && difference > 0 ? '+' : '';
    return [
      name,
      formatFigure(one?.after, unit),
      formatFigure(other?.after, unit),
      sign + formatFigure(difference, unit),
    ];
  });
  const time = [a, b].map((each) => (each?.seconds === undefined ? NONE : formatDuration(each.seconds)));
  const all = [...rows, [text({ zh: '用时', en: 'time' }), ...time, '']];
  return all.map((row, i) => [i === 0 ? text(STAGE_NAMES[stage]) : '', ...row]);
}

/** The figures of `npm run eval`, where both runs have been evaluated. */
function evaluationSection(a: RunRecord, b: RunRecord, names: Names): Block[] {
  const without = [a, b].filter(({ evaluation }) => !evaluation).map(({ folder }) => folder);
  if (!a.evaluation || !b.evaluation) {
    const folders = without.join(text({ zh: '、', en: ' and ' }));
    return [
      {
        kind: 'paragraph',
        text: text({
          zh: `${folders} 还没有用 npm run eval 评测过；都评测之后，这里会有更多指标和 95% 区间。`,
          en: `${folders}: not evaluated by npm run eval. When both are, more figures stand here, with 95% intervals.`,
        }),
      },
    ];
  }
  const head = [text({ zh: '指标', en: 'Figure' }), ...names];
  const [ofA, ofB] = [a.evaluation, b.evaluation].map(({ stages }) => figuresOf(stages));
  const rows = STAGES.flatMap((stage) => {
    const [one, other] = [ofA.get(stage) ?? [], ofB.get(stage) ?? []];
    const ids = [...new Set([...one, ...other].map(({ id }) => id))];
    const own = ids.map((id) => {
      const pair = [one, other].map((list) => list.find((each) => each.id === id));
      return [text((pair[0] ?? pair[1])!.name), ...pair.map((each) => (each ? withInterval(each) : NONE))];
    });
    return own.length === 0 ? [] : [[text(STAGE_NAMES[stage])], ...own];
  });
  return [{ kind: 'table', head, rows }];
}

function figuresOf(stages: NonNullable<RunRecord['evaluation']>['stages']): Map<StageName, Figure[]> {
  return new Map(
    stages.map(({ stage, figures }) => [stage, MEASURES.flatMap((measure) => figures[measure] ?? [])]),
  );
}

function curvesSection(a: RunRecord, b: RunRecord, names: Names): Block[] {
  const [ofA, ofB] = [curvesOf(a.metrics), curvesOf(b.metrics)];
  const ids = [...new Set([...ofA, ...ofB].map(({ id }) => id))];
  const charts = ids.map((id): Chart => {
    const found = [ofA, ofB].map((curves) => curves.find((curve) => curve.id === id));
    // A run without the figure keeps its place, so that colours mean the same run everywhere.
    const series = found.map((curve, i) => ({
      name: names[i],
      points: curve?.points ?? [],
      form: 'noisy' as const,
    }));
    return { title: (found[0] ?? found[1])!.title, x: stepLabel(), series };
  });
  return charts.length === 0 ? [] : [{ kind: 'charts', charts }];
}
