/** The xenstore conformance suite on real Xen: both daemons by their socket, the one in C by the kernel's device too. */
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { XenHost } from '../../lab/xen-host.ts';
import { insideCargo, runInside } from './run-inside.ts';

const SUITE = fileURLToPath(new URL('inside/xenstore.ts', import.meta.url));
const TIMEOUT_MS = 8 * 60_000;

for (const xenstored of ['xenstored', 'oxenstored'] as const) {
  test(`the client against ${xenstored} on real Xen`, async (t: TestContext) => {
    const { folder, remove } = await insideCargo(SUITE);
    const cargo = { inside: folder };
    // The snapshot has the C daemon.
    const xen = await (xenstored === 'xenstored' ? XenHost.restore(cargo) : XenHost.boot({ cargo, xenstored }));
    try {
      await runInside(t, xen.host, 'xenstore', { timeoutMs: TIMEOUT_MS, env: { XENSTORED: xenstored } });
    } finally {
      await xen.stop();
      await remove();
    }
  });
}
