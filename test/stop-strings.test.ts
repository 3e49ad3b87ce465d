import { describe, expect, test } from 'vitest';
import { UserError } from '../src/errors.ts';
import { checkStops, createStopFilter } from '../src/stop-strings.ts';
import { fc } from './support/property.ts';

/** What is shown after each piece, and at the end. */
function shown(stops: readonly string[], pieces: readonly string[]): string[] {
  const filter = createStopFilter(stops);
  return [...pieces.map((piece) => filter.push(piece)), filter.end()];
}

describe('a stop filter', () => {
  test('by hand: what may be the beginning of a stop string waits', () => {
    expect(shown(['###'], ['ab#', '#', 'c#', '##d'])).toEqual(['ab', '', '##c', '', '']);
    expect(shown(['###'], ['ab#', '#'])).toEqual(['ab', '', '##']);
    expect(shown([], ['a', 'b'])).toEqual(['a', 'b', '']);
    expect(shown(['问：'], ['答。\n', '问', '：再来'])).toEqual(['答。\n', '', '', '']);
  });

  test('says when it stopped, and drops what comes after', () => {
    const filter = createStopFilter(['b']);
    expect([filter.push('a'), filter.stopped]).toEqual(['a', false]);
    expect([filter.push('xbc'), filter.stopped]).toEqual(['x', true]);
    expect([filter.push('d'), filter.end()]).toEqual(['', '']);
  });

  test('of several the one that is complete first counts, of those complete together the longest', () => {
    expect(shown(['abcd', 'bc'], ['xabcd'])[0]).toBe('xa');
    expect(shown(['c', 'abc'], ['xabc'])[0]).toBe('x');
  });

  const word = fc.string({ unit: fc.constantFrom('a', 'b', '你', '😀'), maxLength: 12 });
  const stop = fc.string({ unit: fc.constantFrom('a', 'b', '你', '😀'), minLength: 1, maxLength: 4 });

  test('the pieces do not matter, and nothing of a stop string is shown', () => {
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), fc.array(stop, { maxLength: 3 }), (pieces, stops) => {
        const whole = pieces.join('');
        const result = shown(stops, pieces).join('');
        expect(result).toBe(shown(stops, [whole]).join(''));
        expect(result).toBe(shown(stops, Array.from(whole)).join(''));
        expect(whole.startsWith(result)).toBe(true);
        for (const each of stops) expect(result).not.toContain(each);
        const ends = stops
          .filter((each) => whole.includes(each))
          .map((each) => whole.indexOf(each) + each.length);
        if (ends.length === 0) expect(result).toBe(whole);
        else expect(stops).toContain(whole.slice(result.length, Math.min(...ends)));
      }),
    );
  });

  test('nothing is held back longer than needed', () => {
    fc.assert(
      fc.property(fc.array(word, { maxLength: 6 }), stop, (pieces, each) => {
        const filter = createStopFilter([each]);
        let sent = '';
        let received = '';
        for (const piece of pieces) {
          sent += piece;
          received += filter.push(piece);
          if (!filter.stopped) expect(each.startsWith(sent.slice(received.length))).toBe(true);
        }
      }),
    );
  });

  test('an empty stop string is refused', () => {
    expect(() => checkStops(['a', ''])).toThrow(UserError);
    expect(() => checkStops(['a', ''])).toThrow(/--stop/);
    expect(() => checkStops(['a'])).not.toThrow();
  });
});
