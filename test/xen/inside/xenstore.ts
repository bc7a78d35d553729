/** The xenstore conformance suite, run inside dom0, against the daemon that the variable `XENSTORED` names. */
import { describeXenstore } from '../../xenstore/conformance.ts';
import { C_XENSTORED_4_17, OXENSTORED_4_17 } from '../../xenstore/rig.ts';

const SOCKET = '/run/xenstored/socket';
const DEVICE = '/dev/xen/xenbus';
const close = async () => {};

if (process.env['XENSTORED'] === 'oxenstored') {
  // Debian's /etc/xen/oxenstored.conf wants shorter paths than the daemon by itself.
  const can = { ...OXENSTORED_4_17, pathBytes: 1024 };
  describeXenstore('oxenstored by its socket', async () => ({ path: SOCKET, socket: SOCKET, can, close }));
} else {
  const can = C_XENSTORED_4_17;
  describeXenstore('xenstored by its socket', async () => ({ path: SOCKET, socket: SOCKET, can, close }));
  describeXenstore("xenstored by the kernel's device", async () => ({
    path: DEVICE,
    socket: SOCKET,
    // The kernel wants head and payload in 4096 bytes; what resets watches is kept from it.
    can: { ...can, payloadBytes: 4080, resetWatches: false },
    close,
  }));
}
