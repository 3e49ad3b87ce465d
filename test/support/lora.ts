/** @file Adapters that change something, without training. */

import type { ModelConfig } from '../../src/config.ts';
import { initializeParameters } from '../../src/nn/parameters.ts';
import { type Lora, type LoraOptions, loraParameters } from '../../src/stages/lora.ts';

/** An adapter with numbers in B, too. */
export function randomLora(config: ModelConfig, options: LoraOptions, seed = 5): Lora {
  const specs = Object.entries(loraParameters(config, options)).map(([name, { shape }]) => [
    name,
    { shape, init: { std: 0.2 } },
  ]);
  return { options, weights: initializeParameters(Object.fromEntries(specs), seed) };
}
