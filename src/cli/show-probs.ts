/** @file What a model had in mind: for each token of an answer, the likeliest tokens and their probabilities. */

import { displayWidth, table, truncateToWidth } from '../format-text.ts';
import type { ScoredToken } from '../generate.ts';
import { text } from '../i18n.ts';
import { likeliest, softmaxOf } from '../sampling.ts';
import type { Tokenizer } from '../tokenizer.ts';
import { green, yellow } from './terminal.ts';

/** A token and how probable it was. */
interface Choice {
  readonly token: number;
  readonly probability: number;
}

/** A token that was chosen, beside those that could have been. */
export interface ChoiceAmong extends Choice {
  /** The likeliest tokens, the best first. */
  readonly likeliest: readonly Choice[];
}

/** The model's own probabilities where a token was chosen: before penalties, temperature and samplers. */
export function choiceAmong({ token, logits }: ScoredToken, count: number): ChoiceAmong {
  const probabilities = softmaxOf(logits);
  const choice = (each: number): Choice => ({ token: each, probability: probabilities[each] });
  return { ...choice(token), likeliest: Array.from(likeliest(logits, count), choice) };
}

/** Widest token shown. */
const TOKEN_WIDTH = 14;

/**
 * A line for each token, with as many alternatives as fit. In colour, a token is green where it was the likeliest and
 * yellow where another was.
 */
export function probabilityTable(
  tokenizer: Tokenizer,
  choices: readonly ChoiceAmong[],
  { columns, color }: { readonly columns: number; readonly color: boolean },
): string {
  const show = (token: number): string => truncateToWidth(tokenizer.display(token), TOKEN_WIDTH);
  const percent = (probability: number): string => `${(100 * probability).toFixed(1)}%`;
  const chosen = ({ token, likeliest: [best] }: ChoiceAmong): string => {
    if (!color) return show(token);
    return (token === best.token ? green : yellow)(show(token));
  };
  const build = (alternatives: number): string => {
    const heading = [text({ zh: '词元', en: 'token' }), text({ zh: '概率', en: 'p' })];
    for (let rank = 1; rank <= alternatives; rank++)
      heading.push(rank === 1 ? text({ zh: '最可能', en: 'likeliest' }) : `${rank}`, '');
    const rows = choices.map((choice) => [
      chosen(choice),
      percent(choice.probability),
      ...choice.likeliest
        .slice(0, alternatives)
        .flatMap(({ token, probability }) => [show(token), percent(probability)]),
    ]);
    return table([heading, ...rows]);
  };
  let alternatives = Math.max(...choices.map((choice) => choice.likeliest.length));
  const isTooWide = (built: string): boolean => displayWidth(built.split('\n', 2)[1]) > columns;
  let built = build(alternatives);
  while (alternatives > 1 && isTooWide(built)) built = build(--alternatives);
  return built;
}
