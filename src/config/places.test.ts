import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isFault } from '../lib/fault.ts';
import { parseUuid } from '../model/ids.ts';
import { daemonSocketsOf, placesOf, vmSocketPath } from './places.ts';

test('USHER_HOME puts everything under one folder', () => {
  const places = placesOf({ USHER_HOME: '/srv/one', XDG_STATE_HOME: '/other' }, 1000);
  for (const path of Object.values(places)) assert.match(path, /^\/srv\/one(\/|$)/);
  assert.equal(placesOf({ USHER_HOME: 'here' }).home, `${process.cwd()}/here`);
  const uuid = parseUuid('00000000-0000-0000-0000-000000000001');
  assert.equal(vmSocketPath(places, uuid), `/srv/one/run/vm/${uuid}.sock`);
});

test("root has the system's folders", () => {
  const places = placesOf({ HOME: '/root', XDG_RUNTIME_DIR: '/run/user/0' }, 0);
  assert.equal(places.settingsFile, '/etc/usher/usherd.yaml');
  assert.equal(places.policyFile, '/etc/usher/policy.yaml');
  assert.equal(places.databaseFile, '/var/lib/usher/usher.db');
  assert.equal(places.auditFile, '/var/lib/usher/audit.db');
  assert.equal(places.socket, '/run/usher/usher.sock');
  assert.equal(places.vmSocketFolder, '/run/usher/vm');
  assert.deepEqual(placesOf({ USHER_SYSTEM: '1', XDG_RUNTIME_DIR: '/run/user/90' }, 90), places);
});

test('everyone else has the folders of the XDG specification, or their defaults', () => {
  const given = placesOf({ HOME: '/home/ada', XDG_RUNTIME_DIR: '/run/user/1000', XDG_CONFIG_HOME: '/c' }, 1000);
  assert.equal(given.settingsFile, '/c/usher/usherd.yaml');
  assert.equal(given.socket, '/run/user/1000/usher/usher.sock');
  const bare = placesOf({ HOME: '/home/ada', XDG_STATE_HOME: 'relative' }, 1000);
  assert.equal(bare.databaseFile, '/home/ada/.local/state/usher/usher.db');
  assert.equal(bare.socket, '/home/ada/.local/state/usher/run/usher.sock');
});

test('a command looks for the daemon of its user, then for that of the host', () => {
  const ada = { HOME: '/home/ada', XDG_RUNTIME_DIR: '/run/user/1000' };
  assert.deepEqual(daemonSocketsOf(ada, 1000), ['/run/user/1000/usher/usher.sock', '/run/usher/usher.sock']);
  assert.deepEqual(daemonSocketsOf({ ...ada, USHER_HOME: '/srv/one' }, 1000), ['/srv/one/run/usher.sock']);
  assert.deepEqual(daemonSocketsOf(ada, 0), ['/run/usher/usher.sock']);
});

test('refuses a home whose sockets the kernel would refuse', () => {
  assert.throws(
    () => placesOf({ USHER_HOME: `/${'x'.repeat(60)}` }),
    (error) => isFault(error, 'socket.path_long') && error.message.includes('107'),
  );
});
