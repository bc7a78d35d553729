/**
 * Checks that a device works on the host again after it was detached: what the kernel made of it before it was attached has
 * to be there again and answer. It only looks; the driver of the hypervisor has given the device back before.
 */
import { join } from 'node:path';
import type { Clock } from '../lib/clock.ts';
import { pollUntil } from '../lib/deadline.ts';
import { isFault } from '../lib/fault.ts';
import { readBlockDevices } from './block-devices.ts';
import { type HostRoots, isHostDriver, linkedName, listFolder, readAttribute } from './host-files.ts';
import { readInputDevices } from './input-devices.ts';
import { type ProbeAnswer, type ProbeOptions, probeOpen, probeSector } from './node-probe.ts';

/** What the host made of a device before it was attached. Plain data, to be kept until the detach. */
export interface FormerUse {
  readonly busid: string;
  /** The kernel's number of this plug: another one is another plug, of which nothing is expected. */
  readonly devnum: string;
  /** Kernel drivers by interface: `1-1:1.0` to `usbhid`. Interfaces that none had, or a program, are left out. */
  readonly drivers: Readonly<Record<string, string>>;
  readonly disks: number;
  readonly eventNodes: number;
}

export interface UsableReport {
  /** It was unplugged or plugged anew meanwhile: there is nothing to check. */
  readonly isGone: boolean;
  /** What does not work, a sentence each; empty when the device works. */
  readonly problems: readonly string[];
  /** What could not be looked at, a sentence each. */
  readonly unchecked: readonly string[];
}

export interface UsableOptions {
  readonly clock?: Clock | undefined;
  readonly signal?: AbortSignal | undefined;
  /** How long drivers, disks and event nodes may take to come back. Default 10 s. */
  readonly settleMs?: number | undefined;
  /** How long a node may take to answer. Default 10 s. */
  readonly answerMs?: number | undefined;
  readonly probes?: NodeProbes | undefined;
}

export interface NodeProbes {
  open(node: string, options: ProbeOptions): Promise<ProbeAnswer>;
  sector(node: string, bytes: number, options: ProbeOptions): Promise<ProbeAnswer>;
}

/** usb-storage waits 1 s before it looks for a disk (delay_use), and a disk that spins up takes a few more. */
const SETTLE_MS = 10_000;
const ANSWER_MS = 10_000;
const POLL_MS = 50;
const SECTOR_BYTES = 512;

/** What the kernel makes of a device at the moment; among its drivers is usbfs, by which programs have interfaces. */
interface Present extends FormerUse {
  readonly diskNames: readonly string[];
  readonly eventNames: readonly string[];
}

/** Reads which kernel driver each interface of a device has, to be asked before an attach; `undefined` when none is there. */
export async function formerUse(roots: HostRoots, busid: string): Promise<FormerUse | undefined> {
  const present = await readPresent(roots, busid);
  if (present === undefined) return undefined;
  const { devnum, disks, eventNodes } = present;
  const drivers = Object.fromEntries(Object.entries(present.drivers).filter(([, driver]) => isHostDriver(driver)));
  return { busid, devnum, drivers, disks, eventNodes };
}

/**
 * Waits until the device is what it was, then has its disks and event nodes answer. Of event nodes one is enough: a
 * receiver has those of its keyboards and mice when they wake. @throws Fault `aborted`, `file.unreadable`
 */
export async function checkUsable(
  roots: HostRoots,
  former: FormerUse,
  options: UsableOptions = {},
): Promise<UsableReport> {
  const present = await untilBack(roots, former, options);
  if (present?.devnum !== former.devnum) return { isGone: true, problems: [], unchecked: [] };
  const answers = await Promise.all([
    ...present.diskNames.map((name) => probeDisk(roots, name, options)),
    ...present.eventNames.map((name) => probeEvents(roots, name, options)),
  ]);
  const problems = [...lacking(former, present), ...answers.flatMap(({ problem }) => problem ?? [])];
  return { isGone: false, problems, unchecked: answers.flatMap(({ unchecked }) => unchecked ?? []) };
}

