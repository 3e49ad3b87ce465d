/**
 * @file `npm run distill`: a small model learns from a large one.
 *
 *     npm run distill                                        # nano from checkpoints/sft_final, on the bundled conversations
 *     npm run distill -- --data data/pretrain_data.txt       # on text, of which every token is learned
 *     npm run distill -- --alpha 0                           # the same student without a teacher
 */

import { dirname, join } from 'node:path';
import { type Checkpoint, DEFAULT_FOLDER, STAGE_FOLDERS } from '../checkpoint.ts';
import { PRESETS, type PresetName } from '../config.ts';
import { type DistillRun, type DistillRunOptions, runDistill } from '../distill-run.ts';
import { UserError } from '../errors.ts';
import { readTextFile } from '../files.ts';
import { formatDuration, formatFigure, table } from '../format-text.ts';
import { type Text, text } from '../i18n.ts';
import { gptParameters } from '../model.ts';
import { countParameters, initializeParameters } from '../nn/parameters.ts';
import { checkPair } from '../stages/distill.ts';
import { foldSeed } from '../tensor/index.ts';
import { openRuntime } from './device.ts';
import { addDeviceOptions } from './device-options.ts';
import { choice, createCommand, integer, number, parseCommand, runCommand } from './options.ts';
import { addRunOptions, type RunFlags } from './run-options.ts';
import { withProgress } from './stage-progress.ts';
import { loadData, stageOfContent } from './training-data.ts';
import { print, printSamples } from './training-report.ts';
import { loadWriter } from './writer.ts';

interface Options extends RunFlags {
  readonly teacher: string;
  readonly preset?: PresetName;
  readonly student?: string;
  readonly temperature: number;
  readonly alpha: number;
  readonly epochs: number;
  readonly lr: number;
  readonly batchSize: number;
  readonly data?: string;
  readonly out?: string;
  readonly baseline: boolean;
}

/** Exercises made anew for each epoch, beside the bundled conversations. */
const EXERCISES = 600;

const DISTILLED: Text = { zh: '蒸馏的学生', en: 'Student, distilled' };
const UNTAUGHT: Text = { zh: '只用硬标签的学生', en: 'Student, hard labels alone' };

async function run(options: Options): Promise<void> {
  const { teacher: name, temperature, alpha, epochs, lr: learningRate, batchSize } = options;
  const teacher = loadWriter(name, '--teacher');
  const out = options.out?.replace(/[\\/]+$/, '') ?? join(dirname(name), 'distilled', 'final');
  const { seed, restart = false, saveInterval } = options;
  const settings = { epochs, batchSize, learningRate, temperature, alpha };
  const taught: DistillRunOptions = {
    ...{ teacher, student: studentOf(options, teacher), settings, seed, out, restart, saveInterval },
    ...dataOf(options),
    runtime: await openRuntime(options),
  };
  // The same student, sequences and steps, and nobody to teach it.
  const untaught = { ...taught, settings: { ...settings, temperature: 1, alpha: 0 } };

  const runs: [Text, DistillRun][] = [];
  const train = async (title: Text, settled: DistillRunOptions): Promise<void> => {
    runs.push([title, await withProgress(text(title), (ui) => runDistill(settled, ui))]);
  };
  if (alpha === 0) await train(UNTAUGHT, untaught);
  else {
    if (options.baseline) await train(UNTAUGHT, { ...untaught, out: `${out}_hard_labels` });
    await train(DISTILLED, taught);
  }
  const [, last] = runs[runs.length - 1];
  console.log(`\n${tableOf(teacher, runs)}\n`);
  await printSamples(taught.runtime, last.student);
  print({
    zh: `学生在 ${out}（用时 ${formatDuration(last.seconds)}）。试试：npm run generate -- --checkpoint ${out}`,
    en: `The student is in ${out} (took ${formatDuration(last.seconds)}). Try it: npm run generate -- --checkpoint ${out}`,
  });
}

/** A student that was trained before, or a new one of a preset's size, with the teacher's vocabulary and context. */
function studentOf(options: Options, teacher: Checkpoint): DistillRunOptions['student'] {
  const { teacher: name, student, preset, seed } = options;
  if (student !== undefined && preset !== undefined) {
    throw new UserError({
      zh: '--student 已有自己的规模，与 --preset 互相矛盾，请去掉其中一个',
      en: '--student has a size of its own, which contradicts --preset; remove one of them',
    });
  }
  if (student !== undefined) {
    const found = loadWriter(student, '--student');
    checkPair({ ...found, name: student }, { ...teacher, name });
    return found;
  }
  const { vocabSize, contextLength } = teacher.config;
  const config = { ...PRESETS[preset ?? 'nano'], vocabSize, contextLength };
  return { config, params: initializeParameters(gptParameters(config), foldSeed(seed, 'weights')) };
}

