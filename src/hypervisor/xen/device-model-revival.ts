/**
 * What is done when a device model has died: what it held is given back, and for PV and PVH guests another one is started
 * with the arguments that it had. The steps are in docs/protocols/pvusb.md, with what does not work.
 */

import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import type { Clock } from '../../lib/clock.ts';
import { pollUntil } from '../../lib/deadline.ts';
import { failPoint } from '../../lib/fail-point.ts';
import { Fault, messageOf } from '../../lib/fault.ts';
import type { Log } from '../../lib/log.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { XenstoreClient } from '../../wire/xenstore/client.ts';
import type { Transaction } from '../../wire/xenstore/transaction.ts';
import { chooseScope, scopeArgv } from '../qemu/scope.ts';
import type { DomainNodes } from './domain-nodes.ts';
import type { HostDevices } from './host-devices.ts';
import {
  huskPath,
  type ModelNote,
  modelPidPath,
  modelStatePath,
  notePath,
  parseVmPath,
  portPath,
  vmPath,
} from './nodes.ts';
import { told, type UsbDomain } from './usb-ports.ts';
import { takenPorts } from './usb-view.ts';

export interface RevivalContext {
  readonly xenstore: Pick<XenstoreClient, 'transaction' | 'read'>;
  readonly hosts: HostDevices;
  readonly clock: Clock;
  readonly log: Log;
  /** Starts a program that outlives us, and gives its number. */
  readonly launch: (note: ModelNote, uuid: VmUuid) => number;
  readonly isAlive: (pid: number) => boolean;
}

/** In the lab it is 1 to 3 s. */
const START_TIMEOUT_MS = 30_000;
const START_POLL_MS = 50;

/**
 * Gives up what a dead device model held: its PV controllers are marked, for they never work again; every port is emptied
 * and its note dropped; the devices go back to dom0's drivers. Not even the state of such a controller may be touched: a
 * guest's frontend that is told to close waits for ever for answers of a backend that is gone, and the guest's whole
 * xenbus with it.
 */
export async function bury({ xenstore, hosts }: RevivalContext, nodes: DomainNodes): Promise<void> {
  const { domid, uuid, controllers, modelPid } = nodes;
  const busids = takenPorts(nodes).map(({ busid }) => busid);
  await told(
    xenstore.transaction(async (transaction) => {
      if (parseVmPath(await transaction.read(vmPath(domid))) !== uuid) return;
      for (const { index, type, slots } of controllers) {
        if (type === 'qusb') await transaction.write(huskPath(domid, index), String(modelPid ?? 0));
        for (const { port, value, note } of slots) {
          const slot = { controller: index, port };
          if (value.is !== 'free') await transaction.write(portPath(type, domid, slot), '');
          if (note !== undefined) await transaction.rm(notePath(domid, slot));
        }
      }
    }),
  );
  failPoint('xen.revive.marked');
  for (const busid of busids) await hosts.giveBack(busid);
  failPoint('xen.revive.cleared');
}

/**
 * Starts the device model again and returns when it is ready to serve new controllers. libxl finds its number where it
 * noted the old one's, and ends it with the domain. @throws Fault `vm.no_domain`, `hypervisor.failed`, `timeout`, `aborted`
 */
export async function startAgain(
  context: RevivalContext,
  domain: UsbDomain,
  note: ModelNote,
  signal: AbortSignal,
): Promise<void> {
  const { xenstore, clock, log, launch, isAlive } = context;
  const { domid, uuid, name } = domain;
  await asDomain(xenstore, domain, (transaction) => transaction.rm(modelStatePath(domid)));
  const pid = launch(note, uuid);
  failPoint('xen.revive.started');
  try {
    await asDomain(xenstore, domain, (transaction) => transaction.write(modelPidPath(domid), String(pid)));
  } catch (error) {
    // Nobody would find it there, nor end it with its domain.
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    throw error;
  }
  failPoint('xen.revive.noted');
  const what = `The new device model of VM ${name}`;
  await pollUntil({ what, timeoutMs: START_TIMEOUT_MS, everyMs: START_POLL_MS, clock, signal }, async () => {
    if ((await told(xenstore.read(modelStatePath(domid)))) === 'running') return true;
    if (isAlive(pid)) return undefined;
    throw new Fault('hypervisor.failed', { what: `the new device model ended at once (${note.log ?? note.argv[0]})` });
  });
  log.warn('a device model had died; another one serves its domain', { vm: name, domid, pid });
}

/** Does work on the nodes of a domain that is still there: otherwise it would make them anew. @throws Fault `vm.no_domain` */
export function asDomain(
  store: Pick<XenstoreClient, 'transaction'>,
  { domid, uuid, name }: UsbDomain,
  work: (transaction: Transaction) => Promise<void>,
): Promise<void> {
  return told(
    store.transaction(async (transaction) => {
      if (parseVmPath(await transaction.read(vmPath(domid))) !== uuid) throw new Fault('vm.no_domain', { vm: name });
      await work(transaction);
    }),
  );
}

/** Starts a device model so that it outlives us, in a scope of its own where systemd runs. @throws Fault `hypervisor.failed` */
export function launchModel({ argv, log }: ModelNote, uuid: VmUuid): number {
  const scope = scopeArgv(chooseScope(), uuid);
  const [program, ...rest] = [...scope, ...argv];
  const output = log === undefined ? 'ignore' : openSync(log, 'a', 0o644);
  try {
    const child = spawn(program ?? argv[0], rest, {
      // libxl limits by this what a guest may write to consoles (libxl_dm.c).
      env: { PATH: process.env['PATH'], LC_ALL: 'C', XEN_QEMU_CONSOLE_LIMIT: '1048576' },
      cwd: '/',
      detached: true,
      stdio: ['ignore', output, output],
    });
    child.once('error', () => undefined); // Its missing number tells.
    child.unref();
    if (child.pid === undefined) throw new Error(`${program} cannot be started`);
    return child.pid;
  } catch (error) {
    throw new Fault('hypervisor.failed', { what: messageOf(error) }, { cause: error });
  } finally {
    if (typeof output === 'number') closeSync(output);
  }
}
