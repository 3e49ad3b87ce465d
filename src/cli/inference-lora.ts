/**
 * @file `npm run inference-lora`: chat with an adapter. It is `npm run generate -- --lora PATH --interactive`, and takes
 * the other options of `npm run generate` as well.
 *
 *     npm run inference-lora                                  # checkpoints/lora/final
 *     npm run inference-lora -- my-adapter --temperature 0.5
 */

import { join } from 'node:path';
import { DEFAULT_FOLDER } from '../checkpoint.ts';

const [node, script, ...given] = process.argv;
const hasPath = given.length > 0 && !given[0].startsWith('-');
const path = hasPath ? given[0] : join(DEFAULT_FOLDER, 'lora', 'final');
process.argv = [node, script, '--lora', path, '--interactive', ...given.slice(hasPath ? 1 : 0)];
await import('./generate.ts');