function dataOf({ data }: Options): Pick<DistillRunOptions, 'data' | 'isText' | 'exercises'> {
  if (data === undefined) return { data: loadData([]).sft, isText: false, exercises: EXERCISES };
  const source = { name: data, text: readTextFile(data), own: true };
  return { data: source, isText: stageOfContent(source.text) === 'pretrain', exercises: 0 };
}

/** Teacher and students on the held-out sequences. */
function tableOf(teacher: Checkpoint, runs: readonly (readonly [Text, DistillRun])[]): string {
  const head: readonly Text[] = [
    { zh: '模型', en: 'Model' },
    { zh: '参数', en: 'Parameters' },
    { zh: '留出损失', en: 'Held-out loss' },
    { zh: '与教师的 KL', en: 'KL from the teacher' },
    { zh: '首选词元相同', en: 'Same likeliest token' },
  ];
  const [, { student, evaluations, teacherLoss }] = runs[0];
  const row = (title: Text, { params }: Pick<Checkpoint, 'params'>, figures: readonly string[]): string[] => [
    text(title),
    countParameters(params).toLocaleString('en-US'),
    ...figures,
  ];
  const figuresOf = (moment: 'before' | 'after', of: DistillRun['evaluations']): string[] =>
    of.map((each) => formatFigure(each[moment], each.unit));
  return table([
    head.map(text),
    row({ zh: '教师', en: 'Teacher' }, teacher, [formatFigure(teacherLoss, 'nats'), '0.000', '100.0%']),
    row({ zh: '训练前的学生', en: 'Student, before' }, student, figuresOf('before', evaluations)),
    ...runs.map(([title, each]) => row(title, each.student, figuresOf('after', each.evaluations))),
  ]);
}

function createDistillCommand() {
  const command = createCommand('distill', {
    zh: '知识蒸馏：大模型（教师）教小模型（学生）。中断后再次运行会接着训练。',
    en: 'Distillation: a large model (the teacher) trains a small one (the student). Run again to go on after an interruption.',
  });
  const option = <T>(flags: string, description: Text, parse: (value: string) => T, fallback?: T): void => {
    command.option(flags, text(description), parse, fallback as T);
  };
  option(
    '--teacher <dir>',
    { zh: '教师的检查点文件夹', en: 'checkpoint folder of the teacher' },
    String,
    join(DEFAULT_FOLDER, STAGE_FOLDERS.sft),
  );
  option(
    '--preset <name>',
    {
      zh: '新学生的规模：nano、mini 或 small（默认: nano）；词表和上下文与教师相同',
      en: 'size of a new student: nano, mini or small (default: nano); vocabulary and context are that of the teacher',
    },
    choice(Object.keys(PRESETS) as PresetName[]),
  );
  option(
    '--student <dir>',
    {
      zh: '接着训练这个检查点，而不是新的学生；分词器和上下文要与教师相同',
      en: 'a checkpoint to go on with in the place of a new student; tokenizer and context must be that of the teacher',
    },
    String,
  );
  option(
    '--temperature <x>',
    {
      zh: '比较前，两边的 logits 都除以它；越大，分布越平',
      en: 'the logits of both are divided by it before they are compared; the larger, the flatter',
    },
    number({ above: 0 }),
    1,
  );
  option(
    '--alpha <x>',
    {
      zh: '损失中听教师的比重，0 到 1；其余是数据本身的下一个词元（硬标签）。0 就是没有教师',
      en: "the teacher's share of the loss, 0 to 1; the rest is the next token of the data (hard labels). 0: no teacher",
    },
    number({ min: 0, max: 1 }),
    0.5,
  );
  option('--epochs <n>', { zh: '遍数', en: 'passes over the data' }, integer({ min: 1 }), 10);
  option('--lr <x>', { zh: '峰值学习率', en: 'peak learning rate' }, number({ above: 0, max: 1 }), 2e-3);
  option('--batch-size <n>', { zh: '批大小', en: 'batch size' }, integer({ min: 1 }), 8);
  option(
    '--data <file>',
    {
      zh: '自己的对话（只学回答的词元）或文本（每个词元都学）；不给时用自带的对话',
      en: "your own conversations (the assistant's tokens are learned) or text (every token is); without it, the bundled conversations",
    },
    String,
  );
  option(
    '--out <dir>',
    {
      zh: '学生的文件夹（默认：教师旁边的 distilled/final）；对照在同名加 _hard_labels 的文件夹',
      en: 'folder for the student (default: distilled/final beside the teacher); the baseline goes to the same with _hard_labels',
    },
    String,
  );
  command.option(
    '--no-baseline',
    text({
      zh: '不训练对照（同一个学生、同样的数据和步数，只用硬标签）',
      en: 'do not train the baseline (the same student, data and steps on the hard labels alone)',
    }),
  );
  return addDeviceOptions(addRunOptions(command));
}

await runCommand(async () => {
  await run(await parseCommand<Options>(createDistillCommand()));
});
