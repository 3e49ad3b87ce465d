import { describe, expect, test } from 'vitest';
import { lineLengths, measureForm } from '../docs/examples/poem-form.ts';

describe('the form of poems', () => {
  test('counts the characters before each mark, without title, author and what was cut off', () => {
    expect(lineLengths('登高处 其一\n无名\n山高月小天，水落石出边。\n白云飞去何时还？𠮷')).toEqual([5, 5, 7]);
    expect(lineLengths('春眠\n')).toEqual([]);
  });

  test('gives the share of lines, and of poems of one length', () => {
    const five = '题\n名\n山高月小天，水落石出边。';
    const mixed = '题\n名\n山高月小天，白云飞去何时还。';
    const free = '题\n名\n念天地之悠悠，独怆然。';
    expect(measureForm([five, mixed, free, '只有一句话。'])).toEqual({
      lines: 7,
      formedLines: 5,
      poems: 3,
      formedPoems: 1,
    });
  });
});
