/**
 * @file `npm run eval`: what a training run has come to, on data that no stage has trained on.
 *
 *     npm run eval                                             # all checkpoints, side by side
 *     npm run eval -- --checkpoint checkpoints/rlvf_final      # what that stage is for
 *     npm run eval -- --json > evaluation.json
 *     npm run eval -- --runs seed-1 seed-2 seed-3              # runs of different seeds together
 */

import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Checkpoint, DEFAULT_FOLDER, loadCheckpoint } from '../checkpoint.ts';
import { type ModelConfig, PRESETS, type PresetName } from '../config.ts';
import { UserError } from '../errors.ts';
import { type EvaluationQuestions, parseQuestions } from '../evaluation/judging.ts';
import { keepEvaluation } from '../evaluation/kept-evaluation.ts';
import { COMPANIONS, MEASURES, PURPOSES } from '../evaluation/measures.ts';
import { evaluateRun } from '../evaluation/run.ts';
import { seedsTable } from '../evaluation/seeds-table.ts';
import { evaluationTable } from '../evaluation/table.ts';
import { readTextFile } from '../files.ts';
import { formatDuration } from '../format-text.ts';
import { text } from '../i18n.ts';
import { RECIPES, type Recipe } from '../recipes.ts';
import { readSeedRuns } from '../report/seed-runs.ts';
import { loadStages } from '../run-folder.ts';
import { STAGES, type StageName } from '../stages/stage.ts';
import { openRuntime } from './device.ts';
import { addDeviceOptions, type DeviceFlags } from './device-options.ts';
import { collect, createCommand, integer, parseCommand, runCommand } from './options.ts';
import { addFillOption } from './placeholders.ts';
import { loadData } from './training-data.ts';
import { loadRewardModel, loadWriter } from './writer.ts';

interface Options extends DeviceFlags {
  readonly checkpoint?: string;
  readonly all?: boolean;
  readonly out?: string;
  readonly data: readonly string[];
  readonly fill: readonly string[];
  readonly json?: boolean;
  readonly runs: readonly string[];
  readonly seed: number;
}

const WEIGHTS = 'model.safetensors';

/** What several runs have come to, from the evaluations that are kept in their folders. */
function showRuns({ runs, json, checkpoint, all, out, data }: Options): void {
  if (checkpoint !== undefined || all || out !== undefined || data.length > 0) {
    throw new UserError({
      zh: '--runs 只读各个文件夹里已有的 evaluation.json，不能与 --checkpoint、--all、--out、--data 同用，请去掉它们；还没有评测的文件夹，请先用 npm run eval -- --out 文件夹 评测',
      en: '--runs reads the evaluation.json that each folder has and goes with none of --checkpoint, --all, --out and --data, leave them out; a folder that is not evaluated yet is by npm run eval -- --out FOLDER',
    });
  }
  const evaluation = readSeedRuns(runs);
  console.log(json ? JSON.stringify(evaluation) : seedsTable(evaluation));
}

async function run(options: Options): Promise<void> {
  const { all, json, seed } = options;
  if (options.runs.length > 0) return showRuns(options);
  if (options.checkpoint !== undefined && all) {
    throw new UserError({
      zh: '--checkpoint 只评测一个检查点，--all 评测全部，请只留一个；要评测另一个文件夹里的全部检查点，请用 --out 指定它',
      en: '--checkpoint evaluates one checkpoint, --all every one: keep one of them; --out names the folder of --all',
    });
  }
  const startedAt = performance.now();
  const given = options.checkpoint?.replace(/[\\/]+$/, '');
  const dir = given !== undefined && basename(given) === WEIGHTS ? dirname(given) : given;
  const out = options.out ?? (dir === undefined ? DEFAULT_FOLDER : dirname(dir));
  const only = dir === undefined ? undefined : loadOne(dir);
  const checkpoints: Partial<Record<StageName, Checkpoint>> = only
    ? { ...loadStages(out, COMPANIONS[only.stage]), [only.stage]: only.checkpoint }
    : loadStages(out, STAGES);
  if (Object.keys(checkpoints).length === 0) {
    throw new UserError({
      zh: `${out} 中没有可以评测的检查点；请先运行 npm run train，或用 --out 指定检查点所在的文件夹`,
      en: `${out} has no checkpoints to evaluate; run npm run train first, or name the folder that holds them with --out`,
    });
  }
  const say = (message: string): unknown => process.stderr.write(`${message}\n`);
  const evaluation = await evaluateRun({
    runtime: await openRuntime(options),
    checkpoints,
    measures: only ? PURPOSES[only.stage] : MEASURES,
    stages: only && [only.stage],
    data: loadData(options.data, options.fill),
    questions: loadQuestions(),
    recipe: recipeOf(Object.values(checkpoints)[0].config),
    judgeFolder: join(out, 'eval', 'judge'),
    seed,
    say: (message) => say(text(message)),
  });
  if (!only) keepEvaluation(out, evaluation, checkpoints);
  const seconds = formatDuration((performance.now() - startedAt) / 1000);
  say(text({ zh: `用时 ${seconds}`, en: `Took ${seconds}` }));
  console.log(json ? JSON.stringify(evaluation) : `\n${evaluationTable(evaluation)}`);
}

