/** The conformance suite against Debian's real daemons, in C and in OCaml, on this machine. */
import { RealXenstored } from '../../lab/xenstored.ts';
import { describeXenstore } from './conformance.ts';
import { C_XENSTORED_4_17, OXENSTORED_4_17 } from './rig.ts';

for (const [name, can] of [
  ['xenstored', C_XENSTORED_4_17],
  ['oxenstored', OXENSTORED_4_17],
] as const) {
  describeXenstore(`Debian's ${name}`, async () => {
    const xenstored = await RealXenstored.start(name);
    return {
      path: xenstored.path,
      socket: xenstored.path,
      can,
      domains: {
        make: async (domid) => xenstored.makeDomain(domid),
        connect: (domid) => xenstored.connectDomain(domid),
        end: async (domid, options) => xenstored.endDomain(domid, options),
      },
      close: () => xenstored.stop(),
    };
  });
}
