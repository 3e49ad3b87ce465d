/**
 * @file Beam search: look for the text that is most probable as a whole, by following the best few at a time.
 *
 *     npm run generate -- --prompt "你好" --beams 4
 *
 * Greedy decoding takes the best next token and may have to pay for it later. To compare all texts is out of the
 * question: there are V^n of length n. Beam search is what lies between: it keeps the `width` most probable beginnings,
 * extends each by every token, and keeps the best `width` of these again.
 *
 * A text grows less probable with every token, so scores are compared by their mean: the log-probability divided by
 * length^α (Wu et al. 2016, with the simpler form that most programs use today).
 */

import type { Decoder } from './decoder.ts';
import { checkPrompt } from './generate.ts';
import { likeliest, softmaxOf } from './sampling.ts';

/** A text that is being considered. */
export interface Hypothesis {
  readonly tokens: readonly number[];
  /** Of all its tokens together, in nats. */
  readonly logProbability: number;
  /** Whether it is complete, rather than cut off. */
  readonly ended: boolean;
}

export interface BeamSearchOptions {
  /** Its batch size is the width of the beam. */
  readonly decoder: Decoder;
  readonly prompt: ArrayLike<number>;
  /** Longest continuation in tokens, at least 1. */
  readonly maxNewTokens: number;
  /** Whether a text is complete with its last token. */
  readonly ends: (tokens: readonly number[]) => boolean;
  /** α: 0 compares log-probabilities, which favours short texts; 1, as when not given, their mean a token. */
  readonly lengthPenalty?: number;
}

/** What hypotheses of different lengths are compared by. */
export function scoreOf({ tokens, logProbability }: Hypothesis, lengthPenalty: number): number {
  return logProbability / tokens.length ** lengthPenalty;
}

/** An extension of a hypothesis by one token. */
interface Extension extends Hypothesis {
  /** Which of the hypotheses it extends. */
  readonly parent: number;
}

/** The most probable extensions, at most `count` of each hypothesis, the best first. */
function extend(
  beams: readonly Hypothesis[],
  logits: readonly Float32Array[],
  { count, ends }: { readonly count: number; readonly ends: BeamSearchOptions['ends'] },
): Extension[] {
  const extensions = beams.flatMap(({ tokens, logProbability }, parent) => {
    const probabilities = softmaxOf(logits[parent]);
    return Array.from(likeliest(logits[parent], count), (token) => {
      const extended = [...tokens, token];
      return {
        parent,
        tokens: extended,
        logProbability: logProbability + Math.log(probabilities[token]),
        ended: ends(extended),
      };
    });
  });
  return extensions.sort((a, b) => b.logProbability - a.logProbability);
}

/**
 * The best texts found, at most as many as the beam is wide, the best first.
 * @throws UserError if the prompt leaves no room in the context
 */
export async function beamSearch(options: BeamSearchOptions): Promise<Hypothesis[]> {
  const { decoder, prompt, maxNewTokens, ends, lengthPenalty = 1 } = options;
  const { batchSize: width, maxLength } = decoder;
  checkPrompt(prompt.length, maxLength);
  const limit = Math.min(maxNewTokens, maxLength - prompt.length);
  const best = (all: readonly Hypothesis[]): Hypothesis[] =>
    all.toSorted((a, b) => scoreOf(b, lengthPenalty) - scoreOf(a, lengthPenalty)).slice(0, width);

  let beams: Hypothesis[] = [{ tokens: [], logProbability: 0, ended: false }];
  let finished: Hypothesis[] = [];
  let logits = await decoder.prefill([prompt]);
  for (let length = 1; ; length++) {
    // Of twice as many some may end, and enough are left to go on.
    const extensions = extend(beams, logits, { count: 2 * width, ends });
    finished = best([...finished, ...extensions.filter(({ ended }) => ended)]);
    const open = extensions.filter(({ ended }) => !ended).slice(0, width);
    if (length >= limit) return best([...finished, ...open]);
    if (open.length === 0 || isSettled(finished, open[0])) return finished;
    decoder.reorder(open.map(({ parent }) => parent));
    logits = await decoder.step(open.map(({ tokens }) => tokens[length - 1]));
    beams = open;
  }

  /** Whether no open text can still come among the finished: at best its remaining tokens are certain. */
  function isSettled(done: readonly Hypothesis[], mostProbable: Hypothesis): boolean {
    if (done.length < width) return false;
    const bound = mostProbable.logProbability / limit ** lengthPenalty;
    return bound <= scoreOf(done[width - 1], lengthPenalty);
  }
}
