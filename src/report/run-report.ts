/**
 * @file The report of a run: what was asked for, how it went, and what came of it.
 *
 *     npm run report                       # checkpoints/report.html and checkpoints/report.md
 *     npm run report -- --out my-run
 */

import { type Message, renderConversation } from '../chat-format.ts';
import { ANSWER_FORMS, comparedForms, FORM_NAMES } from '../evaluation/chain-of-thought.ts';
import { evaluationLegend, evaluationRows } from '../evaluation/table.ts';
import { formatDuration, formatFigure } from '../format-text.ts';
import { text } from '../i18n.ts';
import { STAGE_NAMES, type StageName } from '../stages/stage.ts';
import type { Tokenizer } from '../tokenizer.ts';
import { changesSince } from './comparison.ts';
import { bitsPerByteChart, chartOf, curvesOf } from './curves.ts';
import { type BarChart, type Block, type ReportDocument, type ShownToken, section } from './document.ts';
import { longestMerges, oddestMerges, type ShownMerge } from './merges.ts';
import type { LoadedRun, RunRecord } from './run-record.ts';
import { instructive, type RolloutGroup } from './samples.ts';
import { circumstances, modelSettings, type Setting, stageSettings } from './settings.ts';

/** What a report shows beside the record: what the models write, and what they were trained on. */
export interface Specimens {
  readonly prompts: readonly string[];
  /** Answers of the stages that can write, in their order. */
  readonly answers: readonly { readonly stage: StageName; readonly answers: readonly string[] }[];
  readonly rollouts: { readonly stage: StageName; readonly groups: readonly RolloutGroup[] } | undefined;
  readonly conversation: readonly Message[];
  /** Bytes that a token of the training text stands for, on average. */
  readonly bytesPerToken: number;
}

/** Tasks whose answers are shown. */
const SHOWN_TASKS = 6;
const SHOWN_MERGES = 12;

/** @param previous the run that was finished in the same folder before, if there was one */
export function runReport(run: LoadedRun, specimens: Specimens, previous?: RunRecord): ReportDocument {
  const [{ tokenizer }] = Object.values(run.checkpoints);
  return {
    title: text({ zh: `MyLLM 训练报告：${run.name}`, en: `MyLLM training report: ${run.name}` }),
    blocks: [
      ...section(text({ zh: '阶段', en: 'Stages' }), stagesOf(run)),
      ...section(
        text({ zh: '与上一次训练相比', en: 'What changed from the last run' }),
        changesSection(run, previous),
      ),
      ...section(text({ zh: '曲线', en: 'Curves' }), curvesSection(run, specimens)),
      ...section(text({ zh: '评测', en: 'Evaluation' }), evaluationSection(run)),
      ...section(
        text({ zh: '先写演算，还是直接答', en: 'With working, or at once' }),
        chainOfThoughtSection(run),
      ),
      ...section(text({ zh: '各阶段的回答', en: 'Answers of every stage' }), answersSection(specimens)),
      ...section(
        text({ zh: '采样的解答和奖励', en: 'Sampled answers and their rewards' }),
        rolloutSection(specimens),
      ),
      ...section(text({ zh: '损失掩码', en: 'The mask of the loss' }), maskSection(tokenizer, specimens)),
      ...section(text({ zh: '分词器', en: 'Tokenizer' }), tokenizerSection(tokenizer, specimens)),
      ...section(text({ zh: '配置', en: 'Configuration' }), configurationSection(run)),
    ],
  };
}

function stageName(stage: StageName): string {
  return text(STAGE_NAMES[stage]);
}

function paragraph(zh: string, en: string): Block {
  return { kind: 'paragraph', text: text({ zh, en }) };
}

/** What each stage took and changed. */
function stagesOf({ stages }: RunRecord): Block[] {
  const head = [
    { zh: '阶段', en: 'Stage' },
    { zh: '用时', en: 'Time' },
    { zh: '内存', en: 'Memory' },
    { zh: '留出数据上的指标', en: 'On held-out data' },
    { zh: '之前', en: 'Before' },
    { zh: '之后', en: 'After' },
  ].map(text);
  const rows = stages.flatMap(({ stage, seconds = Number.NaN, peakBytes, evaluations }) => {
    const memory = peakBytes === undefined ? '–' : `${(peakBytes / 1e9).toFixed(2)} GB`;
    const first = [stageName(stage), formatDuration(seconds), memory];
    if (evaluations.length === 0) return [[...first, '–', '–', '–']];
    return evaluations.map(({ name, before, after, unit }, i) => [
      ...(i === 0 ? first : first.map(() => '')),
      text(name),
      formatFigure(before, unit),
      formatFigure(after, unit),
    ]);
  });
  const total = formatDuration(stages.reduce((sum, { seconds = Number.NaN }) => sum + seconds, 0));
  return [
    { kind: 'table', head, rows },
    paragraph(
      `一共用时 ${total}。留出的数据没有参加训练。`,
      `${total} in all. Held-out data is not trained on.`,
    ),
  ];
}

