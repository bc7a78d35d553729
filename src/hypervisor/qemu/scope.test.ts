import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseUuid } from '../../model/ids.ts';
import { chooseScope, guestEnvironment, type ScopeHost, scopeArgv } from './scope.ts';

const uuid = parseUuid('0d8dbe2a-95b3-4a72-b8ae-6c1e7c0e1a52');
const SYSTEMD = ['/run/systemd/system', '/usr/bin/systemd-run'];

function host(paths: readonly string[], isRoot: boolean, env: NodeJS.ProcessEnv = {}): ScopeHost {
  return { isRoot, env, exists: (path) => paths.includes(path) };
}

test('root puts guests into the system’s manager, a user into their own, and nobody where there is none', () => {
  assert.equal(chooseScope(host([], true)).manager, 'none');
  assert.equal(chooseScope(host(SYSTEMD.slice(0, 1), true)).manager, 'none');
  assert.equal(chooseScope(host(SYSTEMD, true)).manager, 'system');
  assert.equal(chooseScope(host(SYSTEMD, false)).manager, 'none');
  const env = { XDG_RUNTIME_DIR: '/run/user/7' };
  assert.equal(chooseScope(host(SYSTEMD, false, env)).manager, 'none');
  assert.equal(chooseScope(host([...SYSTEMD, '/run/user/7/systemd/private'], false, env)).manager, 'user');
});

test('a guest gets a scope of its own', () => {
  const scope = { manager: 'user', why: '' } as const;
  assert.deepEqual(scopeArgv(scope, uuid), [
    ...['/usr/bin/systemd-run', '--user', '--scope', '--quiet', '--collect'],
    ...[`--unit=usher-vm-${uuid}.scope`, '--slice=usher.slice', '--'],
  ]);
  assert.equal(scopeArgv({ manager: 'system', why: '' }, uuid).includes('--user'), false);
  assert.deepEqual(scopeArgv({ manager: 'none', why: '' }, uuid), []);
});

test('nothing of our environment reaches a guest’s process but the way to programs', () => {
  const env = { PATH: '/bin', SECRET: 'x', XDG_RUNTIME_DIR: '/run/user/7' };
  assert.deepEqual(guestEnvironment({ manager: 'system', why: '' }, env), { LC_ALL: 'C', PATH: '/bin' });
  assert.deepEqual(Object.keys(guestEnvironment({ manager: 'user', why: '' }, env)).sort(), [
    'LC_ALL',
    'PATH',
    'XDG_RUNTIME_DIR',
  ]);
});
