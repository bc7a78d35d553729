/** What any process that has an engine does before it builds one: folders, who is let in, what becomes of bugs. */
import type { Places } from '../config/places.ts';
import type { Settings } from '../config/settings.ts';
import { Accounts } from '../lib/accounts.ts';
import { makePrivateFolder } from '../lib/atomic-file.ts';
import { type Entrants, letIn } from '../lib/entrants.ts';
import type { Log } from '../lib/log.ts';
import { entrantsOf, isOfHost } from './entrants.ts';

const NO_ACL =
  'the file system takes no access control lists: who has rights by usher-admin or the setting "access" reaches the sockets only as a member of the group usher';

export interface Premises {
  readonly accounts: Accounts;
  readonly hasGroups: boolean;
  readonly entrants: Entrants;
}

/** Makes the folders, for us alone. @throws Fault `file.unwritable` */
export async function makeFolders(places: Places): Promise<void> {
  const { stateFolder, logsFolder, runtimeFolder, vmSocketFolder } = places;
  for (const folder of [stateFolder, logsFolder, runtimeFolder, vmSocketFolder]) await makePrivateFolder(folder);
}

/** Lets those in who may do anything at all. */
export function openPremises(places: Places, settings: Settings, log: Log): Premises {
  const accounts = new Accounts();
  const hasGroups = isOfHost(accounts);
  const entrants = entrantsOf(accounts, hasGroups, settings.access);
  for (const folder of [places.runtimeFolder, places.vmSocketFolder]) {
    if (letIn(folder, 'folder', entrants) !== undefined) log.warn(NO_ACL, { folder });
  }
  return { accounts, hasGroups, entrants };
}

/** What tests and demonstrations put in the place of the host's own. */
export function partsOfEnvironment(): {
  readonly simulatorWorld?: string | undefined;
  readonly systemLog?: string | undefined;
} {
  return { simulatorWorld: process.env['USHER_SIMULATOR_WORLD'], systemLog: process.env['USHER_SYSTEM_LOG'] };
}

/** Has what nobody caught end in the log, not the process. */
export function catchBugs(log: Log): void {
  process.on('unhandledRejection', (error) => log.error('a promise was left alone: a bug', { error }));
  process.on('uncaughtException', (error) => log.error('an error was caught by nobody: a bug', { error }));
}
