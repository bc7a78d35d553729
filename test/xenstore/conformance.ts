/**
 * What Usher relies on in a xenstored, as tests, the same for every daemon: `describeXenstore('memory', makeRig)`. They go
 * through our client, so that they test both. Nothing here knows on which machine it runs.
 */
import { after, before, describe } from 'node:test';
import { Context } from './context.ts';
import { testDomains } from './domains.ts';
import { testNodes } from './nodes.ts';
import { testPackets } from './packets.ts';
import type { XenstoreRig } from './rig.ts';
import { testTransactions } from './transactions.ts';
import { testWatches } from './watches.ts';

const PARTS = {
  nodes: testNodes,
  watches: testWatches,
  transactions: testTransactions,
  domains: testDomains,
  packets: testPackets,
} as const;

/** Registers the suite for a daemon; `makeRig` is called once. */
export function describeXenstore(name: string, makeRig: () => Promise<XenstoreRig>): void {
  describe(`a xenstored: ${name}`, () => {
    let context: Context | undefined;
    before(async () => {
      context = await Context.open(await makeRig());
    });
    after(() => context?.close());
    const current = () => {
      if (context === undefined) throw new Error('the rig is not ready');
      return context;
    };
    for (const [part, register] of Object.entries(PARTS)) describe(part, () => register(current));
  });
}