/** Gives what there is when nothing is lacking any more, when the plug is gone, or when the time is up. */
async function untilBack(roots: HostRoots, former: FormerUse, options: UsableOptions): Promise<Present | undefined> {
  const { clock, signal, settleMs = SETTLE_MS } = options;
  const what = `The return of ${former.busid} to the host`;
  try {
    return await pollUntil({ what, timeoutMs: settleMs, everyMs: POLL_MS, clock, signal }, async () => {
      const present = await readPresent(roots, former.busid);
      const isOver = present?.devnum !== former.devnum || lacking(former, present).length === 0;
      return isOver ? { present } : undefined;
    }).then(({ present }) => present);
  } catch (error) {
    if (!isFault(error, 'timeout')) throw error;
    return readPresent(roots, former.busid);
  }
}

function lacking(former: FormerUse, present: FormerUse): string[] {
  const { busid } = former;
  const drivers = Object.entries(former.drivers).flatMap(([name, driver]) => {
    const now = present.drivers[name];
    return now === driver ? [] : `Interface ${name} ${tellDriver(now)}; before it had ${driver}.`;
  });
  const disks =
    former.disks > present.disks ? [`${busid} has ${present.disks} disks; before it had ${former.disks}.`] : [];
  const isMute = former.eventNodes > 0 && present.eventNodes === 0;
  const nodes = isMute ? [`${busid} has no event node; before it had ${former.eventNodes}.`] : [];
  return [...drivers, ...disks, ...nodes];
}

function tellDriver(driver: string | undefined): string {
  if (driver === undefined) return 'has no kernel driver';
  return isHostDriver(driver) ? `has the kernel driver ${driver}` : `is in other hands (${driver})`;
}

async function readPresent(roots: HostRoots, busid: string): Promise<Present | undefined> {
  const folder = join(roots.sysRoot, 'bus/usb/devices');
  const devnum = await readAttribute(join(folder, busid, 'devnum'));
  if (devnum === undefined) return undefined;
  const [names, blocks, inputs] = await Promise.all([
    listFolder(folder),
    readBlockDevices(roots),
    readInputDevices(roots),
  ]);
  const drivers = await Promise.all(
    names
      .filter((name) => name.startsWith(`${busid}:`))
      .map(async (name) => [name, await linkedName(join(folder, name, 'driver'))] as const),
  );
  const diskNames = blocks.filter((block) => block.busid === busid && !block.isPartition).map(({ name }) => name);
  const eventNames = inputs
    .filter((input) => input.busid === busid && input.bus !== 'bluetooth')
    .flatMap(({ events }) => events);
  return {
    busid,
    devnum,
    drivers: Object.fromEntries(drivers.filter((entry): entry is [string, string] => entry[1] !== undefined)),
    disks: diskNames.length,
    eventNodes: eventNames.length,
    diskNames,
    eventNames,
  };
}

interface Answer {
  readonly problem?: string;
  readonly unchecked?: string;
}

async function probeDisk(roots: HostRoots, name: string, options: UsableOptions): Promise<Answer> {
  const { probes, signal, answerMs = ANSWER_MS } = options;
  const size = await readAttribute(join(roots.sysRoot, 'class/block', name, 'queue/logical_block_size'));
  const bytes = Number.parseInt(size ?? '', 10) || SECTOR_BYTES;
  const node = join(roots.devRoot, name);
  const limits = { timeoutMs: answerMs, signal };
  return tell(`The disk ${name}`, await (probes?.sector ?? probeSector)(node, bytes, limits), 'read');
}

async function probeEvents(roots: HostRoots, name: string, options: UsableOptions): Promise<Answer> {
  const { probes, signal, answerMs = ANSWER_MS } = options;
  const node = join(roots.devRoot, 'input', name);
  return tell(
    `The event node ${name}`,
    await (probes?.open ?? probeOpen)(node, { timeoutMs: answerMs, signal }),
    'opened',
  );
}

function tell(what: string, answer: ProbeAnswer, verb: string): Answer {
  if (answer === 'forbidden') return { unchecked: `${what} was not tried: Usher may not read it.` };
  return typeof answer === 'string' ? {} : { problem: `${what} cannot be ${verb}: ${answer.fails}.` };
}
