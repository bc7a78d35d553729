/** The driver's connection to its host: xenstore, and what stands on it. Made at first use, by the driver. */
import { bootId } from '../../lib/boot-id.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Log } from '../../lib/log.ts';
import type { VmUuid } from '../../model/ids.ts';
import { XenstoreClient } from '../../wire/xenstore/client.ts';
import type { DriverHint } from '../driver.ts';
import { Consoles } from './console.ts';
import type { XenHost } from './host.ts';
import type { DomainPaths } from './paths.ts';
import { type LivingDomain, Roster } from './roster.ts';
import { XenUsb } from './usb.ts';
import type { Xl } from './xl.ts';

export interface ConnectionParts {
  readonly xl: Xl;
  readonly clock: Clock;
  readonly log: Log;
  readonly pathsOf: (uuid: VmUuid) => DomainPaths;
  readonly xenstorePath: string | undefined;
  readonly sysfsRoot: string;
  readonly usbfsRoot: string;
  /** As `UsbUpkeepParts.cares`. */
  readonly cares: (uuid: VmUuid | undefined) => boolean;
  readonly onHint: (hint: DriverHint) => void;
  /** As `RosterParts.onChange`. */
  readonly onChange: (before: LivingDomain | undefined, now: LivingDomain | undefined) => void;
}

export interface Connection extends XenHost {
  readonly consoles: Consoles;
  /** Lets go of everything; domains go on. */
  close(): Promise<void>;
}

/** Connects. After a loss of xenstored everything is hinted at. @throws Fault `xenstore.unreachable` */
export async function openConnection(parts: ConnectionParts): Promise<Connection> {
  const { xl, clock, log, pathsOf, xenstorePath, sysfsRoot, usbfsRoot, cares, onHint, onChange } = parts;
  const store = await XenstoreClient.connect({ path: xenstorePath, clock, log });
  try {
    const roster = await Roster.open({ xl, store, clock, log, onChange });
    const usb = await XenUsb.open({
      ...{ xenstore: store, xl, clock, log, sysfsRoot, usbfsRoot, cares, onHint },
      bootId: bootId(),
      ownQmp: (uuid) => pathsOf(uuid).qmpSocket,
      living: async () => {
        const domains = await roster.allNow();
        return new Set(domains.filter(({ run }) => run !== 'shutdown').map(({ domid }) => domid));
      },
    });
    const terminalOf = async (uuid: VmUuid) => {
      const domain = await roster.find(uuid);
      return domain && (await store.read(`/local/domain/${domain.domid}/console/tty`));
    };
    const consoles = new Consoles({ terminalOf, log });
    store.onResync(() => onHint({ about: 'everything' }));
    return {
      ...{ xl, store, roster, usb, consoles, clock, log, pathsOf },
      async close() {
        await consoles.close();
        roster.close();
        await usb.close();
        store.close();
      },
    };
  } catch (error) {
    store.close();
    throw error;
  }
}

/** Serves the console of a domain of ours that has no device model to do so. */
export async function serveConsole({ roster, store, consoles, pathsOf }: Connection, uuid: VmUuid): Promise<void> {
  const domain = await roster.find(uuid);
  if (domain === undefined || (await store.read(`/libxl/${domain.domid}/type`)) === 'hvm') return;
  await consoles.serve(uuid, pathsOf(uuid).consoleSocket);
}
