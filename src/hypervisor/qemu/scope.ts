/** systemd scopes: a unit of its own for each guest, so that stopping the daemon's unit stops no VM. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { VmUuid } from '../../model/ids.ts';

export interface ScopeHost {
  readonly isRoot: boolean;
  readonly env: NodeJS.ProcessEnv;
  exists(path: string): boolean;
}

/** Where guests are put: the system's manager, the user's own, or no unit at all, and why. */
export interface ScopeChoice {
  readonly manager: 'system' | 'user' | 'none';
  readonly why: string;
}

const SYSTEMD_RUN = '/usr/bin/systemd-run';

const THIS_HOST: ScopeHost = { isRoot: process.getuid?.() === 0, env: process.env, exists: existsSync };

/** Chooses the manager; sd_booted(3) says how to tell that systemd runs. */
export function chooseScope(host: ScopeHost = THIS_HOST): ScopeChoice {
  if (!host.exists('/run/systemd/system')) return { manager: 'none', why: 'This machine is not run by systemd.' };
  if (!host.exists(SYSTEMD_RUN)) return { manager: 'none', why: `${SYSTEMD_RUN} is not there.` };
  if (host.isRoot) return { manager: 'system', why: 'Each guest gets a scope usher-vm-<uuid> in usher.slice.' };
  const runtime = host.env['XDG_RUNTIME_DIR'];
  if (runtime === undefined || !host.exists(join(runtime, 'systemd/private'))) {
    return { manager: 'none', why: 'The user has no systemd manager of its own (no login session).' };
  }
  return { manager: 'user', why: 'Each guest gets a scope usher-vm-<uuid> of the user’s manager.' };
}

/** Gives the words to put before a guest's command line; `systemd-run --scope` becomes the command, so the pid stays. */
export function scopeArgv(choice: ScopeChoice, uuid: VmUuid): string[] {
  if (choice.manager === 'none') return [];
  const user = choice.manager === 'user' ? ['--user'] : [];
  const unit = ['--scope', '--quiet', '--collect', `--unit=usher-vm-${uuid}.scope`, '--slice=usher.slice'];
  return [SYSTEMD_RUN, ...user, ...unit, '--'];
}

/** Gives the environment of a guest's process: none of ours but what the user's manager is reached by. */
export function guestEnvironment(choice: ScopeChoice, env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  const names = choice.manager === 'user' ? ['PATH', 'XDG_RUNTIME_DIR', 'DBUS_SESSION_BUS_ADDRESS'] : ['PATH'];
  const known = names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]]));
  return { LC_ALL: 'C', ...Object.fromEntries(known) };
}
