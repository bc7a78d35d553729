/** Keeps the processor busy: one process for each core, at the usual priority, for as long as it is held. */
import { availableParallelism } from 'node:os';
import { startPeer } from './peers/peer.ts';

export interface Load {
  release(): Promise<void>;
}

/** Occupies all cores and resolves when the load is on. */
export async function occupyCores(): Promise<Load> {
  const spinners = await Promise.all(Array.from({ length: availableParallelism() }, () => startPeer('spinner.ts', [])));
  return {
    async release() {
      await Promise.all(spinners.map((spinner) => spinner.end()));
    },
  };
}