/** A checkpoint in whatever folder, and the stage that made it. */
function loadOne(dir: string): { readonly stage: StageName; readonly checkpoint: Checkpoint } {
  const found = loadCheckpoint(dir).stage;
  const stage = STAGES.find((each) => each === found);
  if (stage === undefined) {
    throw new UserError({
      zh: `${dir} 没有写明是哪个阶段的检查点（现在是“${found}”），不知道该评测什么；请换用训练得到的检查点`,
      en: `${dir} does not say which stage made it (it says "${found}"), so there is no telling what to measure; name a checkpoint of a training`,
    });
  }
  return { stage, checkpoint: stage === 'reward' ? loadRewardModel(dir, dir) : loadWriter(dir) };
}

function loadQuestions(): EvaluationQuestions {
  return parseQuestions(readTextFile(fileURLToPath(new URL('../../data/eval_data.json', import.meta.url))));
}

/** The recipe of the preset that a model is of, or is next to in width. */
function recipeOf({ hiddenSize }: ModelConfig): Recipe {
  const distance = (name: PresetName): number => Math.abs(Math.log(PRESETS[name].hiddenSize / hiddenSize));
  const names = Object.keys(PRESETS) as PresetName[];
  return RECIPES[names.reduce((best, name) => (distance(name) < distance(best) ? name : best))];
}

await runCommand(async () => {
  const command = createCommand('eval', {
    zh: '在任何阶段都没有训练过的数据上评测检查点，旁边是对照和 95% 区间',
    en: 'Evaluate checkpoints on data that no stage trains on, beside baselines, with 95% intervals',
  })
    .option(
      '--checkpoint <dir>',
      text({
        zh: '只评测这个检查点，只看它那个阶段的指标',
        en: 'evaluate this checkpoint alone, by the figures of its stage',
      }),
    )
    .option(
      '--all',
      text({
        zh: '评测文件夹中的所有检查点，各阶段并排（没有 --checkpoint 时就是这样）',
        en: 'evaluate every checkpoint in the folder, side by side (what is done without --checkpoint)',
      }),
    )
    .option(
      '--out <dir>',
      text({
        zh: `检查点所在的文件夹，裁判也保存在其中的 eval/judge（默认: --checkpoint 所在的文件夹，或 ${DEFAULT_FOLDER}）`,
        en: `folder of the checkpoints; the judge is kept in its eval/judge (default: that of --checkpoint, or ${DEFAULT_FOLDER})`,
      }),
    )
    .option(
      '--data <[stage=]file...>',
      text({
        zh: '训练时用过的自己的数据，写法与训练相同：评测用其中留出的部分',
        en: 'your own data, if it was trained on, given as in training: its held-out part is used',
      }),
      collect,
      [],
    )
    .option(
      '--runs <dir...>',
      text({
        zh: '几次种子不同的训练：每个指标的平均、最小、最大和平均值的 95% 区间，取自各文件夹的 evaluation.json',
        en: 'runs of different seeds: of every figure the mean, the least, the most and a 95% interval of the mean, from the evaluation.json of each folder',
      }),
      collect,
      [],
    )
    .option('--json', text({ zh: '只打印一份 JSON', en: 'print one JSON document' }))
    .option(
      '--seed <n>',
      text({ zh: '采样、重抽样和裁判的随机种子', en: 'random seed of sampling, resampling and the judge' }),
      integer({ min: 0, max: 2 ** 31 - 1 }),
      1,
    );
  await parseCommand(addDeviceOptions(addFillOption(command)).action(run));
});
