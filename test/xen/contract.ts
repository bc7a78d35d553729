/** Runs the driver contract in dom0 of a fresh Xen host for one kind of guest and one source of devices. */
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { XenHost } from '../../lab/xen-host.ts';
import type { VirtMode } from '../../src/model/vm.ts';
import { PARTS, type Part } from '../contract/suite.ts';
import { DIST } from './dom0-usher.ts';
import { insideCargo, runInside } from './run-inside.ts';

/** An HVM guest boots in 40 s when the machine has nothing else to do, and five do one after the other. */
const TIMEOUT_MS = 28 * 60_000;
/** The run ends first, so that its host is ended, too. */
const END_MS = 2 * 60_000;
/** Several of the kind that most tests use; the serial numbers say what is what. */
const PLUGGED = ['tablet', 'tablet', 'tablet', 'storage', 'storage', 'keyboard', 'mouse', 'serial'] as const;

/** Whether all is run, as `npm run test:xen -- --whole` does; `npm test` has to end in time on two cores. */
const IS_WHOLE = process.env['USHER_XEN_CONTRACT'] === 'whole';

/**
 * Registers the test of one kind of guest, with devices that are plugged into the host or that its device model makes.
 * `parts`: what is run of the suite; `inTime`: what of it in `npm test`.
 */
export function testContract(
  virtMode: VirtMode,
  devices: 'host' | 'software',
  { parts = PARTS, inTime = parts }: { readonly parts?: readonly Part[]; readonly inTime?: readonly Part[] } = {},
): void {
  const chosen = IS_WHOLE ? parts : inTime;
  test(`the driver contract on real Xen: ${virtMode}, ${devices} devices`, {
    timeout: TIMEOUT_MS + END_MS,
  }, async (t: TestContext) => {
    const { folder, remove } = await insideCargo(fileURLToPath(new URL('inside/contract.ts', import.meta.url)));
    const xen = await XenHost.restore({ dist: DIST, inside: folder });
    try {
      if (devices === 'host') {
        for (const [i, kind] of PLUGGED.entries()) await xen.hands.plug(kind, { serial: `${kind}-${i + 1}` });
      }
      await runInside(t, xen.host, 'contract', {
        timeoutMs: TIMEOUT_MS,
        env: { XEN_KIND: virtMode, XEN_DEVICES: devices, XEN_PARTS: chosen.join(' ') },
      });
    } finally {
      await xen.stop();
      await remove();
    }
  });
}
