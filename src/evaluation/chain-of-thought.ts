/**
 * @file What showing the working is worth (chain of thought; Nye et al. 2021, "Show Your Work"; Wei et al. 2022). The same
 * sums are answered twice by greedy decoding: at once, and step by step. No words ask for it: the answer is begun for the
 * model, as `27+15=` or as `27+15：`, which are its own two forms (`src/data/arithmetic.ts`), and it goes on. Only the final
 * number is judged.
 */

import type { Message } from '../chat-format.ts';
import type { Checkpoint } from '../checkpoint.ts';
import { type Fact, fact, factKey } from '../data/arithmetic.ts';
import { isHeldOut } from '../data/tasks.ts';
import type { Text } from '../i18n.ts';
import { GREEDY } from '../sampling.ts';
import { createRandom, foldSeed, type Runtime } from '../tensor/index.ts';
import { mathVerifier } from '../verifiers/math.ts';
import { type Figure, figure } from './figures.ts';
import { shareOf } from './intervals.ts';
import { answerLength, fittingPrompts, respond, textOf } from './responses.ts';

/** How many digits the larger number has, and what training has seen of such sums. */
export const SUM_SIZES = [
  {
    digits: 1,
    name: { zh: '1 位', en: '1 digit' },
    note: { zh: '训练过，只直接答', en: 'trained on, at once only' },
  },
  { digits: 2, name: { zh: '2 位', en: '2 digits' }, note: { zh: '留出', en: 'held out' } },
  { digits: 3, name: { zh: '3 位', en: '3 digits' }, note: { zh: '从没示范过', en: 'never shown' } },
] as const;

export type SumDigits = (typeof SUM_SIZES)[number]['digits'];

/** How an answer goes: the bare result, or step by step. */
export const ANSWER_FORMS = ['direct', 'worked'] as const;
export type AnswerForm = (typeof ANSWER_FORMS)[number];

export const FORM_NAMES: Readonly<Record<AnswerForm, Text>> = {
  direct: { zh: '直接答', en: 'at once' },
  worked: { zh: '先写演算', en: 'with working' },
};

/** A sum or a difference, by the digits of its larger number. */
export interface SumTask {
  readonly fact: Fact;
  readonly digits: SumDigits;
}

/** Sums and differences of each size. */
const PER_SIZE = 100;
/** So many draws for each wanted: of one digit there are only 55 sums and as many differences. */
const DRAWS = 1000;
/** Longest answer in tokens: three columns with what is carried take about 45. */
const MAX_NEW_TOKENS = 64;

/**
 * Sums and differences whose larger number has `digits` digits, half of each, no fact twice.
 *
 * Those of two digits are held out of all training data. Those of one digit cannot be: every working consists of them, so
 * the model has them by heart, and never saw them with a working of their own. No working of three digits is shown in
 * training (a few are among the questions of RLVF); that they are right would mean that the rule was learned for any number
 * of columns.
 *
 * @param told facts that training texts mention; none of two digits or more is asked
 */
export function sumsOf(
  digits: SumDigits,
  options: { readonly count: number; readonly seed: number; readonly told: ReadonlySet<string> },
): SumTask[] {
  const { count, seed, told } = options;
  const random = createRandom(foldSeed(seed, `sums of ${digits} digits`));
  const isUnseen = (key: string): boolean => !told.has(key) && (digits > 2 || isHeldOut(key));
  return (['+', '-'] as const).flatMap((operator) => {
    const found = new Map<string, Fact>();
    for (let draw = 0; draw < DRAWS * count && found.size < count / 2; draw++) {
      const [a, b] = [random.integer(10 ** digits), random.integer(10 ** digits)];
      const [larger, smaller] = [Math.max(a, b), Math.min(a, b)];
      const drawn = operator === '+' ? fact(a, operator, b) : fact(larger, operator, smaller);
      if (String(larger).length !== digits) continue;
      const key = factKey(drawn);
      if (!found.has(key) && (digits === 1 || isUnseen(key))) found.set(key, drawn);
    }
    return [...found.values()].map((each) => ({ fact: each, digits }));
  });
}

