/** @file Multiplication: the final number of the answer counts, as in math. */

import { numberVerifier } from './final-number.ts';
import type { Verifier } from './verifier.ts';

/** Right if the final number is the product: "238", "34×7：4×7=28，3×7=21，21+2=23，得238。". */
export const multiplicationVerifier: Verifier = numberVerifier('multiplication');
