/** The life-cycle suite on real Xen: `xenvm` in dom0 with a PV guest. */
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { XenHost } from '../../lab/xen-host.ts';
import { DIST } from './dom0-usher.ts';
import { insideCargo, runInside } from './run-inside.ts';

/** A start of xenvm, a restore and an end for each test, some boots in between, all on emulated processors. */
const TIMEOUT_MS = 28 * 60_000;
/** The run ends first, so that its host is ended, too. */
const END_MS = 2 * 60_000;

test('the life of a VM on real Xen', { timeout: TIMEOUT_MS + END_MS }, async (t: TestContext) => {
  const { folder, remove } = await insideCargo(fileURLToPath(new URL('inside/life-cycle.ts', import.meta.url)));
  const xen = await XenHost.restore({ dist: DIST, inside: folder });
  try {
    await runInside(t, xen.host, 'life-cycle', { timeoutMs: TIMEOUT_MS });
  } finally {
    await xen.stop();
    await remove();
  }
});
