/** Runs the driver contract in dom0 of a fresh Xen host for one kind of guest and one source of devices. */
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { XenHost } from '../../lab/xen-host.ts';
import type { VirtMode } from '../../src/model/vm.ts';
import { PARTS, type Part } from '../contract/suite.ts';
import { DIST } from './dom0-usher.ts';
import type { Report } from './inside/reporter.ts';
import { doInside, type InsideRun, insideCargo, tellInside } from './run-inside.ts';

/** An HVM guest boots in one to two and a half minutes, and five do one after the other. */
const TIMEOUT_MS = 45 * 60_000;
/** The run ends first, so that its host is ended, too. */
const END_MS = 2 * 60_000;
/** How often a part is run at most whose guests the emulated processor killed. */
const TRIES = 3;
/** Several of the kind that most tests use; the serial numbers say what is what. */
const PLUGGED = ['tablet', 'tablet', 'tablet', 'storage', 'storage', 'keyboard', 'mouse', 'serial'] as const;

/** Whether all is run, as `npm run test:xen -- --whole` does; `npm test` has to end in time on two cores. */
const IS_WHOLE = process.env['USHER_XEN_CONTRACT'] === 'whole';

/**
 * Registers the test of one kind of guest, with devices that are plugged into the host or that its device model makes.
 * `parts`: what is run of the suite; `inTime`: what of it in `npm test`.
 *
 * QEMU's emulation of SVM may lose the state of an HVM guest, which dies of a triple fault with registers that are not its
 * own (seldom without nested pages, see lab/xen-image.ts). A part that failed on a host where that happened says nothing of the driver: it is run again, on a
 * fresh host.
 */
export function testContract(
  virtMode: VirtMode,
  devices: 'host' | 'software',
  { parts = PARTS, inTime = parts }: { readonly parts?: readonly Part[]; readonly inTime?: readonly Part[] } = {},
): void {
  test(`the driver contract on real Xen: ${virtMode}, ${devices} devices`, {
    timeout: TRIES * TIMEOUT_MS + END_MS,
  }, async (t: TestContext) => {
    const { folder, remove } = await insideCargo(fileURLToPath(new URL('inside/contract.ts', import.meta.url)));
    try {
      let left = IS_WHOLE ? parts : inTime;
      for (let tries = 1; left.length > 0; tries++) {
        const { run, tripleFaults } = await runParts(left, { virtMode, devices, inside: folder });
        const again = tripleFaults > 0 && tries < TRIES ? failedParts(run.reports) : [];
        if (again.length === 0) await tellInside(t, run);
        else {
          t.diagnostic(`${tripleFaults} triple faults; run again: ${again.join(', ')}`);
          const reports = reportsOfOthers(run.reports, again);
          if (reports.length > 0) await tellInside(t, { ...run, reports, status: 0 });
        }
        left = again;
      }
    } finally {
      await remove();
    }
  });
}

/** Runs parts on a fresh host; tells, too, how many guests died there of a triple fault. */
async function runParts(
  parts: readonly Part[],
  { virtMode, devices, inside }: { virtMode: VirtMode; devices: 'host' | 'software'; inside: string },
): Promise<{ readonly run: InsideRun; readonly tripleFaults: number }> {
  const xen = await XenHost.restore({ dist: DIST, inside });
  try {
    if (devices === 'host') {
      for (const [i, kind] of PLUGGED.entries()) await xen.hands.plug(kind, { serial: `${kind}-${i + 1}` });
    }
    const env = { XEN_KIND: virtMode, XEN_DEVICES: devices, XEN_PARTS: parts.join(' ') };
    const run = await doInside(xen.host, 'contract', { timeoutMs: TIMEOUT_MS, env });
    const { output } = await xen.host.run('xl dmesg | grep -c "Triple fault"');
    return { run, tripleFaults: Number(output) };
  } finally {
    await xen.stop();
  }
}

/** A part is a suite in the suite of the driver; what is in it has been reported before it. */
function isPart({ isSuite, level, name }: Report): boolean {
  return isSuite && level === 1 && PARTS.includes(name as Part);
}

function failedParts(reports: readonly Report[]): Part[] {
  return reports.filter((one) => isPart(one) && one.outcome === 'failed').map(({ name }) => name as Part);
}

/** Gives the reports but for those of some parts, and of the suite that failed because of them. */
function reportsOfOthers(reports: readonly Report[], parts: readonly Part[]): Report[] {
  const others: Report[] = [];
  let inPart: Report[] = [];
  for (const report of reports) {
    if (report.level > 1) inPart.push(report);
    else if (isPart(report)) {
      if (!parts.includes(report.name as Part)) others.push(...inPart, report);
      inPart = [];
    }
  }
  return others;
}
