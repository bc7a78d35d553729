/**
 * The QMP commands and events that we use, as types: names, arguments and replies of QEMU 7.2's `query-qmp-schema`.
 * Only the members we read are listed. The types are QEMU's promise, not a check: a session checks the outer shape.
 */

/** A JSON value as a command's argument; a member that is `undefined` is not sent. */
export type QmpValue =
  | null
  | boolean
  | number
  | string
  | readonly QmpValue[]
  | { readonly [name: string]: QmpArgument };
export type QmpArgument = QmpValue | undefined;

type None = Readonly<Record<never, never>>;
type Open<T> = T & { readonly [name: string]: QmpArgument };

/** `RunState`. `prelaunch` is `-S` before the first `cont`; `inmigrate` waits for `migrate-incoming`. */
export type QmpRunState =
  | 'colo'
  | 'debug'
  | 'finish-migrate'
  | 'guest-panicked'
  | 'inmigrate'
  | 'internal-error'
  | 'io-error'
  | 'paused'
  | 'postmigrate'
  | 'prelaunch'
  | 'restore-vm'
  | 'running'
  | 'save-vm'
  | 'shutdown'
  | 'suspended'
  | 'watchdog';

/** `ShutdownCause`: why a guest was stopped or reset. */
export type QmpShutdownCause =
  | 'guest-panic'
  | 'guest-reset'
  | 'guest-shutdown'
  | 'host-error'
  | 'host-qmp-quit'
  | 'host-qmp-system-reset'
  | 'host-signal'
  | 'host-ui'
  | 'none'
  | 'snapshot-load'
  | 'subsystem-reset';

/** `MigrationStatus`; the last are `completed`, `failed` and `cancelled`. */
export type QmpMigrationStatus =
  | 'active'
  | 'cancelled'
  | 'cancelling'
  | 'colo'
  | 'completed'
  | 'device'
  | 'failed'
  | 'none'
  | 'postcopy-active'
  | 'postcopy-paused'
  | 'postcopy-recover'
  | 'pre-switchover'
  | 'setup'
  | 'wait-unplug';

export interface QmpStatus {
  readonly running: boolean;
  readonly status: QmpRunState;
}

export interface QmpVersion {
  readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number };
  readonly package: string;
}

/** A member of a QOM object; a child object has the type `child<usb-tablet>`, a reference `link<bus>`. */
export interface QomProperty {
  readonly name: string;
  readonly type: string;
  readonly description?: string;
}

export interface QmpBlockNode {
  readonly 'node-name'?: string;
  readonly file: string;
  readonly drv: string;
  readonly ro: boolean;
}

export interface QmpChardev {
  readonly label: string;
  readonly filename: string;
  readonly 'frontend-open': boolean;
}

/** What `query-migrate` tells; times are milliseconds, sizes bytes. */
export interface QmpMigration {
  readonly status?: QmpMigrationStatus;
  readonly ram?: { readonly transferred: number; readonly remaining: number; readonly total: number };
  readonly 'total-time'?: number;
  readonly downtime?: number;
  readonly 'error-desc'?: string;
  readonly 'blocked-reasons'?: readonly string[];
}

export interface QmpMigrationParameters {
  /** Bytes per second. */
  readonly 'max-bandwidth'?: number;
  /** Milliseconds. */
  readonly 'downtime-limit'?: number;
}

/** Every command once: `args` are its arguments, `returns` its reply. */
export interface QmpCommands {
  qmp_capabilities: { args: { readonly enable?: readonly 'oob'[] }; returns: None };
  'query-version': { args: None; returns: QmpVersion };
  'query-commands': { args: None; returns: readonly { readonly name: string }[] };
  'query-name': { args: None; returns: { readonly name?: string } };
  'query-uuid': { args: None; returns: { readonly UUID: string } };
  'query-kvm': { args: None; returns: { readonly enabled: boolean; readonly present: boolean } };
  'query-status': { args: None; returns: QmpStatus };

