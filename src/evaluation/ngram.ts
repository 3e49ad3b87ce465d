/**
 * @file The baseline of a language model: counting. An n-gram model with interpolated modified Kneser-Ney smoothing (Chen
 * & Goodman 1998, "An Empirical Study of Smoothing Techniques for Language Modeling"), the best that there was before
 * neural networks. A neural model that does not beat it on the same tokens has learned nothing but short phrases.
 *
 * The probability of a token is looked up after the longest context that training has seen. From every count a discount
 * `D` is taken, and what is saved goes to the next shorter context:
 *
 *     P(w | h) = (c(h w) - D(c(h w))) / c(h ·) + γ(h) P(w | h without its first token)
 *
 * Two ideas make it good. The discount depends on the count: `D1`, `D2`, `D3` for counts of 1, 2, and 3 or more, computed
 * from how many n-grams occur once, twice, three and four times. And shorter contexts do not count how often a token
 * occurs, but after how many different ones: 萄 may be frequent, but where it does not follow 葡 it is not to be expected.
 */

/** Discounts of counts of 1, 2, and at least 3. */
export type Discounts = readonly [number, number, number];

/** Where the counts of counts do not allow an estimate (a tiny text, or one without rare n-grams). */
const USUAL_DISCOUNTS: Discounts = [0.5, 1, 1.5];

/** What is known of the tokens after one context. */
interface Followers {
  /** Count of each token: how often, for the longest contexts; after how many different tokens, for shorter ones. */
  readonly counts: Map<number, number>;
  /** Sum of the counts. */
  total: number;
  /** How many tokens have a count of 1, 2, and at least 3. */
  readonly kinds: [number, number, number];
}

/** The contexts of one length, by their tokens joined with spaces. */
type Contexts = Map<string, Followers>;

export interface NgramModel {
  readonly order: number;
  /** Probability of `token` after the tokens before it, of which the last `order - 1` are used. */
  probability(before: ArrayLike<number>, token: number): number;
  /** The discounts of each order, from 1. */
  readonly discounts: readonly Discounts[];
}

/**
 * Count the sequences and smooth the counts.
 *
 * @param sequences each with a token that marks its beginning in first place, which is context only and occurs nowhere else
 * @param options.order tokens of the longest n-gram, at least 1
 * @param options.vocabSize tokens that there are: every one of them gets some probability
 */
export function trainNgram(
  sequences: readonly ArrayLike<number>[],
  { order, vocabSize }: { readonly order: number; readonly vocabSize: number },
): NgramModel {
  const levels = countNgrams(sequences, order);
  const discounts = levels.map(estimateDiscounts);
  for (const contexts of levels) for (const followers of contexts.values()) summarize(followers);

  return {
    order,
    discounts,
    probability(before, token) {
      let probability = 1 / vocabSize;
      // From the shortest context to the longest that was seen.
      for (let length = 0; length < order && length <= before.length; length++) {
        const followers = levels[length].get(keyOf(before, before.length - length, before.length));
        if (!followers) break;
        const [d1, d2, d3] = discounts[length];
        const { counts, total, kinds } = followers;
        const count = counts.get(token) ?? 0;
        const kept = count === 0 ? 0 : count - discountOf(count, discounts[length]);
        const saved = d1 * kinds[0] + d2 * kinds[1] + d3 * kinds[2];
        probability = (kept + saved * probability) / total;
      }
      return probability;
    },
  };
}

function keyOf(tokens: ArrayLike<number>, from: number, to: number): string {
  let key = '';
  for (let i = from; i < to; i++) key += ` ${tokens[i]}`;
  return key;
}

/**
 * Followers of the contexts of every length from 0 to `order - 1`. Shorter contexts count the different tokens that stand
 * before context and follower; those at the beginning of a sequence have none, and count how often instead.
 */
function countNgrams(sequences: readonly ArrayLike<number>[], order: number): Contexts[] {
  const levels: Contexts[] = Array.from({ length: order }, () => new Map());
  /** Count once more; whether the follower is new after this context. */
  const count = (length: number, key: string, token: number): boolean => {
    let followers = levels[length].get(key);
    if (!followers) {
      followers = { counts: new Map(), total: 0, kinds: [0, 0, 0] };
      levels[length].set(key, followers);
    }
    const { counts } = followers;
    const before = counts.get(token) ?? 0;
    counts.set(token, before + 1);
    return before === 0;
  };
  for (const tokens of sequences) {
    for (let at = 1; at < tokens.length; at++) {
      let length = Math.min(order - 1, at);
      // An n-gram that is new is one more token before the n-gram that is shorter by its first.
      while (count(length, keyOf(tokens, at - length, at), tokens[at]) && length > 0) length--;
    }
  }
  return levels;
}

function summarize(followers: Followers): void {
  for (const count of followers.counts.values()) {
    followers.total += count;
    followers.kinds[Math.min(count, 3) - 1]++;
  }
}

function discountOf(count: number, [d1, d2, d3]: Discounts): number {
  return count === 1 ? d1 : count === 2 ? d2 : d3;
}

/**
 * The discounts of one order: with `n_i` n-grams of count i and `Y = n1 / (n1 + 2 n2)`,
 * `D_i = i - (i + 1) Y n_{i+1} / n_i`.
 */
function estimateDiscounts(contexts: Contexts): Discounts {
  const n = [0, 0, 0, 0, 0];
  for (const { counts } of contexts.values()) for (const count of counts.values()) if (count <= 4) n[count]++;
  return discountsFrom(n[1], n[2], n[3], n[4]);
}

/** See `estimateDiscounts`. */
export function discountsFrom(n1: number, n2: number, n3: number, n4: number): Discounts {
  const Y = n1 / (n1 + 2 * n2);
  const discounts: Discounts = [1 - (2 * Y * n2) / n1, 2 - (3 * Y * n3) / n2, 3 - (4 * Y * n4) / n3];
  const usable = discounts.every((discount, i) => discount > 0 && discount <= i + 1);
  return usable ? discounts : USUAL_DISCOUNTS;
}

/** Negative log-probability in nats of each token of a sequence but the first, which marks its beginning. */
export function ngramNats(model: NgramModel, tokens: ArrayLike<number>): number[] {
  const all = Array.from(tokens);
  return all.slice(1).map((token, i) => {
    const before = all.slice(Math.max(0, i + 2 - model.order), i + 1);
    return -Math.log(model.probability(before, token));
  });
}
