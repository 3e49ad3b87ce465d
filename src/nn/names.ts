/** @file A graph has one list of inputs; `weight:` and `batch:` before a name tell what it belongs to. */

/** Entries by `prefix:name`. */
export function prefixed<T>(prefix: string, entries: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(entries).map(([name, entry]) => [`${prefix}:${name}`, entry]));
}

/** The inverse: the entries of a prefix, by their names. */
export function unprefixed<T>(prefix: string, entries: Readonly<Record<string, T>>): Record<string, T> {
  const start = `${prefix}:`;
  return Object.fromEntries(
    Object.entries(entries).flatMap(([key, entry]) =>
      key.startsWith(start) ? [[key.slice(start.length), entry]] : [],
    ),
  );
}
