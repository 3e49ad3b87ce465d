/**
 * @file Whether verses keep the form of Chinese regulated verse: lines of five or seven characters, all alike in a poem.
 */

/** What part of the lines and the poems of a text keeps the form. */
export interface PoemForm {
  readonly lines: number;
  /** Lines of exactly five or seven characters. */
  readonly formedLines: number;
  /** Poems of two lines or more. */
  readonly poems: number;
  /** Poems whose lines are all five characters long, or all seven. */
  readonly formedPoems: number;
}

/** A line ends at punctuation: 秦川雄帝宅，函谷壯皇居。 is two. */
const PUNCTUATION = /[，。！？；：、,.!?;:]/;

/**
 * The lengths of the lines of a poem, in characters: what stands before each punctuation mark. Title and author have no
 * punctuation and are no lines; nor is what was cut off before its mark.
 */
export function lineLengths(poem: string): number[] {
  return poem.split('\n').flatMap((row) =>
    row
      .split(PUNCTUATION)
      .slice(0, -1)
      .map((line) => Array.from(line.trim()).length)
      .filter((length) => length > 0),
  );
}

const isFormed = (length: number): boolean => length === 5 || length === 7;

/** The form of poems, counted. */
export function measureForm(poems: readonly string[]): PoemForm {
  const lengths = poems.map(lineLengths);
  const lines = lengths.flat();
  const whole = lengths.filter(({ length }) => length >= 2);
  return {
    lines: lines.length,
    formedLines: lines.filter(isFormed).length,
    poems: whole.length,
    formedPoems: whole.filter((each) => isFormed(each[0]) && each.every((length) => length === each[0]))
      .length,
  };
}