function changesSection(run: RunRecord, previous: RunRecord | undefined): Block[] {
  if (!previous) return [];
  const command = `npm run compare -- ${previous.folder} ${run.folder}`;
  const changes = changesSince(previous, run);
  const later =
    previous.evaluation && !run.evaluation
      ? [
          paragraph(
            '上一次训练评测过。运行 npm run eval 再重新生成报告，这里就会有两次评测的对照。',
            'The last run was evaluated. Run npm run eval and make the report again to see both evaluations here.',
          ),
        ]
      : [];
  return [
    paragraph(
      `这个文件夹里上一次训练的权重已被这一次覆盖，它的设置、指标和曲线还在 ${previous.folder}；${command} 把两次的曲线叠在一起。`,
      `The weights of the last run in this folder were replaced by this one; its settings, figures and curves are in ${previous.folder}, and ${command} lays the curves over each other.`,
    ),
    ...changes,
    ...later,
  ];
}

function curvesSection({ metrics, stages }: RunRecord, { bytesPerToken }: Specimens): Block[] {
  const curves = curvesOf(metrics);
  if (curves.length === 0) return [];
  const charts = curves.flatMap((curve) => {
    if (curve.id !== 'pretrain/loss') return [chartOf(curve)];
    const evaluations = stages.find(({ stage }) => stage === 'pretrain')?.evaluations ?? [];
    return [chartOf(curve), bitsPerByteChart(curve.points, bytesPerToken, evaluations)];
  });
  return [
    { kind: 'charts', charts },
    paragraph(
      '浅色是每一步的值，深色是滑动平均。每一步只看一小批数据，所以起伏很大。',
      'Pale: each step. Strong: the moving average. A step sees one small batch, so its figures vary much.',
    ),
  ];
}

function evaluationSection({ evaluation }: RunRecord): Block[] {
  if (!evaluation) {
    return [
      paragraph(
        '还没有评测这些检查点，或评测之后它们又变了；运行 npm run eval 再重新生成报告，这里就会有各阶段的对照和 95% 区间。',
        'These checkpoints have not been evaluated, or have changed since. Run npm run eval and make the report again to see the stages beside their baselines here, with 95% intervals.',
      ),
    ];
  }
  const [head, ...rows] = evaluationRows(evaluation.stages);
  return [
    { kind: 'table', head, rows },
    { kind: 'paragraph', text: evaluationLegend(evaluation.sets) },
  ];
}

/** The same sums answered in two ways, by number of digits: a drawing for each stage. */
function chainOfThoughtSection({ evaluation }: RunRecord): Block[] {
  const charts = (evaluation?.stages ?? []).flatMap(({ stage, figures }): BarChart[] => {
    const forms = comparedForms(figures.chainOfThought ?? []);
    if (forms.length === 0) return [];
    return [
      {
        title: stageName(stage),
        series: ANSWER_FORMS.map((form) => text(FORM_NAMES[form])),
        groups: forms.map(({ size, ...figureOf }) => ({
          name: `${text(size.name)}\n${text(size.note)}`,
          bars: ANSWER_FORMS.map((form) => figureOf[form]),
        })),
      },
    ];
  });
  if (charts.length === 0) return [];
  return [
    paragraph(
      '同样的加减法各答两次，都用贪心解码，只看最后的答案：一次替模型写好开头 27+15=，它只能直接答；一次写好 27+15：，它就先写演算。按较大的数的位数分组，竖线是 95% 区间。一位数的事实在训练里背过，但从没带过演算；两位数的题没有训练过，演算的每一步却都背过；三位数训练里从未有过，看的是它学会了竖式的规则，还是只记住了两列的样子。',
      'The same sums are answered twice by greedy decoding, and only the final number counts: once the answer is begun as 27+15=, so that it must come at once, once as 27+15：, after which the model writes the working. Groups are by the digits of the larger number, lines are 95% intervals. One-digit facts were learned by heart, but never with working; sums of two digits are held out, though every step of their working was learned; of three digits there was nothing in training, so they show whether it learned the rule or the look of two columns.',
    ),
    { kind: 'bars', charts },
  ];
}

function answersSection({ prompts, answers }: Specimens): Block[] {
  if (answers.length === 0) return [];
  const head = [text({ zh: '提示', en: 'Prompt' }), ...answers.map(({ stage }) => stageName(stage))];
  const rows = prompts.map((prompt, i) => [prompt, ...answers.map((each) => each.answers[i].trim() || '–')]);
  return [
    { kind: 'table', head, rows },
    paragraph(
      '都用贪心解码，每次取概率最大的词元，最多 64 个。只预训练过的模型不会对话，它把提示当作文章的开头接着写。',
      'All greedy: always the likeliest token, 64 of them at most. The pretrained model knows no conversations and goes on with the prompt as a text.',
    ),
  ];
}

