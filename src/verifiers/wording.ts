/** @file Words that keep an answer from being a commitment: questions, denials and alternatives. */

/** A question: to repeat the task is not to answer it. */
export const ASKS = /[？?]/;
/** A text that ends with a denial of what comes next. */
export const ENDS_WITH_NEGATION = /(?:不是|不等于|不会是|并非|≠|!=)\s*$/;
/** Words that offer one thing beside another. */
export const ALTERNATIVE = /或|还是|要么|可能|也许|大概|\bor\b/i;
