/**
 * What a client may ask of a simulated world, and the port through which it asks: in the same process (world-session.ts)
 * or over a socket (world-client.ts). Types only. The first calls are the driver's, the others are the hand from outside.
 */
import type { FaultCode, FaultDetails } from '../../lib/fault.ts';
import type { VmUuid } from '../../model/ids.ts';
import type { Attachment, UsbDevice, UsbSlot, UsbSpeed } from '../../model/usb.ts';
import type { Trigger, VmConfig } from '../../model/vm.ts';
import type { Controller, Domain, DomainDescription, DriverHint, SaveOptions } from '../driver.ts';

/** A guest's memory, as a save file holds it. */
export interface GuestMemory {
  readonly uuid: VmUuid;
  /** New at each boot. */
  readonly bootId: string;
  /** How long the guest has run since its boot. */
  readonly ranMs: number;
}

/** What a guest would say of itself. */
export interface GuestState {
  /** Whether it has booted and answers. */
  readonly isReady: boolean;
  readonly bootId: string;
  /** Tenths of a second that it has run. */
  readonly ticks: number;
  /** The devices that it sees, as `vid:pid:serial`. */
  readonly usb: readonly string[];
}

/**
 * What a guest does on command, or what is done to it: `kill` ends the domain from outside and leaves nothing, `freeze`
 * makes it deaf and still until `thaw`, `look` does nothing.
 */
export type GuestAction = 'powerOff' | 'reboot' | 'panic' | 'kill' | 'freeze' | 'thaw' | 'look';

/** A device to plug; what is left out is that of a plain memory stick. */
export interface PlugOptions {
  readonly busid: string;
  /** Default `dom0`. */
  readonly backend?: string;
  readonly vendorId?: string;
  readonly productId?: string;
  readonly serial?: string;
  readonly manufacturer?: string;
  readonly product?: string;
  readonly speed?: UsbSpeed;
  readonly interfaces?: readonly string[];
  readonly guard?: string;
  /** Of its controller and the ports, `0000:00:14.0/1.4`. Default: the host does not tell. */
  readonly location?: string;
  /** As if the host had given the number of a former plug again. Default: one that no other plug has. */
  readonly generation?: string;
}

/** Something that goes wrong with a call, before its effect (the default) or after it. */
export type Trouble =
  | {
      readonly do: 'fail';
      readonly code: FaultCode;
      readonly details?: FaultDetails;
      readonly when?: 'before' | 'after';
    }
  | { readonly do: 'delay'; readonly ms: number; readonly when?: 'before' | 'after' }
  /** Waits until it is released, or until the caller gives up. */
  | { readonly do: 'hang'; readonly when?: 'before' | 'after' }
  /** The device is pulled between the check and the attach. */
  | { readonly do: 'unplug' }
  /** The domain is killed in the middle. */
  | { readonly do: 'kill' };

/** Which calls the trouble befalls: the next `times` (default 1) that match. */
export interface Disturbance {
  readonly method: WorldMethod;
  readonly trouble: Trouble;
  readonly times?: number;
  readonly uuid?: VmUuid;
  /** A device key, `dom0:1-2`. */
  readonly device?: string;
}

/** What goes wrong with hints: the next few are lost or come twice, all are late. */
export interface HintTrouble {
  readonly lose?: number;
  readonly duplicate?: number;
  readonly lateMs?: number;
}

/** A driver's hint, or: the devices of a backend may have changed. */
export type WorldHint = DriverHint | { readonly about: 'devices'; readonly backend: string };

/** One call as the world saw it; `fault` is what it answered if it refused. */
export interface JournalEntry {
  readonly at: number;
  readonly method: WorldMethod;
  readonly uuid?: VmUuid;
  readonly device?: string;
  readonly fault?: FaultCode;
}

interface Of {
  readonly uuid: VmUuid;
}
type Nothing = Readonly<Record<string, never>>;

/** Every call once: what it takes, what it gives. */
export interface WorldCalls {
  list: { params: Nothing; result: readonly Domain[] };
  find: { params: Of; result: Domain | null };
  start: {
    params: { readonly config: VmConfig; readonly isPaused: boolean; readonly memory?: GuestMemory };
    result: Domain;
  };
  pause: { params: Of; result: null };
  unpause: { params: Of; result: null };
  requestShutdown: { params: Of; result: null };
  reset: { params: Of; result: null };
  destroy: { params: Of; result: null };
  /** What the domain was made of. */
  config: { params: Of; result: VmConfig };
  /** Takes as long as the memory of the guest takes to be copied, whether it runs or stands still. */
  copyMemory: { params: Of & { readonly file: string }; result: null };
  /** Stops the guest and gives its memory; the client ends the save, or its going does (`as before`). */
  beginSave: { params: Of & { readonly file: string }; result: GuestMemory };
  endSave: { params: Of & { readonly afterwards: SaveOptions['afterwards'] | 'as before' }; result: null };
  /** `isForeign`: as if others than the daemon had done it. */
  attachDevice: {
    params: Of & { readonly slot: UsbSlot; readonly device: UsbDevice; readonly isForeign?: boolean };
    result: Attachment;
  };
  detachDevice: { params: Of & { readonly attachment: Attachment }; result: null };
  addController: { params: Of; result: Controller };
  describe: { params: Of; result: DomainDescription };
  changeMedium: { params: Of & { readonly target: string; readonly file?: string }; result: null };
  setMemoryTarget: { params: Of & { readonly memoryMiB: number }; result: null };
  trigger: { params: Of & { readonly trigger: Trigger }; result: null };
  backends: { params: Nothing; result: readonly string[] };
  devices: { params: { readonly backend: string }; result: readonly UsbDevice[] };

  guest: { params: Of & { readonly action: GuestAction }; result: GuestState | null };
  /** Takes the domain's device model away, and with it controllers and attachments, or gives it a new one. */
  deviceModel: { params: Of & { readonly isGone: boolean }; result: null };
  plug: { params: PlugOptions; result: UsbDevice };
  unplug: { params: { readonly backend: string; readonly busid: string }; result: null };
  removeBackend: { params: { readonly backend: string }; result: null };
  disturb: { params: Disturbance; result: null };
  disturbHints: { params: HintTrouble; result: null };
  /** Lets calls that hang go on and drops troubles that have not come yet. */
  calm: { params: Nothing; result: null };
  journal: { params: Nothing; result: readonly JournalEntry[] };
}
export type WorldMethod = keyof WorldCalls;
export type ParamsOf<M extends WorldMethod> = WorldCalls[M]['params'];
export type ResultOf<M extends WorldMethod> = WorldCalls[M]['result'];

/** One client's way into a world. When it closes, calls under way are dropped and saves undone, as when a daemon dies. */
export interface WorldPort {
  /**
   * Asks the world. Settles soon after the signal is aborted: with its reason, or with the result when it was too late.
   * @throws the driver's Faults, `hypervisor.missing` when the world does not answer
   */
  call<M extends WorldMethod>(method: M, params: ParamsOf<M>, signal?: AbortSignal): Promise<ResultOf<M>>;
  /** Calls the listener on every hint until the function it returns is called. */
  onHint(listener: (hint: WorldHint) => void): () => void;
  close(): Promise<void>;
}
