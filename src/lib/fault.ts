/**
 * The one error class for what a user may see, and the table of its codes. Anything else that is thrown is a bug: it
 * fails the operation, not the daemon.
 */

/** Exit status of the commands: see docs/specification.md. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  notFound: 4,
  conflict: 5,
  denied: 6,
  timeout: 7,
  partly: 8,
  offline: 9,
} as const;

interface FaultRow {
  readonly exit: number;
  readonly http: number;
  /** The sentence; `{name}` is replaced by the detail of that name. */
  readonly text: string;
}

/** Every code once: exit status, HTTP status, sentence. */
export const FAULTS = {
  internal: { exit: 1, http: 500, text: 'Something went wrong inside Usher: {what}.' },
  usage: { exit: 2, http: 400, text: '{what}.' },
  'params.invalid': { exit: 2, http: 400, text: 'The value of "{field}" is not acceptable: {what}.' },
  'config.invalid': { exit: 2, http: 400, text: '{what}' },
  'rpc.invalid': { exit: 2, http: 400, text: 'The request is not understood: {what}.' },
  'rpc.unknown_operation': { exit: 2, http: 404, text: 'There is no operation "{operation}".' },
  'rpc.version': { exit: 3, http: 426, text: 'This is {client}, and the daemon speaks {server}: {what}.' },
  'daemon.unreachable': { exit: 3, http: 503, text: 'No daemon answers on {socket}.' },
  'daemon.running': { exit: 5, http: 409, text: 'Another daemon (process {pid}) already serves {home}.' },
  'daemon.stopping': { exit: 3, http: 503, text: 'The daemon is stopping.' },
  'vm.not_found': { exit: 4, http: 404, text: 'There is no VM named "{vm}".' },
  'vm.exists': { exit: 5, http: 409, text: 'There is already a VM with the {key} "{value}".' },
  'vm.state': { exit: 5, http: 409, text: '"{verb}" cannot be performed: VM {vm} is {state}, expected {expected}.' },
  'vm.busy': { exit: 5, http: 409, text: 'VM {vm} is busy with "{verb}".' },
  'vm.name_invalid': { exit: 2, http: 400, text: '"{name}" cannot be a VM name: {what}.' },
  'vm.uuid_invalid': { exit: 2, http: 400, text: '"{uuid}" is not a UUID.' },
  'vm.died': { exit: 1, http: 500, text: 'VM {vm} died while "{verb}" was going on: {what}.' },
  'vm.start_failed': { exit: 1, http: 500, text: 'VM {vm} could not be started: {what}.' },
  'vm.save_invalid': { exit: 2, http: 400, text: 'The save file {file} cannot be used: {what}.' },
  'vm.save_failed': { exit: 1, http: 500, text: 'VM {vm} could not be saved to {file}: {what}. It goes on running.' },
  'vm.shutdown_timeout': { exit: 7, http: 504, text: 'VM {vm} did not shut down within {seconds} s.' },
  'vm.no_domain': { exit: 5, http: 409, text: 'VM {vm} does not run.' },
  'vm.no_drive': { exit: 4, http: 404, text: 'VM {vm} has no CD drive "{target}".' },
  'vm.unsupported': { exit: 5, http: 409, text: '"{verb}" cannot be done to VM {vm}: {what}.' },
  'vm.held': { exit: 5, http: 409, text: 'The VM with the uuid {uuid} has a monitor of its own, process {pid}.' },
  'vm.domain_exists': { exit: 5, http: 409, text: 'A domain with the uuid {uuid} is there already.' },
  'config.no_key': { exit: 4, http: 404, text: 'There is no key "{key}" in the config of a VM.' },
  'file.unreadable': { exit: 2, http: 400, text: 'The file {file} cannot be read: {what}.' },
  'file.unwritable': { exit: 1, http: 500, text: 'The file {file} cannot be written: {what}.' },
  'usb.device_not_found': { exit: 4, http: 404, text: 'There is no device "{device}".' },
  'usb.device_invalid': { exit: 2, http: 400, text: '"{device}" is not a device: {what}.' },
  'usb.device_exists': { exit: 5, http: 409, text: 'A device is already plugged at {device}.' },
  'usb.device_gone': { exit: 4, http: 404, text: 'The device {device} is no longer there.' },
  'usb.attached': { exit: 5, http: 409, text: 'The device {device} is attached to VM {vm}.' },
  'usb.guarded': { exit: 5, http: 409, text: 'The device {device} is never given to a VM: {what}.' },
  'usb.no_controller': { exit: 5, http: 409, text: 'VM {vm} has no USB controller that fits {device}: {what}.' },
  'usb.controller_failed': { exit: 1, http: 500, text: 'VM {vm} could not be given one more USB controller: {what}.' },
  'usb.no_port': { exit: 5, http: 409, text: 'VM {vm} has no free USB port for {device}.' },
  'usb.port_busy': { exit: 5, http: 409, text: 'Port {port} of VM {vm} is taken by {other}.' },
  'usb.port_not_found': { exit: 4, http: 404, text: 'VM {vm} has no port {port}.' },
  'usb.attach_failed': { exit: 1, http: 500, text: 'The device {device} could not be attached to VM {vm}: {what}.' },
  'usb.detach_failed': { exit: 1, http: 500, text: 'The device {device} could not be detached from VM {vm}: {what}.' },
  'usb.software_unsupported': { exit: 5, http: 409, text: 'VM {vm} cannot have a software device: {what}.' },
  'usb.file_needed': { exit: 2, http: 400, text: 'A device of the kind "{kind}" needs a file.' },
  'usb.file_busy': { exit: 5, http: 409, text: 'The file {file} is already the content of {device}.' },
  'assignment.not_found': { exit: 4, http: 404, text: 'There is no assignment {assignment}.' },
  'assignment.exists': { exit: 5, http: 409, text: 'The assignment already exists, as number {assignment}.' },
  'trial.not_found': { exit: 4, http: 404, text: 'There is no trial {trial}.' },
  'usb.kept_back': { exit: 5, http: 409, text: 'The device {device} is not given to VM {vm}: {what}.' },
  'question.not_found': { exit: 4, http: 404, text: 'Nobody is asked about the device {device}.' },
  'usb.required_missing': { exit: 5, http: 409, text: 'VM {vm} does not start without the device {missing}.' },
  'usb.required': { exit: 5, http: 409, text: 'VM {vm} requires the device {device}: assignment {assignment}.' },
  'hold.not_found': { exit: 4, http: 404, text: 'The device {device} is not held.' },
  'hypervisor.missing': { exit: 1, http: 503, text: 'The hypervisor cannot be used: {what}.' },
  'hypervisor.failed': { exit: 1, http: 500, text: 'The hypervisor refused: {what}.' },
  'hypervisor.lost': { exit: 1, http: 503, text: 'The connection to the hypervisor of VM {vm} is lost: {what}.' },
  'xenstore.unreachable': { exit: 1, http: 503, text: 'No xenstored answers at {path}: {what}.' },
  'driver.unknown': { exit: 2, http: 400, text: 'There is no driver "{driver}".' },
  'wire.broken': { exit: 1, http: 502, text: 'The peer at {peer} does not speak {protocol}: {what}.' },
  'wire.closed': { exit: 1, http: 502, text: 'The connection to {peer} was closed: {what}.' },
  'exec.failed': { exit: 1, http: 500, text: '"{command}" failed: {what}.' },
  timeout: { exit: 7, http: 504, text: '{what} took longer than {seconds} s.' },
  aborted: { exit: 1, http: 499, text: '{what} was given up.' },
  'socket.path_long': { exit: 2, http: 400, text: 'The socket path {path} has {bytes} bytes; the kernel allows 107.' },
  'socket.busy': { exit: 5, http: 409, text: 'Something already listens on {path}.' },
  'socket.unreachable': { exit: 3, http: 503, text: 'Nothing answers on {path}: {what}.' },
  'store.busy': { exit: 5, http: 503, text: 'Another process keeps the database {file} busy.' },
  'store.newer': { exit: 2, http: 500, text: 'A newer Usher wrote {file} (form {found}; this one knows {known}).' },
  'store.broken': { exit: 1, http: 500, text: 'The database {file} cannot be used: {what}.' },
  'audit.unwritable': {
    exit: 1,
    http: 507,
    text: 'The audit trail cannot be written, so "{operation}" was not begun: {what}.',
  },
  'audit.broken': { exit: 1, http: 500, text: 'The audit trail is broken at row {row}: {what}.' },
  'events.gone': {
    exit: 4,
    http: 410,
    text: 'Events after number {since} cannot be told: kept are those from {first} on.',
  },
  denied: { exit: 6, http: 403, text: 'User {user} may not do "{operation}": {what}.' },
  offline: { exit: 9, http: 503, text: 'This works only with a hypervisor, and Usher runs in offline mode.' },
} as const satisfies Record<string, FaultRow>;

