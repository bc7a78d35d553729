/**
 * A xenstore in memory, for tests: nodes, watches and domains, by the semantics of the C daemon (xen
 * tools/xenstore/xenstored_core.c). What a client may do is in memory-client.ts, the protocol in memory-daemon.ts.
 */
import { levelsBelow } from '../paths.ts';
import type { Permission } from '../permissions.ts';
import type { StoreClient } from './memory-client.ts';
import { childPath, nodeAt, parentPath, pathsBelow, putNode, removeNode, type TreeNode } from './memory-tree.ts';

/** Says no, with the errno that the daemon answers. */
export class Refusal extends Error {
  readonly errno: string;
  constructor(errno: string) {
    super(errno);
    this.errno = errno;
  }
}

/** What a domain other than dom0 may have. The defaults are those of the C daemon. */
export interface Quotas {
  readonly nodes: number;
  readonly nodeBytes: number;
  readonly watches: number;
  readonly transactions: number;
  readonly permissions: number;
}

export const DEFAULT_QUOTAS: Quotas = { nodes: 1000, nodeBytes: 2048, watches: 128, transactions: 10, permissions: 5 };

/** Numbers from here on are special (xen public/xen.h, DOMID_FIRST_RESERVED). */
export const FIRST_RESERVED_DOMID = 0x7ff0;

type Content = Pick<TreeNode, 'value' | 'permissions'>;
export interface Change {
  readonly path: string;
  /** `undefined` removes the node. */
  readonly content: Content | undefined;
}

/** The store, or a transaction's copy of it. */
export interface State {
  root: TreeNode;
  /** Of a transaction: how the store was, what was looked at, what is to be done and told at its end. */
  readonly begun?: TreeNode;
  readonly seen: Set<string>;
  readonly changes: Change[];
  readonly events: StoreEvent[];
}

export interface StoreEvent {
  readonly path: string;
  /** Only watches of exactly this path hear of it: a node that went with an ancestor. */
  readonly isExact: boolean;
  readonly before: TreeNode | undefined;
}

export interface StoreWatch {
  readonly client: StoreClient;
  /** As the client gave it. */
  readonly path: string;
  readonly absolute: string;
  readonly token: string;
  readonly depth: number | undefined;
}

/** What all clients share. */
export class MemoryStore {
  readonly quotas: Quotas;
  readonly #live: State;
  readonly #watches: StoreWatch[] = [];
  readonly #existing = new Set<number>([0]);
  readonly #introduced = new Set<number>();
  readonly #shutDown = new Set<number>();
  readonly #targets = new Map<number, number>();
  #generation = 1;

  constructor(quotas: Partial<Quotas> = {}) {
    this.quotas = { ...DEFAULT_QUOTAS, ...quotas };
    const permissions: Permission[] = [{ domid: 0, access: 'none' }];
    const root = { value: Buffer.alloc(0), permissions, generation: 1, children: new Map() };
    this.#live = { root, seen: new Set(), changes: [], events: [] };
    // Where the C daemon keeps its own things.
    this.apply(this.#live, { path: '/tool', content: { value: Buffer.alloc(0), permissions } });
  }

  get live(): State {
    return this.#live;
  }

  get watches(): StoreWatch[] {
    return this.#watches;
  }

  /** Domains that were introduced; dom0 always is. */
  get introduced(): Set<number> {
    return this.#introduced;
  }

  get targets(): Map<number, number> {
    return this.#targets;
  }

  /** Makes a domain, as the hypervisor does; introducing one that was not made makes it. */
  makeDomain(domid: number): void {
    this.#existing.add(domid);
  }

  exists(domid: number): boolean {
    return this.#existing.has(domid);
  }

  /** Shuts a domain down, or destroys it: then the nodes that it owns are gone, before anybody is told of the end. */
  endDomain(domid: number, isGone: boolean): void {
    if (!this.#introduced.has(domid)) {
      if (isGone) this.#existing.delete(domid);
      return;
    }
    if (isGone) {
      this.#existing.delete(domid);
      this.forgetDomain(domid);
    } else if (!this.#shutDown.has(domid)) {
      this.#shutDown.add(domid);
      this.fireSpecial('@releaseDomain', domid);
    }
  }

  /** Has the next end of a domain that was shut down told again. */
  resume(domid: number): void {
    this.#shutDown.delete(domid);
  }

  /** Ends what the store has to do with a domain. */
  forgetDomain(domid: number): void {
    this.#introduced.delete(domid);
    this.#shutDown.delete(domid);
    this.#targets.delete(domid);
    for (const path of this.#ownedBy(domid, this.#live.root, '/')) this.remove(this.#live, path);
    this.fireSpecial('@releaseDomain', domid);
  }

  /** Removes a node with all below it, and tells. */
  remove(state: State, path: string): void {
    const gone = pathsBelow(state.root, path).map((below) => ({ below, before: nodeAt(state.root, below) }));
    if (state.begun !== undefined) {
      for (const { below } of gone) state.seen.add(below);
      state.seen.add(parentPath(path));
    }
    this.apply(state, { path, content: undefined });
    for (const { below, before } of gone) this.fire(state, { path: below, isExact: below !== path, before });
  }

  nextGeneration(): number {
    return ++this.#generation;
  }

  /** The paths of the topmost nodes that a domain owns. */
  #ownedBy(domid: number, node: TreeNode, path: string): string[] {
    return [...node.children].flatMap(([name, child]) => {
      const below = childPath(path, name);
      return child.permissions[0]?.domid === domid ? [below] : this.#ownedBy(domid, child, below);
    });
  }

  /** How many nodes a domain owns. */
  nodesOf(root: TreeNode, domid: number): number {
    let count = root.permissions[0]?.domid === domid ? 1 : 0;
    for (const child of root.children.values()) count += this.nodesOf(child, domid);
    return count;
  }

  /** Takes a change into a state; the live one tells its events at once, a transaction at its end. */
  apply(state: State, change: Change): void {
    const { path, content } = change;
    state.root =
      content === undefined
        ? removeNode(state.root, path, this.nextGeneration())
        : putNode(state.root, path, content, this.nextGeneration());
    if (state.begun !== undefined) state.changes.push(change);
  }

  /** Tells an event to whom it concerns. */
  fire(state: State, event: StoreEvent): void {
    if (state.begun !== undefined) {
      if (!state.events.some(({ path, isExact }) => path === event.path && isExact === event.isExact))
        state.events.push(event);
      return;
    }
    for (const watch of [...this.#watches]) {
      const levels = levelsBelow(watch.absolute, event.path);
      if (levels === undefined || (event.isExact && levels > 0) || levels > (watch.depth ?? levels)) continue;
      if (watch.client.mayHearOf(event)) watch.client.tell(watch, event.path);
    }
  }

  /** Tells of a domain that comes or goes. */
  fireSpecial(name: '@introduceDomain' | '@releaseDomain', domid: number): void {
    for (const watch of [...this.#watches]) {
      if (watch.absolute !== name && watch.absolute !== `${name}/${domid}`) continue;
      watch.client.tell(watch, watch.depth === 1 ? `${name}/${domid}` : watch.absolute);
    }
  }
}
