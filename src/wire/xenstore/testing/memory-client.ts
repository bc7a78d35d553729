/** One connection to the in-memory store: what its domain may do, its transactions, its watches. For tests only. */
import { isSpecialPath } from '../paths.ts';
import type { Permission } from '../permissions.ts';
import {
  FIRST_RESERVED_DOMID,
  type MemoryStore,
  Refusal,
  type State,
  type StoreEvent,
  type StoreWatch,
} from './memory-store.ts';
import { nodeAt, parentPath, type TreeNode } from './memory-tree.ts';

type Access = 'read' | 'write';

/** Paths are absolute, or relative to the domain's home. */
export class StoreClient {
  readonly #store: MemoryStore;
  readonly #domid: number;
  readonly #onEvent: (path: string, token: string) => void;
  readonly #transactions = new Map<number, State>();
  #lastTransaction = 0;

  constructor(store: MemoryStore, domid: number, onEvent: (path: string, token: string) => void) {
    this.#store = store;
    this.#domid = domid;
    this.#onEvent = onEvent;
  }

  get domid(): number {
    return this.#domid;
  }

  read(path: string, transaction: number): Buffer {
    return this.#reach(this.#state(transaction), this.#absolute(path), 'read').value;
  }

  /** Gives the names of the children and the node's generation. */
  directory(path: string, transaction: number): { readonly names: string[]; readonly generation: number } {
    const node = this.#reach(this.#state(transaction), this.#absolute(path), 'read');
    return { names: [...node.children.keys()], generation: node.generation };
  }