export type FaultCode = keyof typeof FAULTS;
export type FaultDetails = Readonly<Record<string, string | number>>;

/** A fault as it travels over a socket. */
export interface FaultWire {
  readonly code: FaultCode;
  readonly message: string;
  readonly details: FaultDetails;
  readonly hint?: string;
}

/** Tells a Fault from other errors also when it comes from another bundle, which has a class of its own. */
const BRAND = Symbol.for('usher.fault');

/** What a user may see: a code of the table, a sentence that names the thing, and a hint that says what to do. */
export class Fault extends Error {
  readonly [BRAND] = true;
  readonly code: FaultCode;
  readonly details: FaultDetails;
  readonly hint: string | undefined;

  constructor(code: FaultCode, details: FaultDetails = {}, more: { hint?: string | undefined; cause?: unknown } = {}) {
    super(sentence(code, details), more.cause === undefined ? undefined : { cause: more.cause });
    this.name = 'Fault';
    this.code = code;
    this.details = details;
    this.hint = more.hint;
  }

  get exit(): number {
    return FAULTS[this.code].exit;
  }

  toWire(): FaultWire {
    const { code, message, details, hint } = this;
    return hint === undefined ? { code, message, details } : { code, message, details, hint };
  }

  /** Rebuilds a fault that came over a socket; a code of a newer daemon becomes `internal` with its sentence. */
  static fromWire(untrustedWire: unknown): Fault {
    const wire = (
      typeof untrustedWire === 'object' && untrustedWire !== null ? untrustedWire : {}
    ) as Partial<FaultWire>;
    const hint = typeof wire.hint === 'string' ? wire.hint : undefined;
    if (typeof wire.code === 'string' && wire.code in FAULTS) {
      const fault = new Fault(wire.code, wire.details ?? {}, { hint });
      if (typeof wire.message === 'string') fault.message = wire.message;
      return fault;
    }
    return new Fault('internal', { what: String(wire.message ?? 'an error without words') }, { hint });
  }
}

