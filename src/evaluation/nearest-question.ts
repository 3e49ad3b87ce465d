/**
 * @file The baseline of answering: no model at all. The question of the training conversations that looks most like the
 * one asked is found by the pairs of characters that they share, and its answer is given word for word.
 */

export interface KnownAnswer {
  readonly question: string;
  readonly answer: string;
}

/** Pairs of neighbouring characters, punctuation and spaces aside. */
function characterPairs(text: string): Set<string> {
  const characters = Array.from(text.toLowerCase()).filter((each) => /[\p{L}\p{N}]/u.test(each));
  return new Set(characters.slice(1).map((each, i) => characters[i] + each));
}

/** Twice the shared pairs over all pairs (Dice 1945): 1 for the same text, 0 for nothing in common. */
export function similarity(one: ReadonlySet<string>, other: ReadonlySet<string>): number {
  let shared = 0;
  for (const pair of one) if (other.has(pair)) shared++;
  return one.size + other.size === 0 ? 0 : (2 * shared) / (one.size + other.size);
}

/** Answers with that of the most similar known question, the first of equals. */
export function createNearest(known: readonly KnownAnswer[]): (question: string) => string {
  const pairs = known.map(({ question }) => characterPairs(question));
  return (question) => {
    const asked = characterPairs(question);
    let best = 0;
    let likeness = -1;
    pairs.forEach((each, i) => {
      const found = similarity(asked, each);
      if (found > likeness) [best, likeness] = [i, found];
    });
    return known[best]?.answer ?? '';
  };
}
