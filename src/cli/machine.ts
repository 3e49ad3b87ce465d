/** @file What a run is done on, in words. */

import { arch, cpus, platform, totalmem } from 'node:os';

/** `AMD EPYC 7B13 × 2, 8 GB, linux x64, Node 22.1.0` */
export function describeMachine(): string {
  const processors = cpus();
  const model = processors[0]?.model.trim() || arch();
  const memory = `${Math.round(totalmem() / 2 ** 30)} GB`;
  return `${model} × ${processors.length}, ${memory}, ${platform()} ${arch()}, Node ${process.versions.node}`;
}
