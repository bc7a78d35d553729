/**
 * Where a guest's network cards lead: a tap on a bridge of the host where that can be, else QEMU's own NAT. Plans, writes
 * the words for QEMU, and puts the taps on their bridges. A tap is QEMU's own and goes with it: nothing is left to clear.
 */
import { createHash } from 'node:crypto';
import { access, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../../lib/exec.ts';
import { Fault, messageOf } from '../../lib/fault.ts';
import type { VmUuid } from '../../model/ids.ts';
import { macOf } from '../../model/nic-address.ts';
import type { NicConfig, VmConfig } from '../../model/vm.ts';
import { bootRanks } from './boot-order.ts';

/** What of the host decides. */
export interface NetworkHost {
  readonly isRoot: boolean;
  /** By the order in which they were made. */
  readonly bridges: readonly string[];
}

export interface PlannedNic {
  readonly id: number;
  readonly mac: string;
  /** QEMU's name of the device. */
  readonly model: string;
  /** Absent: behind QEMU's own NAT. */
  readonly tap?: { readonly name: string; readonly bridge: string };
}

export interface NetworkPlan {
  readonly nics: readonly PlannedNic[];
  /** What is otherwise than the config asks for, a sentence each. */
  readonly warnings: readonly string[];
}

const MODELS: Readonly<Record<string, string>> = { virtio: 'virtio-net-pci', 'virtio-net': 'virtio-net-pci' };
const USUAL_MODEL = 'virtio-net-pci';
const IP_TIMEOUT_MS = 10_000;
/** The kernel's limit is 15 bytes. */
const TAP_DIGITS = 12;

/** Looks at the host. Never throws: what cannot be read is not there. */
export async function lookAtNetwork(sysfsRoot: string, isRoot = process.getuid?.() === 0): Promise<NetworkHost> {
  const folder = join(sysfsRoot, 'class/net');
  const names = await readdir(folder).catch(() => []);
  const found = await Promise.all(
    names.map(async (name) => {
      const isBridge = await access(join(folder, name, 'bridge')).then(
        () => true,
        () => false,
      );
      const index = Number(await readFile(join(folder, name, 'ifindex'), 'utf8').catch(() => ''));
      return isBridge ? [{ name, index }] : [];
    }),
  );
  const bridges = found.flat().sort((a, b) => a.index - b.index);
  return { isRoot, bridges: bridges.map(({ name }) => name) };
}

/** Decides where each card leads. Pure. */
export function planNetwork(config: Pick<VmConfig, 'uuid' | 'name' | 'nics'>, host: NetworkHost): NetworkPlan {
  const { uuid, name: vm, nics = [] } = config;
  const warnings: string[] = [];
  const planned = nics.map((nic): PlannedNic => {
    const { id, model = '' } = nic;
    const known = {
      id,
      mac: macOf(uuid, nic),
      model: (Object.hasOwn(MODELS, model) ? MODELS[model] : model) || USUAL_MODEL,
    };
    const choice = chooseBridge(nic, host);
    if ('bridge' in choice) return { ...known, tap: { name: tapName(uuid, id), bridge: choice.bridge } };
    warnings.push(
      `Network card ${id} of VM ${vm} is behind QEMU's own NAT, where nobody can reach it from outside: ${choice.why}.`,
    );
    return known;
  });
  return { nics: planned, warnings };
}

/** Gives `-netdev` and `-device` for each card. */
export function networkArgv(config: VmConfig, { nics }: NetworkPlan): string[] {
  const ranks = bootRanks(config);
  return nics.flatMap(({ id, mac, model, tap }) => {
    const node = `nic-${id}`;
    const rank = ranks.ofNic(id);
    // Without a ROM nothing is missing but the boot from the network, and the ROMs are a package of their own.
    const rom = rank.bootindex === undefined ? { romfile: '' } : {};
    const backend =
      tap === undefined
        ? { type: 'user', id: node }
        : { type: 'tap', id: node, ifname: tap.name, script: 'no', downscript: 'no' };
    const device = { driver: model, id: node, netdev: node, mac, ...rom, ...rank };
    return ['-netdev', JSON.stringify(backend), '-device', JSON.stringify(device)];
  });
}

/**
 * Puts the taps on their bridges. Legal when QEMU is up, which has made them; root only.
 * @throws Fault `vm.start_failed`, `aborted`
 */
export async function joinBridges(
  { nics }: NetworkPlan,
  vm: string,
  options: { readonly signal?: AbortSignal | undefined },
): Promise<void> {
  for (const { id, tap } of nics) {
    if (tap === undefined) continue;
    const argv = ['ip', 'link', 'set', 'dev', tap.name, 'master', tap.bridge, 'up'] as const;
    await exec([...argv], { timeoutMs: IP_TIMEOUT_MS, ...options }).catch((error: unknown) => {
      const what = `its network card ${id} cannot be put on the bridge ${tap.bridge}: ${messageOf(error)}`;
      throw new Fault('vm.start_failed', { vm, what }, { cause: error });
    });
  }
}

function chooseBridge(
  { bridge }: NicConfig,
  { isRoot, bridges }: NetworkHost,
): { readonly bridge: string } | { readonly why: string } {
  if (!isRoot) return { why: 'only root can put a card on a bridge' };
  if (bridge !== undefined && !bridges.includes(bridge)) return { why: `the host has no bridge "${bridge}"` };
  const chosen = bridge ?? bridges[0];
  return chosen === undefined ? { why: 'the host has no bridge' } : { bridge: chosen };
}

/** Interfaces of a host share one space of names, so a VM's are told apart by a hash. */
function tapName(uuid: VmUuid, id: number): string {
  const hash = createHash('sha256').update(`${uuid} ${id}`).digest('hex');
  return `ush${hash.slice(0, TAP_DIGITS)}`;
}
