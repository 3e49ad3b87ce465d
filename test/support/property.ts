/** @file fast-check, with one seed for every run: the same code passes or fails alike. FUZZ_SEED=N looks elsewhere. */

import fc from 'fast-check';

fc.configureGlobal({ seed: Number(process.env['FUZZ_SEED'] ?? 1) });

export { fc };