  cont: { args: None; returns: None };
  stop: { args: None; returns: None };
  system_reset: { args: None; returns: None };
  system_powerdown: { args: None; returns: None };
  system_wakeup: { args: None; returns: None };
  quit: { args: None; returns: None };
  'inject-nmi': { args: None; returns: None };
  /** `DeviceNotActive` without a balloon device. Bytes. */
  balloon: { args: { readonly value: number }; returns: None };
  /** The same error. `actual`: what the guest has left itself, in bytes. */
  'query-balloon': { args: None; returns: { readonly actual: number } };
  /** Bytes. */
  'query-memory-size-summary': { args: None; returns: { readonly 'base-memory': number } };
  'query-vnc': {
    args: None;
    returns: { readonly enabled: boolean; readonly host?: string; readonly service?: string };
  };
  'set-action': {
    args: {
      readonly reboot?: 'reset' | 'shutdown';
      readonly shutdown?: 'poweroff' | 'pause';
      readonly panic?: 'pause' | 'shutdown' | 'exit-failure' | 'none';
    };
    returns: None;
  };

  /** Properties of the driver stand beside `driver`. From QEMU 9.2 their JSON types count: `hostbus` is a number. */
  device_add: { args: Open<{ readonly driver: string; readonly id?: string; readonly bus?: string }>; returns: None };
  /** Replies when the removal is *requested*; the id and the port are free at DEVICE_DELETED. */
  device_del: { args: { readonly id: string }; returns: None };
  'qom-list': { args: { readonly path: string }; returns: readonly QomProperty[] };
  'qom-get': { args: { readonly path: string; readonly property: string }; returns: unknown };
  'object-add': { args: Open<{ readonly 'qom-type': string; readonly id: string }>; returns: None };
  'object-del': { args: { readonly id: string }; returns: None };

  'blockdev-add': { args: Open<{ readonly driver: string; readonly 'node-name'?: string }>; returns: None };
  'blockdev-del': { args: { readonly 'node-name': string }; returns: None };
  /** `id` is that of the device. `force` opens a tray that the guest has locked. */
  eject: { args: { readonly id: string; readonly force?: boolean }; returns: None };
  'blockdev-change-medium': {
    args: {
      readonly id: string;
      readonly filename: string;
      readonly format: string;
      readonly force?: boolean;
      readonly 'read-only-mode': 'read-only';
    };
    returns: None;
  };
  'query-named-block-nodes': { args: { readonly flat?: boolean }; returns: readonly QmpBlockNode[] };
  /** All of them, or none. `device` is the name of a root node. */
  transaction: {
    args: {
      readonly actions: readonly {
        readonly type: 'blockdev-snapshot-internal-sync';
        readonly data: { readonly device: string; readonly name: string };
      }[];
    };
    returns: None;
  };
  'blockdev-snapshot-delete-internal-sync': {
    args: { readonly device: string; readonly name: string };
    returns: { readonly id: string; readonly name: string };
  };
  'chardev-add': {
    args: { readonly id: string; readonly backend: { readonly type: string; readonly data: QmpValue } };
    returns: { readonly pty?: string };
  };
  'chardev-remove': { args: { readonly id: string }; returns: None };
  'query-chardev': { args: None; returns: readonly QmpChardev[] };

  /** Replies when the migration has *begun*; its end is the event MIGRATION, if the capability `events` is on. */
  migrate: { args: { readonly uri: string }; returns: None };
  migrate_cancel: { args: None; returns: None };
  /** Goes on with one that has paused before its end (capability `pause-before-switchover`). */
  'migrate-continue': { args: { readonly state: 'pre-switchover' }; returns: None };
  'migrate-incoming': { args: { readonly uri: string }; returns: None };
  'migrate-set-parameters': { args: QmpMigrationParameters; returns: None };
  'migrate-set-capabilities': {
    args: { readonly capabilities: readonly { readonly capability: string; readonly state: boolean }[] };
    returns: None;
  };
  'query-migrate': { args: None; returns: QmpMigration };

  /** Presses the keys together, for `hold-time` ms, on the keyboard that was plugged last. */
  'send-key': {
    args: {
      readonly keys: readonly { readonly type: 'qcode'; readonly data: string }[];
      readonly 'hold-time'?: number;
    };
    returns: None;
  };

