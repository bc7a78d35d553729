/** What happened, as it leaves by the API: facts with a sequence number, so that a listener can resume without loss. */
import type { PowerState } from './vm.ts';

/** What an event says, by its kind. */
export interface EventBody {
  'vm.created': { vm: string; name: string };
  'vm.removed': { vm: string; name: string };
  'vm.state': { vm: string; name: string; from: PowerState; to: PowerState; why?: string };
  'vm.death': { vm: string; name: string; reason: string; action: string; detail?: string };
  'vm.warning': { vm: string; name: string; message: string };
  /** Its domain has lost its device model, or has one again (or is no more). */
  'vm.usb_trouble': { vm: string; name: string; isOver: boolean; message: string };
  'usb.plugged': { device: string; deviceId: string; product: string };
  'usb.unplugged': { device: string; deviceId: string };
  'usb.attached': { device: string; vm: string; name: string; slot: string; why: string };
  /** It was detached, and was looked at on the host: what does not work, a sentence each. */
  'usb.given_back': { device: string; problems: string[] };
  'usb.detached': { device: string; vm: string; name: string; why: string };
  'usb.failed': { device: string; vm: string; name: string; message: string; retryMs?: number };
  'usb.controller_added': {
    vm: string;
    name: string;
    controller: number;
    version: number;
    ports: number;
    why: string;
  };
  'usb.asked': { device: string; deviceId: string; vms: string[]; until: number; why: string };
  /** `answer`: the name of a VM, `no`, `unanswered`, or `moot` when it need not be answered any more. */
  'usb.answered': { device: string; answer: string; who?: string };
  /** A rule decides about the device, and is only observed. */
  'usb.observed': { device: string; rule: string; says: string };
  'trial.began': { trial: number; what: string; until: number };
  'trial.ended': { trial: number; what: string; isConfirmed: boolean; why: string };
  'policy.loaded': { rules: number; mode: string };
  'usb.changed': { what: string };
  'daemon.started': { version: string; adopted: number };
  'daemon.stopping': { version: string };
}
export type EventKind = keyof EventBody;

/** One event: `seq` grows by one from each to the next, also over restarts of the daemon. */
export type UsherEvent = {
  [K in EventKind]: { readonly seq: number; readonly at: number; readonly kind: K; readonly body: EventBody[K] };
}[EventKind];

/** Who publishes an event does not know its number yet. */
export type Publish = <K extends EventKind>(kind: K, body: EventBody[K]) => void;
