/** The conformance suite against the in-memory store. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryDaemon } from '../../src/wire/xenstore/testing/memory-daemon.ts';
import { describeXenstore } from './conformance.ts';
import { C_XENSTORED_4_17 } from './rig.ts';

for (const [name, daemonOptions, can] of [
  ['in memory', {}, C_XENSTORED_4_17],
  ['in memory, newer', { features: 5 }, { ...C_XENSTORED_4_17, features: true }],
  ['in memory, older', { hasDirectoryPart: false }, { ...C_XENSTORED_4_17, largeDirectories: 'refused' }],
] as const) {
  describeXenstore(name, async () => {
    const folder = await mkdtemp(join(tmpdir(), 'xenstore-'));
    const path = join(folder, 'socket');
    const daemon = new MemoryDaemon(daemonOptions);
    await daemon.listen(path);
    return {
      path,
      socket: path,
      can,
      domains: {
        make: async (domid) => daemon.makeDomain(domid),
        connect: (domid) => daemon.connect(domid),
        end: async (domid, { isGone }) => daemon.endDomain(domid, isGone),
      },
      close: async () => {
        await daemon.die();
        await rm(folder, { recursive: true });
      },
    };
  });
}
