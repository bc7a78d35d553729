/** The conformance suite against Debian's real C xenstored, on this machine. */
import { RealXenstored } from '../../lab/xenstored.ts';
import { describeXenstore } from './conformance.ts';
import { C_XENSTORED_4_17 } from './rig.ts';

describeXenstore("Debian's xenstored", async () => {
  const xenstored = await RealXenstored.start();
  return {
    path: xenstored.path,
    socket: xenstored.path,
    can: C_XENSTORED_4_17,
    domains: {
      make: async (domid) => xenstored.makeDomain(domid),
      connect: (domid) => xenstored.connectDomain(domid),
      end: async (domid, options) => xenstored.endDomain(domid, options),
    },
    close: () => xenstored.stop(),
  };
});
