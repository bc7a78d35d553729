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
  /** The domain that its device model lives in, -1 when unknown. On Xen only. */
  readonly stubdomDomid?: number;
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
  /** How long the guest stood still: until it ran again, or, suspended, until its file was whole. Milliseconds. */
  readonly pausedMs: number;
}

export interface ConsoleView {
  readonly socket: string;
  readonly log: string;
}

/** The config that a VM is started with next. */
export interface ConfigView {
  readonly name: string;
  readonly uuid: string;
  /** One for each line; what the file does not say has its default. */
  readonly settings: readonly { readonly key: string; readonly value: string; readonly isChanged?: boolean }[];
  readonly warnings: readonly string[];
}

export interface VncView {
  /** Both are absent when there is no display. */
  readonly host?: string;
  readonly port?: number;
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
  /** What udev calls it (`ID_SERIAL`); empty when it is gone. */
  readonly udevName: string;
  readonly speed: string;
  /** The controller and the chain of ports, which stay when buses are numbered anew; absent where the host does not tell. */
  readonly location?: string;
  /**
   * `attached`, `attaching`, `waiting`, `asking`, `detaching`, `left`, `guarded`, `gone` (unplugged while it was attached, and
   * the VM still has it), or `unplugged` (in the answer to what ended it).
   */
  readonly state: string;
  /** Set when it is not plugged, and an assignment waits for it: then `device` is the port, the location or the device id that is assigned. */
  readonly isAbsent?: boolean;
  /** The number of that assignment. */
  readonly assignment?: number;
  readonly vm?: string;
  readonly slot?: string;
  /** The verdict in one sentence. */
  readonly why: string;
  /** Set when it was moved on trial. */
  readonly trial?: TrialView;
}

export interface AssignmentView {
  readonly id: number;
  readonly vm: string;
  readonly device: string;
  readonly mode: string;
  /** Present devices that it matches. */
  readonly matches: readonly string[];
  /** Set when it was made on trial. */
  readonly trial?: TrialView;
}

export interface HoldView {
  readonly device: string;
  readonly kind: 'in' | 'out';
  readonly vm?: string;
  /** By a command (`hand`), by an `answer` to a question, or because nobody answered it (`silence`). */
  readonly by: 'hand' | 'answer' | 'silence';
  readonly since: string;
}

/** A person is asked whether the device may go to one of the VMs. */
export interface QuestionView {
  readonly device: string;
  readonly deviceId: string;
  /** Vendor and product, escaped. */
  readonly description: string;
  readonly vms: readonly string[];
  /** ISO 8601. */
  readonly since: string;
  /** Without an answer by then it is kept out of every VM. ISO 8601. */
  readonly until: string;
}

export interface ExplainView {
  readonly device: string;
  readonly deviceId: string;
  readonly description: string;
  readonly location?: string;
  readonly state: string;
  readonly vm?: string;
  readonly slot?: string;
  /** The whole answer, sentence by sentence: who decided, what matched and how far to trust it. */
  readonly because: readonly string[];
  readonly losers: readonly { readonly assignment: number; readonly vm: string; readonly because: string }[];
  /** Other present devices with the same device id, and where they are. */
  readonly twins: readonly { readonly device: string; readonly location?: string }[];
  readonly changes: readonly { readonly says: string; readonly command?: string; readonly gives: string }[];
  /** The rules of the policy, in their order, and why each does or does not decide. */
  readonly rules: readonly RuleView[];
}

/** Something that was seen of a device, asked for it or done about it. */
export interface TraceEntry {
  /** ISO 8601. */
  readonly at: string;
  /** `seen` by Usher, `asked` by somebody, a `step` of Usher's own, or how one `failed`. */
  readonly is: 'seen' | 'asked' | 'step' | 'failed';
  /** As a sentence for people, escaped. */
  readonly says: string;
  /** Where it is kept: the number of the event, or the row of the audit trail. */
  readonly event?: number;
  readonly row?: number;
}

export interface TraceView {
  readonly device: string;
  /** The oldest first. */
  readonly entries: readonly TraceEntry[];
  /** How things stand, sentence by sentence. */
  readonly now: readonly string[];
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
  /** Anchors that were given and are of other homes. */
  readonly foreignAnchors?: number;
}

export interface PolicySummary {
  readonly file: string;
  readonly mode: 'enforce' | 'observe';
  readonly rules: number;
  readonly expectations: number;
  readonly warnings: readonly string[];
  /** Why the file is not what holds. */
  readonly problem?: string;
  /** Why nothing of it is done. */
  readonly observing?: string;
}

export interface PolicyView extends PolicySummary {
  /** As a file. */
  readonly text: string;
}

export interface PolicyLoadView extends PolicySummary {
  readonly trial?: TrialView;
}

export interface PolicyVerdictView {
  readonly mode: 'enforce' | 'observe';
  /** As an expectation has it: a VM, `ask …`, `deny`, `nothing`. */
  readonly action: string;
  /** `rule 3 "modem" (line 17)`; absent when no rule decides. */
  readonly rule?: string;
  /** What matched, and how far it is to be trusted. */
  readonly matched: readonly string[];
  readonly missingVms: readonly string[];
}

export interface PolicyDiffView {
  readonly changes: readonly {
    readonly device: string;
    readonly before: PolicyVerdictView;
    readonly after: PolicyVerdictView;
    /** Whether something else would be done. */
    readonly isEffective: boolean;
  }[];
  readonly warnings: readonly string[];
}

export interface RuleView {
  readonly rule: string;
  readonly decides: boolean;
  readonly because: string;
}

export interface PolicyExplainView {
  readonly device: string;
  readonly verdict?: PolicyVerdictView;
  readonly rules: readonly RuleView[];
  /** Why no rule is asked. */
  readonly guard?: string;
}

/** A change that is undone unless it is confirmed. */
export interface TrialView {
  readonly id: number;
  readonly what: string;
  /** ISO 8601. */
  readonly until: string;
}

/** What an operation would do. */
export interface PreviewView {
  readonly operation: string;
  /** Sentence by sentence. */
  readonly says: readonly string[];
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
