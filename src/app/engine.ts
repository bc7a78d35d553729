/** What the daemon is made of, as handlers and flows get it. Types only; composition.ts builds it. */

import type { Places } from '../config/places.ts';
import type { Inventory } from '../inventory/inventory.ts';
import type { Clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import type { UsbDevice } from '../model/usb.ts';
import type { DriverName } from '../model/vm.ts';
import type { UsbNames } from '../usb/names.ts';
import type { Router } from '../usb/router.ts';
import type { VirtualPorts } from '../usb/virtual.ts';
import type { Anchors } from './anchors.ts';
import type { AuditLog } from './audit.ts';
import type { Drivers } from './drivers.ts';
import type { EventLog } from './events.ts';
import type { Fleet } from './fleet.ts';
import type { MonitorSockets } from './monitor-sockets.ts';
import type { PolicyKeeper } from './policy-keeper.ts';
import type { Trials } from './trials.ts';

export interface Engine {
  readonly version: string;
  readonly places: Places;
  /** Of VMs whose file names none. */
  readonly defaultDriver: DriverName;
  readonly clock: Clock;
  readonly log: Log;
  readonly inventory: Inventory;
  readonly audit: AuditLog;
  readonly anchors: Anchors;
  readonly events: EventLog;
  readonly drivers: Drivers;
  readonly fleet: Fleet;
  readonly router: Router;
  readonly virtualPorts: VirtualPorts;
  readonly names: UsbNames;
  readonly sockets: MonitorSockets;
  readonly policy: PolicyKeeper;
  readonly trials: Trials;
  /** Has what speaks against taking a device of this host be seen anew. */
  readonly lookAtHost: (device: UsbDevice) => Promise<void>;
  /** Why assignments and rules move nothing; absent when they do. */
  readonly observeReason?: string;
}