  write(path: string, value: Buffer, transaction: number): void {
    if (!this.#isPrivileged && value.length > this.#store.quotas.nodeBytes) throw new Refusal('ENOSPC');
    const [state, absolute] = [this.#state(transaction), this.#absolute(path)];
    const node = this.#find(state, absolute);
    if (node === undefined) this.#create(state, absolute, value);
    else {
      this.#check(node, 'write');
      this.#store.apply(state, { path: absolute, content: { ...node, value: Buffer.from(value) } });
    }
    this.#store.fire(state, { path: absolute, isExact: false, before: node });
  }

  mkdir(path: string, transaction: number): void {
    const [state, absolute] = [this.#state(transaction), this.#absolute(path)];
    const node = this.#find(state, absolute);
    if (node !== undefined) {
      this.#check(node, 'write');
      return;
    }
    this.#create(state, absolute, Buffer.alloc(0));
    this.#store.fire(state, { path: absolute, isExact: false, before: undefined });
  }

  rm(path: string, transaction: number): void {
    const [state, absolute] = [this.#state(transaction), this.#absolute(path)];
    if (absolute === '/') throw new Refusal('EINVAL');
    const node = this.#find(state, absolute);
    if (node === undefined) {
      if (this.#find(state, parentPath(absolute)) === undefined) throw new Refusal(this.#absence(state, absolute));
      return;
    }
    this.#check(node, 'write');
    this.#store.remove(state, absolute);
  }

  getPermissions(path: string, transaction: number): readonly Permission[] {
    return this.#reach(this.#state(transaction), this.#absolute(path), 'read').permissions;
  }

  setPermissions(path: string, permissions: readonly Permission[], transaction: number): void {
    const [state, absolute] = [this.#state(transaction), this.#absolute(path)];
    if (permissions.length === 0) throw new Refusal('EINVAL');
    if (!this.#isPrivileged && permissions.length > this.#store.quotas.permissions) throw new Refusal('ENOSPC');
    if (!this.#store.exists(permissions[0]?.domid as number)) throw new Refusal('ENOENT');
    const node = this.#reach(state, absolute, 'write');
    const owner = node.permissions[0]?.domid;
    if (!this.#isPrivileged && owner !== this.#domid) throw new Refusal('EACCES');
    if (!this.#isPrivileged && owner !== permissions[0]?.domid) throw new Refusal('EPERM');
    this.#store.apply(state, { path: absolute, content: { value: node.value, permissions } });
    this.#store.fire(state, { path: absolute, isExact: false, before: node });
  }

  watch(path: string, token: string, depth: number | undefined): void {
    const absolute = isSpecialPath(path) ? path : this.#absolute(path);
    const mine = this.#store.watches.filter(({ client }) => client === this);
    if (mine.some((watch) => watch.absolute === absolute && watch.token === token)) throw new Refusal('EEXIST');
    if (!this.#isPrivileged && mine.length > this.#store.quotas.watches) throw new Refusal('E2BIG');
    this.#store.watches.push({ client: this, path, absolute, token, depth });
  }

  /** Tells the first event of a watch, which comes whether anything has changed or not. */
  fireFirst(path: string, token: string): void {
    this.#onEvent(path, token);
  }

  unwatch(path: string, token: string): void {
    const absolute = isSpecialPath(path) ? path : this.#absolute(path);
    const { watches } = this.#store;
    const at = watches.findIndex((w) => w.client === this && w.absolute === absolute && w.token === token);
    if (at === -1) throw new Refusal('ENOENT');
    watches.splice(at, 1);
  }

  /** Ends all watches and transactions. */
  reset(): void {
    const { watches } = this.#store;
    for (let at = watches.length - 1; at >= 0; at--) if (watches[at]?.client === this) watches.splice(at, 1);
    this.#transactions.clear();
  }

  startTransaction(within: number): number {
    if (within !== 0) throw new Refusal('EBUSY');
    if (!this.#isPrivileged && this.#transactions.size > this.#store.quotas.transactions) throw new Refusal('ENOSPC');
    const { root } = this.#store.live;
    const id = ++this.#lastTransaction;
    this.#transactions.set(id, { root, begun: root, seen: new Set(), changes: [], events: [] });
    return id;
  }

  /** Ends a transaction; what it saw or changed must be as it was at its beginning. */
  endTransaction(id: number, commits: boolean): void {
    const state = this.#transactions.get(id);
    if (state === undefined) throw new Refusal('ENOENT');
    this.#transactions.delete(id);
    if (!commits) return;
    const { live } = this.#store;
    const generation = (root: TreeNode, path: string) => nodeAt(root, path)?.generation;
    for (const path of state.seen)
      if (generation(live.root, path) !== generation(state.begun as TreeNode, path)) throw new Refusal('EAGAIN');
    for (const change of state.changes) this.#store.apply(live, change);
    for (const event of state.events) this.#store.fire(live, event);
  }

  introduce(domid: number): void {
    this.#requireDom0();
    if (domid === 0 || domid >= FIRST_RESERVED_DOMID) throw new Refusal('EINVAL');
    if (this.#store.introduced.has(domid)) return;
    this.#store.makeDomain(domid);
    this.#store.introduced.add(domid);
    this.#store.fireSpecial('@introduceDomain', domid);
  }

  release(domid: number): void {
    this.#requireDom0();
    if (!this.#store.introduced.has(domid)) throw new Refusal('ENOENT');
    this.#store.forgetDomain(domid);
  }

  resume(domid: number): void {
    this.#requireDom0();
    if (!this.#store.introduced.has(domid)) throw new Refusal('ENOENT');
    this.#store.resume(domid);
  }

  setTarget(domid: number, target: number): void {
    this.#requireDom0();
    const { introduced, targets } = this.#store;
    if (!introduced.has(domid) || !introduced.has(target)) throw new Refusal('ENOENT');
    targets.set(domid, target);
  }

  isIntroduced(domid: number): boolean {
    return domid === 0 || this.#store.introduced.has(domid);
  }

  mayHearOf({ path, before }: StoreEvent): boolean {
    const node = nodeAt(this.#store.live.root, path) ?? before;
    return node !== undefined && this.#allows(node, 'read');
  }

  tell({ path, absolute, token }: StoreWatch, changed: string): void {
    this.#onEvent(path === absolute ? changed : path + changed.slice(absolute.length), token);
  }

  get #isPrivileged(): boolean {
    return this.#domid === 0;
  }

  #requireDom0(): void {
    if (!this.#isPrivileged) throw new Refusal('EACCES');
  }

  #absolute(path: string): string {
    if (path.startsWith('/')) return path;
    return `/local/domain/${this.#domid}/${path}`;
  }

  #state(transaction: number): State {
    if (transaction === 0) return this.#store.live;
    const state = this.#transactions.get(transaction);
    if (state === undefined) throw new Refusal('ENOENT');
    return state;
  }

  #find(state: State, path: string): TreeNode | undefined {
    if (state.begun !== undefined) state.seen.add(path);
    return nodeAt(state.root, path);
  }

  #reach(state: State, path: string, access: Access): TreeNode {
    const node = this.#find(state, path);
    if (node === undefined) throw new Refusal(this.#absence(state, path));
    this.#check(node, access);
    return node;
  }

  /** Makes a node and its parents. */
  #create(state: State, path: string, value: Buffer): void {
    const above = parentPath(path);
    let parent = this.#find(state, above);
    if (parent === undefined) {
      this.#create(state, above, Buffer.alloc(0));
      parent = this.#find(state, above) as TreeNode;
    } else {
      this.#check(parent, 'write');
    }
    const [first, ...others] = parent.permissions as [Permission, ...Permission[]];
    const owner = this.#isPrivileged ? first : { ...first, domid: this.#domid };
    const { quotas } = this.#store;
    const namesBytes = [...parent.children.keys()].reduce((sum, name) => sum + name.length + 1, 0);
    if (!this.#isPrivileged && namesBytes + path.length - above.length > quotas.nodeBytes) throw new Refusal('ENOSPC');
    if (!this.#isPrivileged && this.#store.nodesOf(state.root, this.#domid) >= quotas.nodes)
      throw new Refusal('ENOSPC');
    this.#store.apply(state, { path, content: { value: Buffer.from(value), permissions: [owner, ...others] } });
  }

  /** A domain is not told what is missing where it may not look. */
  #absence(state: State, path: string): string {
    for (let above = parentPath(path); ; above = parentPath(above)) {
      const node = nodeAt(state.root, above);
      if (node !== undefined) return this.#allows(node, 'read') ? 'ENOENT' : 'EACCES';
    }
  }

  #check(node: TreeNode, access: Access): void {
    if (!this.#allows(node, access)) throw new Refusal('EACCES');
  }

  #allows({ permissions }: TreeNode, access: Access): boolean {
    if (this.#isPrivileged) return true;
    const identities = [this.#domid, this.#store.targets.get(this.#domid)].filter((domid) => domid !== undefined);
    if (identities.includes(permissions[0]?.domid as number)) return true;
    const listed = permissions.slice(1).find(({ domid }) => identities.includes(domid)) ?? permissions[0];
    return listed?.access === access || listed?.access === 'both';
  }
}
