/**
 * All nodes that one domain's USB is made of, read in three round trips whatever their number, and what they say. Pure but
 * for the reading. Whether the device model lives, and what it holds, is not among them.
 */
import type { VmUuid } from '../../model/ids.ts';
import { VIRT_MODES, type VirtMode } from '../../model/vm.ts';
import type { Transaction } from '../../wire/xenstore/transaction.ts';
import {
  backendPath,
  type ControllerNodes,
  controllerPath,
  controllersPath,
  domainTypePath,
  HUSK,
  type ModelNote,
  modelNotePath,
  modelPidPath,
  type Note,
  namePath,
  notePath,
  notesOfPath,
  notesPath,
  type PortValue,
  parseController,
  parseModelNote,
  parseNote,
  parseNumbers,
  parsePort,
  parseVmPath,
  portPath,
  QUSB_ROOT,
  vmPath,
} from './nodes.ts';

/** A port as its nodes say. */
export interface PortNodes {
  readonly port: number;
  readonly value: PortValue;
  readonly note?: Note;
}

export interface ControllerState extends ControllerNodes {
  /** The backend's state on the xenbus; `undefined` for emulated controllers, and where there is none. */
  readonly backendState: number | undefined;
  /** Its device model has died: it never works again. */
  readonly isHusk: boolean;
  readonly slots: readonly PortNodes[];
}

export interface DomainNodes {
  readonly domid: number;
  /** `undefined`: there is no such domain any more, these nodes are what it left. */
  readonly uuid: VmUuid | undefined;
  /** As whoever made it calls it. */
  readonly untrustedName: string;
  /** Unknown of a domain that is being built. */
  readonly kind: VirtMode | undefined;
  readonly modelPid: number | undefined;
  readonly modelNote: ModelNote | undefined;
  readonly controllers: readonly ControllerState[];
  /** Numbers of controllers whose nodes are incomplete, or make no sense. */
  readonly broken: readonly number[];
}

/** What is needed to read: a client, or a transaction of it. */
export type NodeReader = Pick<Transaction, 'read' | 'directory'>;

/** Reads a domain's nodes; `undefined` when there is neither a domain nor anything that it left. @throws XenstoreError, and the connection's faults */
export async function readDomainNodes(store: NodeReader, domid: number): Promise<DomainNodes | undefined> {
  const [vm, name, type, pid, model, indices, backends, noted] = await Promise.all([
    store.read(vmPath(domid)),
    store.read(namePath(domid)),
    store.read(domainTypePath(domid)),
    store.read(modelPidPath(domid)),
    store.read(modelNotePath(domid)),
    store.directory(controllersPath(domid)),
    store.directory(`${QUSB_ROOT}/${domid}`),
    store.directory(notesPath(domid)),
  ]);
  const uuid = parseVmPath(vm);
  const [known, served] = [parseNumbers(indices), parseNumbers(backends)];
  const orphans = served.filter((index) => !known.includes(index));
  if (uuid === undefined && known.length + orphans.length === 0) return undefined;
  const haveNotes = new Set(parseNumbers(noted));
  const readOne = async (folder: string, index: number) => ({
    index,
    controller: await readController(store, { folder, domid, index, hasNotes: haveNotes.has(index) }),
  });
  const read = await Promise.all([
    ...known.map((index) => readOne(controllerPath(domid, index), index)),
    // libxl has forgotten them, and shows them no more; QEMU may serve them still.
    ...orphans.map((index) => readOne(backendPath(domid, index), index)),
  ]);
  return {
    domid,
    uuid: uuid as VmUuid | undefined,
    untrustedName: name ?? `domain ${domid}`,
    kind: VIRT_MODES.find((kind) => kind === type),
    modelPid: /^[1-9]\d{0,8}$/.test(pid ?? '') ? Number(pid) : undefined,
    modelNote: parseModelNote(model),
    controllers: read.flatMap(({ controller }) => controller ?? []),
    broken: read.flatMap(({ index, controller }) => (controller === undefined ? [index] : [])),
  };
}

interface ControllerPlace {
  /** Where its type and size are. */
  readonly folder: string;
  readonly domid: number;
  readonly index: number;
  readonly hasNotes: boolean;
}

async function readController(
  store: NodeReader,
  { folder, domid, index, hasNotes }: ControllerPlace,
): Promise<ControllerState | undefined> {
  const [type, version, ports, state, noted = []] = await Promise.all([
    store.read(`${folder}/type`),
    store.read(`${folder}/usb-ver`),
    store.read(`${folder}/num-ports`),
    store.read(`${backendPath(domid, index)}/state`),
    hasNotes ? store.directory(notesOfPath(domid, index)) : undefined,
  ]);
  const nodes = parseController(index, { type, version, ports });
  if (nodes === undefined) return undefined;
  const numbers = Array.from({ length: nodes.ports }, (_, i) => i + 1);
  const slots = await Promise.all(
    numbers.map(async (port) => {
      const slot = { controller: index, port };
      const [value, note] = await Promise.all([
        store.read(portPath(nodes.type, domid, slot)),
        noted.includes(String(port)) ? store.read(notePath(domid, slot)) : undefined,
      ]);
      const parsed = parseNote(note);
      return { port, value: parsePort(value), ...(parsed === undefined ? {} : { note: parsed }) };
    }),
  );
  const backendState = nodes.type === 'qusb' && /^\d$/.test(state ?? '') ? Number(state) : undefined;
  return { ...nodes, backendState, isHusk: noted.includes(HUSK), slots };
}
