/** @file A verifier of your own: whether a number is 奇数 (odd) or 偶数 (even). See lesson 6 for how to use it. */

import { createVerifier, registerVerifier } from '../../src/verifiers.ts';

registerVerifier(
  createVerifier('parity', (answer, expected) => {
    const named = new Set(answer.match(/奇数|偶数/g));
    return named.size === 1 && named.has(expected) && !/不是|吗|可能/.test(answer);
  }),
);