/** The sums of all sizes. */
export function chainOfThoughtTasks(seed: number, told: ReadonlySet<string>): SumTask[] {
  return SUM_SIZES.flatMap(({ digits }) => sumsOf(digits, { count: PER_SIZE, seed, told }));
}

/** The beginning of an answer, after which it has to go on in that form. */
export function beginningOf({ left, operator, right }: Fact, form: AnswerForm): string {
  return `${left}${operator}${right}${form === 'direct' ? '=' : '：'}`;
}

/** A sum with the model's answer in each form, beginning included, and whether its final number is right. */
export interface SumAnswers {
  readonly task: SumTask;
  readonly answers: Readonly<Record<AnswerForm, { readonly text: string; readonly right: boolean }>>;
}

/** Answer every sum in both forms; those that leave no room for an answer are left out. */
export async function answerSums(options: {
  readonly runtime: Runtime;
  readonly checkpoint: Checkpoint;
  readonly tasks: readonly SumTask[];
}): Promise<SumAnswers[]> {
  const { runtime, checkpoint } = options;
  const maxNewTokens = answerLength(checkpoint, MAX_NEW_TOKENS);
  const promptOf = ({ fact: { left, operator, right } }: SumTask): Message[] => [
    { role: 'user', content: `${left}${operator}${right}等于多少？` },
  ];
  const beginningLength = ({ fact: asked }: SumTask): number =>
    Math.max(...ANSWER_FORMS.map((form) => checkpoint.tokenizer.encode(beginningOf(asked, form)).length));
  const tasks = options.tasks.filter(
    (task) => fittingPrompts(checkpoint, [promptOf(task)], maxNewTokens + beginningLength(task)).length > 0,
  );
  const answer = async (form: AnswerForm): Promise<SumAnswers['answers'][AnswerForm][]> => {
    const beginnings = tasks.map((task) => beginningOf(task.fact, form));
    const episodes = await respond({
      ...{ runtime, checkpoint, maxNewTokens, beginnings },
      prompts: tasks.map(promptOf),
      sampling: GREEDY,
      seed: 0,
    });
    return tasks.map((task, i) => {
      const text = beginnings[i] + textOf(checkpoint, episodes[i]);
      return { text, right: mathVerifier.isCorrect(text, String(task.fact.result)) };
    });
  };
  const [direct, worked] = [await answer('direct'), await answer('worked')];
  return tasks.map((task, i) => ({ task, answers: { direct: direct[i], worked: worked[i] } }));
}

function idOf(digits: number, form: AnswerForm): string {
  return `sums-${digits}-${form}`;
}

/** Share of right answers by number of digits and form, with Wilson's interval. */
export function chainOfThoughtFigures(results: readonly SumAnswers[]): Figure[] {
  return SUM_SIZES.flatMap(({ digits, name, note }) => {
    const own = results.filter(({ task }) => task.digits === digits);
    if (own.length === 0) return [];
    return ANSWER_FORMS.map((form) => {
      const how = FORM_NAMES[form];
      const label = {
        zh: `${name.zh}数加减（${note.zh}），${how.zh}`,
        en: `sums of ${name.en} (${note.en}), ${how.en}`,
      };
      const share = shareOf(own.map(({ answers }) => answers[form].right));
      return figure(idOf(digits, form), label, 'share', share, { better: 'higher' });
    });
  });
}

/** The figures of a model two by two, as they are to be compared. */
export interface ComparedForms extends Readonly<Record<AnswerForm, Figure>> {
  readonly size: (typeof SUM_SIZES)[number];
}

/** What `chainOfThoughtFigures` gave, by number of digits. */
export function comparedForms(figures: readonly Figure[]): ComparedForms[] {
  return SUM_SIZES.flatMap((size) => {
    const [direct, worked] = ANSWER_FORMS.map((form) =>
      figures.find(({ id }) => id === idOf(size.digits, form)),
    );
    return direct && worked ? [{ size, direct, worked }] : [];
  });
}