function rolloutSection({ rollouts }: Specimens): Block[] {
  if (!rollouts || rollouts.groups.length === 0) return [];
  const answers = rollouts.groups.flatMap((group) => group.answers);
  const right = answers.filter(({ correct }) => correct).length;
  const name = stageName(rollouts.stage);
  const groups = instructive(rollouts.groups, SHOWN_TASKS).map(({ task, answers: sampled }) => ({
    question: task.prompt,
    expected: task.expected,
    answers: sampled.map(({ text: answer, reward, correct }) => ({
      text: answer.trim(),
      reward,
      right: correct,
    })),
  }));
  return [
    paragraph(
      `${name}的模型对 ${rollouts.groups.length} 道留出的题各采样几次（温度 1），验证器判 ${answers.length} 个解答里有 ${right} 个正确。下面是其中几道：RLVF 用同一道题的奖励互相比较，只有有对有错的题才教得了它。`,
      `The model of ${name} answered ${rollouts.groups.length} held-out tasks several times each at temperature 1; the verifier found ${right} of ${answers.length} answers right. Some of the tasks follow. RLVF compares the rewards of one task with each other, so it learns only from tasks with right and wrong answers.`,
    ),
    { kind: 'answers', groups },
  ];
}

/** A conversation as its tokens, with those marked that fine-tuning learns to write. */
export function maskedTokens(tokenizer: Tokenizer, conversation: readonly Message[]): ShownToken[] {
  const { ids, mask } = renderConversation(tokenizer, conversation);
  return Array.from(ids, (id, i) => {
    const shown = tokenizer.display(id);
    return { text: shown, learned: mask[i] === 1, endsLine: shown.endsWith('\\n') };
  });
}

function maskSection(tokenizer: Tokenizer, { conversation }: Specimens): Block[] {
  const tokens = maskedTokens(tokenizer, conversation);
  if (tokens.length === 0) return [];
  const learned = tokens.filter((token) => token.learned).length;
  return [
    paragraph(
      `训练数据里的一段对话，一格是一个词元。监督微调的损失只算在标出的 ${learned} 个词元上（共 ${tokens.length} 个）：模型要学的是怎样回答、怎样结束，不是怎样提问。`,
      `A conversation of the training data, a box for each token. The loss of fine-tuning is on the ${learned} marked tokens alone (of ${tokens.length}): the model is to learn how to answer and how to stop, not how to ask.`,
    ),
    { kind: 'tokens', tokens },
  ];
}

function tokenizerSection(tokenizer: Tokenizer, { bytesPerToken }: Specimens): Block[] {
  const head = [
    { zh: '词元', en: 'Token' },
    { zh: '由来', en: 'Made of' },
    { zh: '字节', en: 'Bytes' },
    { zh: '第几个学到', en: 'Learned as no.' },
  ].map(text);
  const table = (merges: readonly ShownMerge[]): Block => ({
    kind: 'table',
    head,
    rows: merges.map(({ token, parts, bytes, rank }) => [token, parts.join(' + '), `${bytes}`, `${rank}`]),
  });
  const odd = oddestMerges(tokenizer, SHOWN_MERGES);
  const { length } = tokenizer.merges;
  return [
    paragraph(
      `${tokenizer.vocabSize} 个词元，其中 ${length} 个是合并得来的；训练文本里平均每个词元 ${bytesPerToken.toFixed(2)} 字节。最长的是：`,
      `${tokenizer.vocabSize} tokens, ${length} of them learned by merging; in the training text a token stands for ${bytesPerToken.toFixed(2)} bytes on average. The longest:`,
    ),
    table(longestMerges(tokenizer, SHOWN_MERGES)),
    ...(odd.length === 0
      ? []
      : [
          paragraph(
            '最奇怪的是这些：合并只认识字节，所以有的词元停在一个汉字的中间。尖括号里是十六进制的字节。',
            'The oddest: merging knows bytes only, so some tokens end in the middle of a character. Bytes in angle brackets are hexadecimal.',
          ),
          table(odd),
        ]),
  ];
}

function configurationSection(run: RunRecord): Block[] {
  const line = (settings: readonly Setting[]): string =>
    settings.map(([name, value]) => `${name} ${value}`).join(text({ zh: '，', en: ', ' }));
  const name = text({ zh: '名称', en: 'Name' });
  const value = text({ zh: '值', en: 'Value' });
  const stage = text({ zh: '阶段', en: 'Stage' });
  const heads = [stage, text({ zh: '设置', en: 'Settings' }), text({ zh: '在哪里训练', en: 'Trained on' })];
  const rows = run.stages.map((each) => [
    stageName(each.stage),
    line(stageSettings(each)) || '–',
    circumstances(each)
      .map((pair) => pair.join(': '))
      .join('\n') || '–',
  ]);
  return [
    { kind: 'table', head: [name, value], rows: modelSettings(run) },
    { kind: 'table', head: heads, rows },
  ];
}