/** Tells whether the value is a Fault, of one of the codes if any are given. */
export function isFault(value: unknown, ...codes: FaultCode[]): value is Fault {
  const isOne = typeof value === 'object' && value !== null && BRAND in value;
  return isOne && (codes.length === 0 || codes.includes((value as Fault).code));
}

/** Turns anything thrown into a Fault; what is not one becomes `internal`, with the original as its cause. */
export function asFault(thrown: unknown): Fault {
  if (isFault(thrown)) return thrown;
  return new Fault('internal', { what: messageOf(thrown) }, { cause: thrown });
}

/** Gives the message of anything thrown. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/**
 * Gives why something failed, to stand in another sentence: the message without its full stop. Of a fault of one of
 * `codes` only its `what`, when the rest of it would be said twice.
 */
export function reasonOf(thrown: unknown, ...codes: FaultCode[]): string {
  const what = codes.length > 0 && isFault(thrown, ...codes) ? thrown.details['what'] : undefined;
  return withoutFullStop(String(what ?? messageOf(thrown)));
}

/** Gives the `code` of a system error (`ENOENT`), if it has one; the code of a Fault is none. */
export function errnoOf(thrown: unknown): string | undefined {
  if (thrown instanceof Fault) return undefined;
  const code = (thrown as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** Fills the sentence of a code; what is itself a sentence does not end in two full stops. */
function sentence(code: FaultCode, details: FaultDetails): string {
  return FAULTS[code].text.replaceAll(/\{(\w+)\}(\.?)/g, (whole, name: string, stop: string) => {
    const value = details[name];
    if (value === undefined) return whole;
    return stop === '' ? String(value) : `${withoutFullStop(String(value))}.`;
  });
}

function withoutFullStop(text: string): string {
  return text.replace(/\.$/, '');
}