  /** `info usb` and the like: text for people, its form is no interface. */
  'human-monitor-command': { args: { readonly 'command-line': string }; returns: string };
}

export type QmpCommandName = keyof QmpCommands;
export type QmpArgsOf<C extends QmpCommandName> = QmpCommands[C]['args'];
export type QmpReturnOf<C extends QmpCommandName> = QmpCommands[C]['returns'];

/** The outer shape of each command's reply; a reply of another shape breaks the session. Also the list of the names. */
export const QMP_RETURN_SHAPES: Readonly<Record<QmpCommandName, 'array' | 'object' | 'string' | 'any'>> = {
  qmp_capabilities: 'object',
  'query-version': 'object',
  'query-commands': 'array',
  'query-name': 'object',
  'query-uuid': 'object',
  'query-kvm': 'object',
  'query-status': 'object',
  cont: 'object',
  stop: 'object',
  system_reset: 'object',
  system_powerdown: 'object',
  system_wakeup: 'object',
  quit: 'object',
  'inject-nmi': 'object',
  balloon: 'object',
  'query-balloon': 'object',
  'query-memory-size-summary': 'object',
  'query-vnc': 'object',
  'set-action': 'object',
  device_add: 'object',
  device_del: 'object',
  'qom-list': 'array',
  'qom-get': 'any',
  'object-add': 'object',
  'object-del': 'object',
  'blockdev-add': 'object',
  'blockdev-del': 'object',
  eject: 'object',
  'blockdev-change-medium': 'object',
  'query-named-block-nodes': 'array',
  transaction: 'object',
  'blockdev-snapshot-delete-internal-sync': 'object',
  'chardev-add': 'object',
  'chardev-remove': 'object',
  'query-chardev': 'array',
  migrate: 'object',
  migrate_cancel: 'object',
  'migrate-continue': 'object',
  'migrate-incoming': 'object',
  'migrate-set-parameters': 'object',
  'migrate-set-capabilities': 'object',
  'query-migrate': 'object',
  'send-key': 'object',
  'human-monitor-command': 'string',
};

interface DeviceEvent {
  /** The id of the device; missing when it had none. */
  readonly device?: string;
  readonly path: string;
}

/** Every event we look at: its data. QEMU sends others too. */
export interface QmpEvents {
  SHUTDOWN: { readonly guest: boolean; readonly reason: QmpShutdownCause };
  RESET: { readonly guest: boolean; readonly reason: QmpShutdownCause };
  POWERDOWN: None;
  STOP: None;
  RESUME: None;
  SUSPEND: None;
  SUSPEND_DISK: None;
  WAKEUP: None;
  WATCHDOG: { readonly action: string };
  GUEST_PANICKED: { readonly action: 'pause' | 'poweroff' | 'run' };
  GUEST_CRASHLOADED: { readonly action: 'pause' | 'poweroff' | 'run' };
  DEVICE_DELETED: DeviceEvent;
  DEVICE_UNPLUG_GUEST_ERROR: DeviceEvent;
  BLOCK_IO_ERROR: {
    readonly device: string;
    readonly operation: 'read' | 'write';
    readonly action: 'ignore' | 'report' | 'stop';
    readonly nospace?: boolean;
    readonly reason: string;
  };
  JOB_STATUS_CHANGE: { readonly id: string; readonly status: string };
  MIGRATION: { readonly status: QmpMigrationStatus };
  MIGRATION_PASS: { readonly pass: number };
}

export type QmpEventName = keyof QmpEvents;

/**
 * An event. The union lists those we look at, so that `switch (event.name)` narrows the data; others arrive too and
 * fall through to `default`.
 */
export type QmpEvent = {
  [N in QmpEventName]: {
    readonly kind: 'event';
    readonly name: N;
    readonly data: QmpEvents[N];
    /** Milliseconds since 1970 by QEMU's clock; negative when it could not tell. */
    readonly atMs: number;
  };
}[QmpEventName];
