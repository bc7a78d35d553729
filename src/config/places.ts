/** Where everything is: settings, databases, sockets, saves, logs. Paths only; nothing is read or made. */
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';
import { checkSocketPath } from '../lib/unix-server.ts';
import type { VmUuid } from '../model/ids.ts';

export interface Places {
  /** Names this Usher among several on a machine: USHER_HOME, or the folder of its state. */
  readonly home: string;
  readonly settingsFile: string;
  readonly policyFile: string;
  readonly stateFolder: string;
  readonly databaseFile: string;
  readonly auditFile: string;
  /** Held by the daemon for as long as it lives. */
  readonly lockFile: string;
  /** Save files of VMs that were suspended without a name of their own. */
  readonly savesFolder: string;
  /** What guests wrote to their consoles. */
  readonly logsFolder: string;
  /** Empty after a boot of the host. */
  readonly runtimeFolder: string;
  readonly socket: string;
  /** The sockets of the monitors, named by uuid. */
  readonly vmSocketFolder: string;
  /** What monitors that are processes of their own keep, and the sockets of their domains. */
  readonly ownMonitorsFolder: string;
  readonly ownMonitorsRuntime: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

const LONGEST_VM_SOCKET = vmSocketName('00000000-0000-0000-0000-000000000000' as VmUuid);

/**
 * Finds the places. USHER_HOME puts all of them under one folder; otherwise root has the system's folders, as has the host's
 * daemon under another user (USHER_SYSTEM), and everyone else the ones of the XDG base directory specification. @throws Fault `socket.path_long`
 */
export function placesOf(environment: Environment, uid = process.getuid?.() ?? 0): Places {
  const { home, settings, state, runtime } = rootsOf(environment, uid);
  const places: Places = {
    home,
    settingsFile: join(settings, 'usherd.yaml'),
    policyFile: join(settings, 'policy.yaml'),
    stateFolder: state,
    databaseFile: join(state, 'usher.db'),
    auditFile: join(state, 'audit.db'),
    lockFile: join(state, 'lock'),
    savesFolder: join(state, 'saves'),
    logsFolder: join(state, 'logs'),
    runtimeFolder: runtime,
    socket: join(runtime, 'usher.sock'),
    vmSocketFolder: join(runtime, 'vm'),
    ownMonitorsFolder: join(state, 'xenvm'),
    ownMonitorsRuntime: join(runtime, 'xenvm'),
  };
  checkSocketPath(places.socket);
  checkSocketPath(join(places.vmSocketFolder, LONGEST_VM_SOCKET));
  return places;
}

/**
 * Gives the sockets on which a command may find its daemon, the likeliest first: one's own, then that of the host, unless
 * USHER_HOME names the one that is meant. @throws Fault `socket.path_long`
 */
export function daemonSocketsOf(
  environment: Environment,
  uid = process.getuid?.() ?? 0,
): readonly [string, ...string[]] {
  const own = placesOf(environment, uid).socket;
  return environment['USHER_HOME'] || uid === 0 ? [own] : [own, placesOf({}, 0).socket];
}

/**
 * Gives the sockets on which a command may find the monitor of a VM: as `daemonSocketsOf` does. @throws Fault `socket.path_long`
 */
export function monitorSocketsOf(
  environment: Environment,
  uuid: VmUuid,
  uid = process.getuid?.() ?? 0,
): readonly string[] {
  const own = placesOf(environment, uid);
  const places = environment['USHER_HOME'] || uid === 0 ? [own] : [own, placesOf({}, 0)];
  return places.map((place) => vmSocketPath(place, uuid));
}

/** Gives the path of a VM's monitor socket. */
export function vmSocketPath({ vmSocketFolder }: Places, uuid: VmUuid): string {
  return join(vmSocketFolder, vmSocketName(uuid));
}

function rootsOf(
  environment: Environment,
  uid: number,
): { readonly home: string; readonly settings: string; readonly state: string; readonly runtime: string } {
  const home = environment['USHER_HOME'];
  if (home !== undefined && home !== '') {
    const folder = resolve(home);
    return { home: folder, settings: folder, state: folder, runtime: join(folder, 'run') };
  }
  if (uid === 0 || environment['USHER_SYSTEM'] === '1') {
    return { home: '/var/lib/usher', settings: '/etc/usher', state: '/var/lib/usher', runtime: '/run/usher' };
  }
  const user = environment['HOME'] || homedir();
  const folder = (name: string, otherwise: string) => {
    const value = environment[name];
    // The specification says that a relative path is to be ignored.
    return join(value !== undefined && isAbsolute(value) ? value : join(user, otherwise), 'usher');
  };
  const state = folder('XDG_STATE_HOME', '.local/state');
  // Without a login session there is no runtime folder; /tmp is no place for sockets, the state's folder is.
  const runtime = environment['XDG_RUNTIME_DIR'] ? folder('XDG_RUNTIME_DIR', '') : join(state, 'run');
  return { home: state, settings: folder('XDG_CONFIG_HOME', '.config'), state, runtime };
}

/** Gives the places of a monitor that is a process of its own: a home in the home, with the sockets of the whole. */
export function ownPlaces(places: Places, uuid: VmUuid): Places {
  const folder = join(places.ownMonitorsFolder, uuid);
  return {
    ...places,
    home: folder,
    policyFile: join(folder, 'policy.yaml'),
    stateFolder: folder,
    databaseFile: join(folder, 'usher.db'),
    auditFile: join(folder, 'audit.db'),
    savesFolder: join(folder, 'saves'),
    logsFolder: join(folder, 'logs'),
    runtimeFolder: places.ownMonitorsRuntime,
  };
}

/** Held by whichever process is the monitor of the VM. */
export function vmLockPath({ vmSocketFolder }: Places, uuid: VmUuid): string {
  return join(vmSocketFolder, `${uuid}.lock`);
}

function vmSocketName(uuid: VmUuid): string {
  return `${uuid}.sock`;
}
