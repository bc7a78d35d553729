/**
 * Judges which disks of a USB device this host uses: mounted, swapped to, part of something, or what the system runs from.
 * Pure; what it judges comes from storage-state.ts. What is stacked on a disk counts, however high.
 */
import { listWords, printable } from '../lib/text.ts';
import type { HostUse } from '../model/host-use.ts';
import type { BlockDevice } from './block-devices.ts';
import { type Mount, mountCovering, type Swap } from './mounts.ts';

export interface StorageState {
  readonly blocks: readonly BlockDevice[];
  readonly mounts: readonly Mount[];
  readonly swaps: readonly Swap[];
  /** Names of block devices by the paths of their nodes, symbolic links followed. */
  readonly nodes: ReadonlyMap<string, string>;
  /** Block devices that have a mounted file system, in whatever mount namespace, as far as file systems say so. */
  readonly superblocks: readonly string[];
  /** Members of each mounted btrfs. */
  readonly btrfs: readonly (readonly string[])[];
}

/** Without these the host does not run on; whoever takes their disk stops it. */
const SYSTEM_PLACES: ReadonlySet<string> = new Set(['/', '/usr', '/var', '/boot', '/boot/efi', '/efi']);
const PLACES_NAMED = 3;

/** Tells what of the device's disks is in use; none for a device without disks, such as one that no driver has. */
export function usesOfStorage(state: StorageState, busid: string): HostUse[] {
  const stack = new Stack(state, busid);
  if (stack.isEmpty) return [];
  return [...usesByMounts(state, stack), ...usesBySwaps(state, stack), ...usesByHolders(state, stack)];
}

/** What stands on the disks and partitions of one USB device. */
class Stack {
  readonly #state: StorageState;
  readonly #blocks: ReadonlyMap<string, BlockDevice>;
  readonly #base: ReadonlySet<string>;

  constructor(state: StorageState, busid: string) {
    this.#state = state;
    this.#blocks = new Map(state.blocks.map((block) => [block.name, block]));
    this.#base = new Set(state.blocks.filter((block) => block.busid === busid).map(({ name }) => name));
  }

  get isEmpty(): boolean {
    return this.#base.size === 0;
  }

  has(name: string): boolean {
    return this.#base.has(name);
  }

  /** Says which device a use is of: `sdb1`, or `vg-data, which is on sdb1`; `undefined` when it stands on other disks only. */
  tell(name: string): string | undefined {
    if (this.#base.has(name)) return name;
    const on = [...this.#below(name)].filter((lower) => this.#base.has(lower));
    return on.length === 0 ? undefined : `${this.labelOf(name)}, which is on ${listWords(on, 'and')}`;
  }

  labelOf(name: string): string {
    return printable(this.#blocks.get(name)?.label ?? name);
  }

  /** Gives the block devices that a mounted file system lies on: several of btrfs and ZFS, those of its layers of an overlay. */
  devicesOf(mount: Mount, seen = new Set<Mount>()): string[] {
    if (seen.has(mount)) return [];
    seen.add(mount);
    const { blocks, btrfs, mounts, nodes } = this.#state;
    const numbered = blocks.find(({ number }) => number === mount.number);
    if (numbered !== undefined) return [numbered.name];
    if (mount.type === 'zfs') {
      const pool = mount.sources[0]?.split('/')[0];
      return blocks.filter(({ zfsPool }) => zfsPool !== undefined && zfsPool === pool).map(({ name }) => name);
    }
    const named = mount.sources.map((source) => nodes.get(source)).filter((name) => name !== undefined);
    const mates = btrfs.filter((members) => members.some((member) => named.includes(member))).flat();
    const layers = mount.layers.flatMap((path) => {
      const under = mountCovering(mounts, path);
      return under === undefined ? [] : this.devicesOf(under, seen);
    });
    return [...new Set([...named, ...mates, ...layers])];
  }

  /** What it stands on directly. */
  partsOf(name: string): readonly string[] {
    const block = this.#blocks.get(name);
    if (block?.backingFile === undefined) return block?.parts ?? [];
    const node = this.#state.nodes.get(block.backingFile);
    if (node !== undefined) return [node];
    const mount = mountCovering(this.#state.mounts, block.backingFile);
    return mount === undefined ? [] : this.devicesOf(mount);
  }

  /**
   * Itself and all that it stands on, down to the first that are of the USB device: who reads of a partition needs no
   * word of its disk.
   */
  #below(name: string, seen = new Set<string>()): Set<string> {
    if (seen.has(name)) return seen;
    seen.add(name);
    if (!this.#base.has(name)) for (const part of this.partsOf(name)) this.#below(part, seen);
    return seen;
  }
}

function usesByMounts({ mounts, superblocks }: StorageState, stack: Stack): HostUse[] {
  const placesOf = new Map<string, Set<string>>();
  for (const mount of mounts) {
    for (const name of stack.devicesOf(mount)) {
      placesOf.set(name, (placesOf.get(name) ?? new Set()).add(mount.at));
    }
  }
  for (const name of superblocks) if (!placesOf.has(name)) placesOf.set(name, new Set());
  const uses: HostUse[] = [];
  for (const [name, found] of placesOf) {
    const what = stack.tell(name);
    if (what === undefined) continue;
    const places = [...found];
    const system = places.filter((place) => SYSTEM_PLACES.has(place));
    if (system.length > 0) {
      const verb = system.length === 1 ? 'is' : 'are';
      uses.push({ kind: 'boot disk', detail: `${listWords(system, 'and')} ${verb} on ${what}` });
    } else {
      const where = places.length === 0 ? 'in a mount namespace that Usher does not see' : `at ${shown(places)}`;
      const subject = what === name ? what : `${what},`;
      uses.push({ kind: 'mounted', detail: `${subject} is mounted ${where}` });
    }
  }
  return uses.sort((a, b) => Number(b.kind === 'boot disk') - Number(a.kind === 'boot disk'));
}

function usesBySwaps({ swaps, mounts, nodes }: StorageState, stack: Stack): HostUse[] {
  return swaps.flatMap(({ path, isFile }): HostUse[] => {
    const mount = isFile ? mountCovering(mounts, path) : undefined;
    const names = mount === undefined ? [nodes.get(path) ?? ''] : stack.devicesOf(mount);
    const on = names.map((name) => stack.tell(name)).find((what) => what !== undefined);
    if (on === undefined) return [];
    return [{ kind: 'swap', detail: `${isFile ? `the swap file ${printable(path)}` : 'swap'} is on ${on}` }];
  });
}

function usesByHolders({ blocks }: StorageState, stack: Stack): HostUse[] {
  const held = (member: string, holder: string): HostUse => ({
    kind: 'held',
    detail: `${member} is held by ${holder}`,
  });
  return blocks.flatMap((block): HostUse[] => {
    if (stack.has(block.name)) {
      return block.zfsPool === undefined ? [] : [held(block.name, `the ZFS pool ${printable(block.zfsPool)}`)];
    }
    const label = stack.labelOf(block.name);
    const name = label === block.name ? label : `${label} (${block.name})`;
    return stack.partsOf(block.name).flatMap((part) => (stack.has(part) ? [held(part, name)] : []));
  });
}

function shown(places: readonly string[]): string {
  const more = places.length - PLACES_NAMED;
  const words = places.slice(0, PLACES_NAMED).map((place) => printable(place));
  return listWords(more > 0 ? [...words, `${more} more ${more === 1 ? 'place' : 'places'}`] : words, 'and');
}
