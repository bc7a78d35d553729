/**
 * On a real Xen host. Attaching: from a request at the daemon's socket until the port node in xenstore has the device,
 * against `xl usbdev-attach`; and how many requests to xenstored that takes, against a bare script. Starting a PV guest:
 * from the request until it runs, against `xl create`. What runs in dom0 is inside/xen.ts.
 */
import { fileURLToPath } from 'node:url';
import { XEN_GUEST_CMDLINE } from '../../lab/guest.ts';
import { HOST_PATHS } from '../../lab/host-image.ts';
import { XenHost } from '../../lab/xen-host.ts';
import { DIST, Dom0Usher } from '../xen/dom0-usher.ts';
import { insideCargo } from '../xen/run-inside.ts';
import type { Benchmark } from './benchmark.ts';
import { type Figure, figure } from './figures.ts';
import type { XenSamples } from './inside/xen.ts';

const VM = 'bench';
/** One without a device model, which is started again and again. */
const STARTED_VM = 'started';
const TIMEOUT_MS = 5 * 60_000;

export const xen: Benchmark = {
  name: 'xen',
  about: 'on a real Xen host: request -> port node written, against xl and a bare script',
  async run({ tell }): Promise<readonly Figure[]> {
    const { folder, remove } = await insideCargo(fileURLToPath(new URL('inside/xen.ts', import.meta.url)));
    const usher = new Dom0Usher(await XenHost.restore({ dist: DIST, inside: folder }));
    try {
      tell('booting a PV guest on a Xen host');
      const { busid } = await usher.hands.plug('tablet', { serial: 'bench' });
      await usher.startDaemon();
      const guest = { kernel: HOST_PATHS.guestKernel, initrd: HOST_PATHS.guestInitrd, cmdline: XEN_GUEST_CMDLINE };
      await usher.startGuest(VM, guest);
      const { writtenMs, wholeMs } = await measure(usher, busid, 'time');
      tell('starting another in turns with xl');
      await usher.createVm(STARTED_VM, { ...guest, memory: 128, usbctrl: 'none' });
      const { startMs } = await measure(usher, busid, 'start', STARTED_VM);
      // The daemon is to be behind the relay that counts.
      await usher.endDaemon('TERM');
      const { requests } = await measure(usher, busid, 'count');
      return figuresOf({ writtenMs, wholeMs, requests, startMs } as XenSamples);
    } finally {
      await usher.stop();
      await remove();
    }
  },
};

async function measure(
  usher: Dom0Usher,
  busid: string,
  phase: 'time' | 'count' | 'start',
  vm = VM,
): Promise<Partial<XenSamples>> {
  const { socket, daemonCommand: daemon } = usher;
  const words = Object.entries({ vm, busid, socket, phase, daemon }).flatMap(([key, value]) => [`--${key}`, value]);
  const command = `node /cargo/inside/xen.mjs ${words.map((word) => `'${word}'`).join(' ')}`;
  const output = await usher.check(command, { timeoutMs: TIMEOUT_MS });
  return JSON.parse(output.trimEnd().split('\n').at(-1) ?? '') as Partial<XenSamples>;
}

function figuresOf({ writtenMs, requests, wholeMs, startMs }: XenSamples): Figure[] {
  return [
    figure('Xen: request -> port node written', 'ms', writtenMs.usher, {
      floor: { what: 'xl usbdev-attach', samples: writtenMs.xl },
      goals: [{ of: 'ratio', atMost: 1 }],
    }),
    figure('Xen: requests to xenstored until then', 'requests', requests.usher, {
      floor: { what: 'bare script', samples: requests.script },
      goals: [{ of: 'over floor', atMost: 3 }],
    }),
    figure('Xen: usher vm list, whole command', 'ms', wholeMs['usher vm list'], {
      floor: { what: 'xl list', samples: wholeMs['xl list'] },
    }),
    figure('Xen: start of a PV guest -> it runs', 'ms', startMs.usher, {
      floor: { what: 'xl create, same cfg', samples: startMs.xl },
    }),
  ];
}
