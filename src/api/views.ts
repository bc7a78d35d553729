/** What operations answer: flat shapes for people and programs. Strings of devices in them are escaped already. */
import type { AuditRow } from '../model/audit.ts';
import type { DriverName, PowerState } from '../model/vm.ts';

/** Raised when requests or answers change so that an older client or daemon would misunderstand. */
export const PROTOCOL = 1;

export interface Hello {
  readonly version: string;
  readonly protocol: number;
  readonly pid: number;
  readonly home: string;
}

export interface VmView {
  readonly name: string;
  readonly uuid: string;
  readonly state: PowerState;
  readonly driver: DriverName;
  readonly memoryMiB: number;
  readonly vcpus: number;
  readonly autostart: boolean;
  /** The hypervisor's number of the domain, when there is one. */
  readonly handle?: number;
  /** Devices attached, as `backend:busid`. */
  readonly devices: readonly string[];
  /** Set of a domain that belongs to no VM: its memory and vcpus are not known (0). */
  readonly isStranger?: boolean;
}

export interface AdoptView extends VmView {
  readonly warnings: readonly string[];
}

export interface VmDetails extends VmView {
  readonly path?: string;
  /** The kind of guest: `pv`, `pvh` or `hvm`. On Xen only. */
  readonly virtMode?: string;
  readonly kernel?: string;
  readonly onCrash: string;
  readonly onHalt: string;
  readonly onReboot: string;
  readonly socket: string;
  readonly console: { readonly socket: string; readonly log: string };
  readonly suspendFile?: string;
  /** Why no device can be attached though the VM runs: its device model is gone. */
  readonly usbTrouble?: string;
  readonly controllers: readonly { readonly index: number; readonly version: number; readonly ports: number }[];
  readonly attachments: readonly { readonly slot: string; readonly device: string; readonly deviceId: string }[];
  readonly warnings: readonly string[];
}

export interface PowerResult {
  readonly name: string;
  readonly uuid: string;
  readonly state: PowerState;
  readonly warnings: readonly string[];
}

export interface SaveResult extends PowerResult {
  readonly file: string;
  readonly bytes: number;
}

export interface ConsoleView {
  readonly socket: string;
  readonly log: string;
}

export interface LogView {
  /** Escaped for terminals. */
  readonly lines: readonly string[];
}

export interface DeviceView {
  /** `backend:busid`. */
  readonly device: string;
  readonly deviceId: string;
  /** Vendor and product, escaped. */
  readonly description: string;
  readonly speed: string;
  /** `attached`, `attaching`, `waiting`, `detaching`, `left`, `guarded`, or `gone` (unplugged, but expected). */
  readonly state: string;
  readonly vm?: string;
  readonly slot?: string;
  /** The verdict in one sentence. */
  readonly why: string;
}

export interface AssignmentView {
  readonly id: number;
  readonly vm: string;
  readonly device: string;
  readonly mode: string;
  /** Present devices that it matches. */
  readonly matches: readonly string[];
}

export interface HoldView {
  readonly device: string;
  readonly kind: 'in' | 'out';
  readonly vm?: string;
  readonly since: string;
}

export interface ExplainView {
  readonly device: string;
  readonly deviceId: string;
  readonly description: string;
  readonly state: string;
  readonly vm?: string;
  readonly slot?: string;
  /** The whole answer, sentence by sentence: who decided, what matched and how far to trust it. */
  readonly because: readonly string[];
  readonly losers: readonly { readonly assignment: number; readonly vm: string; readonly because: string }[];
  readonly twins: readonly string[];
  readonly changes: readonly { readonly says: string; readonly command?: string; readonly gives: string }[];
}

export interface AuditView extends Omit<AuditRow, 'at'> {
  /** ISO 8601. */
  readonly at: string;
}

export interface AuditVerification {
  readonly rows: number;
  readonly head: string;
  readonly isIntact: boolean;
  readonly says: string;
}

export interface FollowView {
  /** The number of the newest event when the request came. */
  readonly seq: number;
}

/** What a client hears while a long operation goes on. */
export interface Progress {
  /** What goes on, as a sentence: `Saving work`. */
  readonly says: string;
  readonly bytes?: number;
  readonly ofBytes?: number;
}

export interface DoctorReport {
  readonly findings: readonly {
    readonly level: 'ok' | 'note' | 'warning' | 'error';
    readonly subject: string;
    readonly says: string;
    readonly advice?: string;
  }[];
}
