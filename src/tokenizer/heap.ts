/** @file A binary heap: the item that comes first is always at hand, in O(log n) for each push and pop. */

export class Heap<Item> {
  private readonly items: Item[] = [];
  private readonly before: (a: Item, b: Item) => boolean;

  /** @param before whether `a` must come out before `b` */
  constructor(before: (a: Item, b: Item) => boolean) {
    this.before = before;
  }

  get size(): number {
    return this.items.length;
  }

  push(item: Item): void {
    const { items, before } = this;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(item, items[parent])) break;
      items[at] = items[parent];
      at = parent;
    }
    items[at] = item;
  }

  /** Take the first item out; undefined when the heap is empty. */
  pop(): Item | undefined {
    const { items, before } = this;
    const first = items[0];
    const item = items.pop();
    if (item === undefined || items.length === 0) return item;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && before(items[child + 1], items[child])) child++;
      if (!before(items[child], item)) break;
      items[at] = items[child];
      at = child;
    }
    items[at] = item;
    return first;
  }
}
