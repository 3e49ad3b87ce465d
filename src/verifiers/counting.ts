/** @file Counting: the final number of the answer counts, with a measure word or without. */

import { numberVerifier } from './final-number.ts';
import type { Verifier } from './verifier.ts';

/** Right if the final number is how many there are: "2", "2个。", "香1蕉1苹1果1香2，共2个。". */
export const countingVerifier: Verifier = numberVerifier('counting');
