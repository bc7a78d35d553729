/**
 * The contract of driver.ts as tests, the same for every driver: `describeDriver('qemu', makeQemuRig)`. What a driver has
 * beyond the contract it tests by itself.
 */
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { Context } from './context.ts';
import { testDeaths } from './deaths.ts';
import { testDomains } from './domains.ts';
import type { Rig } from './rig.ts';
import { testSavedDisks } from './saved-disks.ts';
import { testSaving } from './saving.ts';
import { testUsb } from './usb.ts';

/** The parts of the suite, which can be run apart; not all need VMs that take devices. */
const REGISTERED = {
  domains: { register: testDomains, needsUsb: false },
  deaths: { register: testDeaths, needsUsb: false },
  saving: { register: testSaving, needsUsb: true },
  disks: { register: testSavedDisks, needsUsb: false },
  usb: { register: testUsb, needsUsb: true },
} as const;
export type Part = keyof typeof REGISTERED;
export const PARTS = Object.keys(REGISTERED) as readonly Part[];

/** Registers the suite for a driver; `makeRig` is called once. */
export function describeDriver(name: string, makeRig: () => Promise<Rig>, parts: readonly Part[] = PARTS): void {
  describe(`the driver contract: ${name}`, () => {
    let context: Context | undefined;
    before(async () => {
      context = await Context.open(await makeRig());
    });
    after(() => context?.close());
    const current = () => {
      if (context === undefined) throw new Error('the rig is not ready');
      return context;
    };
    for (const part of parts) {
      const { register, needsUsb } = REGISTERED[part];
      describe(part, () => {
        before(() => {
          current().needsUsb = needsUsb;
        });
        // Saves are as large as memories, and dom0's disk is small.
        after(async () => {
          const { folder } = current().rig;
          const saves = (await readdir(folder)).filter((name) => name.endsWith('.save'));
          await Promise.all(saves.map((name) => rm(join(folder, name))));
        });
        register(current);
      });
    }
  });
}
