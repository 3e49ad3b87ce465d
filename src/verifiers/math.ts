/** @file Math: the final number of the answer counts. */

import { numberVerifier } from './final-number.ts';
import type { Verifier } from './verifier.ts';

/** Right if the final number of the answer is the expected one: "42", "15+27=42。", "先算 5+7=12，答案是 42". */
export const mathVerifier: Verifier = numberVerifier('math');
