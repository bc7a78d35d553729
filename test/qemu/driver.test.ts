/** The QEMU driver beyond the contract: processes, refusals to start, and what a death of ours leaves half done. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import type { Domain, Driver } from '../../src/hypervisor/driver.ts';
import { QemuDriver } from '../../src/hypervisor/qemu/driver.ts';
import { formatHeader, readSaveHeader } from '../../src/hypervisor/qemu/save-file.ts';
import { pollUntil } from '../../src/lib/deadline.ts';
import { type FaultCode, isFault } from '../../src/lib/fault.ts';
import { newUuid, type VmUuid } from '../../src/model/ids.ts';
import type { VmConfig } from '../../src/model/vm.ts';
import { connectQmp, type QmpSession } from '../../src/wire/qmp/session.ts';
import { makeQemuRig, type QemuRig } from '../contract/qemu-rig.ts';

const VICTIM = join(import.meta.dirname, 'save-and-die.ts');
const PATIENCE_MS = 20_000;

describe('the QEMU driver', () => {
  let rig: QemuRig;
  let driver: Driver;
  let guests: VmConfig;

  before(async () => {
    rig = await makeQemuRig();
    driver = await rig.openDriver();
    guests = rig.makeConfig();
  });
  afterEach(async () => {
    for (const { uuid } of await driver.list()) await driver.destroy(uuid);
  });
  after(async () => {
    await driver.close();
    await rig.close();
  });

  const start = async (changes: Partial<VmConfig> = {}, isPaused = true): Promise<VmConfig> => {
    const config = rig.makeConfig(changes);
    await driver.start(config, { isPaused });
    return config;
  };

  /** Closes the driver, lets the domain be touched by other hands, and opens another driver. */
  async function whileAway<T>(act: () => Promise<T>): Promise<T> {
    await driver.close();
    try {
      return await act();
    } finally {
      driver = await rig.openDriver();
    }
  }

  function withQmp<T>({ uuid }: VmConfig, act: (session: QmpSession) => Promise<T>): Promise<T> {
    return connectQmp(join(rig.runtimeOf(uuid), 'qmp.sock')).then(async (session) => {
      try {
        return await act(session);
      } finally {
        session.close();
      }
    });
  }

  function eventually<T>(what: string, probe: () => Promise<T | undefined>): Promise<T> {
    return pollUntil({ what, timeoutMs: PATIENCE_MS, everyMs: 20 }, probe);
  }

  async function find({ uuid }: VmConfig): Promise<Domain> {
    const domain = await driver.find(uuid);
    assert.ok(domain);
    return domain;
  }

  describe('processes', () => {
    test('a guest is a process of its own session, in the sandbox, with nothing of our environment', async () => {
      process.env['USHER_TEST_SECRET'] = 'x';
      const config = await start();
      delete process.env['USHER_TEST_SECRET'];
      const pid = await rig.pidOf(config.uuid);
      assert.equal((await find(config)).handle, pid);
      const status = await readFile(`/proc/${pid}/status`, 'utf8');
      assert.match(status, /^Seccomp:\t2$/m);
      const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ').at(-1)?.split(' ') ?? [];
      assert.equal(fields[3], String(pid), 'it leads its session');
      assert.ok(!(await readFile(`/proc/${pid}/environ`, 'utf8')).includes('SECRET'));
    });

    test('sockets, notes and logs are for us alone', async () => {
      const { uuid } = await start();
      const folder = rig.runtimeOf(uuid);
      const files = (await readdir(folder)).map((name) => join(folder, name));
      for (const path of [folder, ...files, driver.consoleOf(uuid).log]) {
        assert.equal((await stat(path)).mode & 0o077, 0, path);
      }
    });

    test('a number that is used again is not taken for a guest', async () => {
      const config = await start();
      await whileAway(async () => {
        await rig.guest(config.uuid).kill();
        await writeFile(join(rig.runtimeOf(config.uuid), 'pid'), `${process.pid}\n`);
      });
      assert.equal(await driver.find(config.uuid), undefined);
      await assert.rejects(stat(rig.runtimeOf(config.uuid)), 'what it left is cleared');
      await driver.start(config, { isPaused: true });
    });

    test('a guest is found without its note', async () => {
      const config = await start();
      const pid = await rig.pidOf(config.uuid);
      await whileAway(() => writeFile(join(rig.runtimeOf(config.uuid), 'pid'), ''));
      assert.equal((await find(config)).handle, pid);
      await driver.destroy(config.uuid);
      await eventually('its process is gone', () =>
        readFile(`/proc/${pid}/stat`).then(
          () => undefined,
          () => true,
        ),
      );
    });

    for (const [what, gone] of [
      ['its folder', (uuid: VmUuid) => rig.runtimeOf(uuid)],
      ['the whole runtime folder', (uuid: VmUuid) => dirname(rig.runtimeOf(uuid))],
    ] as const) {
      test(`a guest that lost ${what} is out of reach, not vanished: it is started once`, async () => {
        const config = await start();
        const { uuid } = config;
        const pid = await rig.pidOf(uuid);
        await whileAway(() => rm(gone(uuid), { recursive: true }));
        assert.deepEqual(
          (await driver.list()).map((domain) => [domain.uuid, domain.run, domain.handle]),
          [[uuid, 'running', pid]],
        );
        await assert.rejects(driver.find(uuid), (error) => {
          assert.ok(isFault(error, 'hypervisor.lost'), String(error));
          assert.ok(error.message.includes(rig.runtimeOf(uuid)) && error.hint?.includes(`process is ${pid}`));
          return true;
        });
        await assert.rejects(driver.start(config, { isPaused: true }), (error) => {
          assert.ok(isFault(error, 'vm.exists') && error.hint?.includes(`process is ${pid}`), String(error));
          return true;
        });
        // A driver that is asked to start before it has looked at anything.
        await whileAway(async () => undefined);
        await assert.rejects(driver.start(config, { isPaused: true }), (error) => isFault(error, 'vm.exists'));
        await driver.destroy(uuid);
        await eventually('its process is gone', () => stat(`/proc/${pid}`).then(nothing, () => true));
        assert.equal(await driver.find(uuid), undefined);
        await driver.start(config, { isPaused: true });
      });
    }

    test('a folder that goes while the driver is there hides no domain', async () => {
      const config = await start();
      await rm(dirname(rig.runtimeOf(config.uuid)), { recursive: true });
      assert.deepEqual(
        (await driver.list()).map(({ uuid }) => uuid),
        [config.uuid],
      );
      assert.equal((await find(config)).run, 'paused');
      await assert.rejects(driver.start(config, { isPaused: true }), (error) => isFault(error, 'vm.exists'));
    });

    test('a guest that lost its folder and then died is gone', async () => {
      const { uuid } = await start();
      const pid = await rig.pidOf(uuid);
      await whileAway(() => rm(rig.runtimeOf(uuid), { recursive: true }));
      assert.equal((await driver.list()).length, 1);
      process.kill(pid, 'SIGKILL');
      await eventually('it is gone', async () =>
        (await driver.find(uuid).catch(nothing)) === undefined && (await driver.list()).length === 0 ? true : undefined,
      );
      assert.equal(await driver.find(uuid), undefined);
    });

    test('a guest of the same uuid in another home is not ours', async () => {
      const config = await start();
      const home = join(rig.folder, '..', 'other-home');
      const other = await rig.openDriver({ runtimeDir: join(home, 'run'), stateDir: join(home, 'logs') });
      try {
        assert.deepEqual(await other.list(), []);
        assert.equal(await other.find(config.uuid), undefined);
        await other.destroy(config.uuid);
        await other.start(config, { isPaused: true });
        await other.destroy(config.uuid);
      } finally {
        await other.close();
      }
      assert.equal((await find(config)).run, 'paused');
    });

    test('a QEMU that does not answer is no vanished one, hides no other, and can be destroyed', async () => {
      const [hung, other] = [await start(), await start()];
      const pid = await rig.pidOf(hung.uuid);
      await driver.attachDevice(hung.uuid, { controller: 0, port: 1 }, await rig.makeDevice('tablet'));
      const before = await find(hung);
      process.kill(pid, 'SIGSTOP');
      await assert.rejects(driver.find(hung.uuid), (error) => isFault(error, 'hypervisor.lost'));
      const listed = await driver.list();
      assert.deepEqual(listed.map(({ uuid }) => uuid).sort(), [hung.uuid, other.uuid].sort());
      assert.deepEqual(
        listed.find(({ uuid }) => uuid === hung.uuid),
        before,
      );
      await driver.destroy(hung.uuid);
      assert.equal(await driver.find(hung.uuid), undefined);
    });

    test('QEMU killed in the middle of anything is a fault, never a wait', async () => {
      const device = await rig.makeDevice('storage');
      const slot = { controller: 0, port: 1 };
      const acts: [string, (config: VmConfig) => Promise<unknown>][] = [
        ['attach', ({ uuid }) => driver.attachDevice(uuid, slot, device)],
        ['save', ({ uuid }) => driver.save(uuid, join(rig.folder, 'killed.save'), { afterwards: 'stopped' })],
        ['reset', ({ uuid }) => driver.reset(uuid)],
        ['find', ({ uuid }) => driver.find(uuid)],
        ['destroy', ({ uuid }) => driver.destroy(uuid)],
      ];
      for (const [name, act] of acts) {
        for (const delayMs of [0, 1, 5]) {
          const config = await start();
          const pid = await rig.pidOf(config.uuid);
          const acting = act(config).then(
            () => undefined,
            (error: unknown) => error,
          );
          if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
          killIfThere(pid);
          const thrown = await acting;
          assert.ok(thrown === undefined || isFault(thrown), `${name}: ${thrown}`);
          await eventually('it is gone', async () =>
            (await driver.find(config.uuid)) === undefined ? true : undefined,
          );
          assert.deepEqual(await readdir(rig.folder), []);
        }
      }
    });
  });

  describe('starts', () => {
    async function refuses(code: FaultCode, says: RegExp, changes: Partial<VmConfig>, other = driver): Promise<void> {
      const config = rig.makeConfig(changes);
      await assert.rejects(other.start(config, { isPaused: true }), (error) => {
        assert.ok(isFault(error, code), String(error));
        assert.match(error.message, says);
        return true;
      });
      assert.equal(await other.find(config.uuid), undefined);
      await assert.rejects(stat(rig.runtimeOf(config.uuid)));
    }

    test('a missing QEMU is said, by the doctor too', async () => {
      const without = await rig.openDriver({ qemuBinary: '/no/such/qemu' });
      await refuses('hypervisor.missing', /\/no\/such\/qemu is not there/, {}, without);
      const [finding] = await without.diagnose();
      assert.equal(finding?.level, 'error');
      assert.match(finding?.advice ?? '', /apt install/);
      await without.close();
    });

    test('what QEMU complains about is in the fault', async () => {
      const path = join(rig.folder, '..', 'disk.img');
      await writeFile(path, Buffer.alloc(1024 * 1024));
      const disk = { path, format: 'raw', target: 'vda', isReadOnly: false, kind: 'disk' } as const;
      await refuses('vm.start_failed', /the file .*no-such is not there/, {
        disks: [{ ...disk, path: `${path}no-such` }],
      });
      await refuses('vm.start_failed', /not in qcow2 format/, { disks: [{ ...disk, format: 'qcow2' }] });
      await refuses('vm.start_failed', /neither pty nor tcp/, { serial: 'udp' });
      await start({ disks: [disk] });
      await refuses('vm.start_failed', /lock/, { disks: [disk] });
    });

    test('commas in paths are only commas', async () => {
      const odd = join(rig.folder, '..', 'a,server=off,b=%d');
      await mkdir(odd, { recursive: true });
      const config = rig.makeConfig();
      const disk = join(odd, 'd,format=qcow2.img');
      await writeFile(disk, Buffer.alloc(1024 * 1024));
      for (const [name, path] of [
        ['k,x=y', config.kernel],
        ['i,x=y', config.initrd],
      ] as const) {
        await symlink(path ?? '', join(odd, name));
      }
      const own = new QemuDriver({ runtimeDir: join(odd, 'r'), stateDir: join(odd, 's') });
      const disks = [{ path: disk, format: 'raw', target: 'vda', isReadOnly: false, kind: 'disk' } as const];
      const changed = { ...config, kernel: join(odd, 'k,x=y'), initrd: join(odd, 'i,x=y'), disks };
      try {
        await own.start(changed, { isPaused: false });
        const { log } = own.consoleOf(config.uuid);
        await eventually('it boots', async () => ((await readFile(log, 'utf8')).includes('ready') ? true : undefined));
        const next = new QemuDriver({ runtimeDir: join(odd, 'r'), stateDir: join(odd, 's') });
        await own.close();
        assert.equal((await next.list()).length, 1);
        await next.destroy(config.uuid);
        await next.close();
      } finally {
        await own.destroy(config.uuid);
        await own.close();
      }
    });

    test('a guest that was saved paused runs when it is restored to run', async () => {
      const config = await start();
      const saved = join(rig.folder, '..', 'paused.save');
      await driver.save(config.uuid, saved, { afterwards: 'stopped' });
      assert.equal((await driver.start(config, { isPaused: false, restoreFrom: saved })).run, 'running');
    });

    test('a guest that is restored has in its CD drive what was put there, not what its config says', async () => {
      const [first = '', second = '', saved = ''] = ['a.iso', 'b.iso', 'cd.save'].map((name) =>
        join(rig.folder, '..', name),
      );
      for (const file of [first, second]) await writeFile(file, Buffer.alloc(1024 * 1024));
      const disk = { path: first, format: 'raw', target: 'hdc', isReadOnly: true, kind: 'cdrom' } as const;
      const config = await start({ disks: [disk] });
      const suspendAndRestore = async () => {
        await driver.save(config.uuid, saved, { afterwards: 'stopped' });
        await driver.start(config, { isPaused: true, restoreFrom: saved });
      };
      const inDrive = async () => {
        const argv = await readFile(`/proc/${await rig.pidOf(config.uuid)}/cmdline`, 'utf8');
        return [first, second].filter((file) => argv.includes(file));
      };
      await driver.changeMedium(config.uuid, 'hdc', second);
      await suspendAndRestore();
      assert.deepEqual(await inDrive(), [second]);
      await driver.changeMedium(config.uuid, 'hdc', undefined);
      await suspendAndRestore();
      assert.deepEqual(await inDrive(), []);
      await driver.changeMedium(config.uuid, 'hdc', first);
      await driver.changeMedium(config.uuid, 'hdc', second);
      await driver.save(config.uuid, saved, { afterwards: 'stopped' });
      await rm(second);
      await assert.rejects(
        driver.start(config, { isPaused: true, restoreFrom: saved }),
        (error) => isFault(error, 'vm.start_failed') && /b\.iso is not there/.test(error.message),
      );
    });

    test('the save of another VM is left alone, and the guest stays as it was', async () => {
      const config = await start();
      const saved = join(rig.folder, '..', 'whose.save');
      await driver.save(config.uuid, saved, { afterwards: 'running' });
      const header = await readSaveHeader(saved);
      assert.ok(header);
      const content = await readFile(saved);
      formatHeader({ ...header, uuid: newUuid() }).copy(content);
      await writeFile(saved, content);
      for (const afterwards of ['stopped', 'running'] as const) {
        await assert.rejects(
          driver.save(config.uuid, saved, { afterwards }),
          (error) => isFault(error, 'vm.save_failed') && /the save of another VM/.test(error.message),
        );
      }
      assert.deepEqual(await readFile(saved), content);
      assert.equal((await driver.find(config.uuid))?.run, 'paused');
    });

    test('a restore that was cut off by our death is no domain', async () => {
      // A QEMU that waits for a state that nobody sends any more.
      const config = await start();
      const pid = await rig.pidOf(config.uuid);
      const argv = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0').slice(0, -1);
      await whileAway(async () => {
        await rig.guest(config.uuid).kill();
        const folder = rig.runtimeOf(config.uuid);
        const [binary = '', ...rest] = argv;
        const waiting = spawn(binary, [...rest, '-incoming', 'defer'], {
          cwd: folder,
          stdio: 'ignore',
          detached: true,
        });
        await writeFile(join(folder, 'pid'), `${waiting.pid}\n`);
        await eventually('it waits', () =>
          withQmp(config, async (s) => (await s.execute('query-status')).status).catch(() => undefined),
        );
      });
      assert.equal(await driver.find(config.uuid), undefined);
    });
  });

  describe('saves that our death cuts off', () => {
    const path = () => join(rig.folder, 'cut.save');

    for (const afterwards of ['stopped', 'running'] as const) {
      test(`killed in mid-stream (${afterwards}): the guest goes on and no half file is left`, async () => {
        await rig.boot(driver, guests);
        const bootId = await rig.guest(guests.uuid).bootId();
        await whileAway(async () => {
          const { log } = driver.consoleOf(guests.uuid);
          const words = [
            VICTIM,
            join(rig.runtimeOf(guests.uuid), '..'),
            join(log, '..'),
            guests.uuid,
            path(),
            afterwards,
          ];
          const victim: ChildProcess = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'inherit'] });
          if (victim.stdout !== null) await once(victim.stdout, 'data');
          victim.kill('SIGKILL');
          await once(victim, 'exit');
        });
        assert.equal((await find(guests)).run, 'running');
        assert.deepEqual(await readdir(rig.folder), []);
        assert.equal(await rig.guest(guests.uuid).bootId(), bootId);
        await driver.save(guests.uuid, join(rig.folder, '..', 'again.save'), { afterwards: 'running' });
      });
    }

    /** Brings QEMU to `postmigrate` as a save does, and leaves the note and, if asked to, the file. */
    async function finishStream(config: VmConfig, afterwards: string, fileId: string | undefined): Promise<void> {
      const sink = createServer((socket) => socket.resume());
      const socket = join(rig.folder, '..', 'sink');
      await new Promise<void>((resolve) => sink.listen(socket, resolve));
      await withQmp(config, async (session) => {
        await session.execute('migrate', { uri: `unix:${socket}` });
        await eventually('it is sent', async () => {
          return (await session.execute('query-migrate')).status === 'completed' ? true : undefined;
        });
      });
      sink.close();
      const note = { saveId: 'mine', path: path(), afterwards, wasRunning: true };
      await writeFile(join(rig.runtimeOf(config.uuid), 'save.json'), JSON.stringify(note));
      if (fileId === undefined) return;
      const topology = { memory: '', vcpus: '', controllers: '', disks: '', serial: '' };
      const rest = {
        driver: 'qemu',
        qemu: '',
        machine: 'q35',
        accelerator: 'tcg',
        createdAt: 0,
        streamBytes: 0,
      } as const;
      const { uuid, name } = config;
      const header = { saveId: fileId, uuid, name, topology, disks: [], sha256: '', ...rest };
      await writeFile(path(), formatHeader(header));
    }

    test('killed after the stream, before the file had its name: the guest goes on', async () => {
      const config = await start({}, false);
      for (const fileId of [undefined, 'another save']) {
        await whileAway(() => finishStream(config, 'stopped', fileId));
        assert.equal((await find(config)).run, 'running');
        await whileAway(async () => undefined);
        assert.equal((await find(config)).run, 'running');
      }
    });

    test('killed after the file had its name: the domain is dead by "suspend"', async () => {
      const config = await start({}, false);
      await whileAway(() => finishStream(config, 'stopped', 'mine'));
      const { run, death } = await find(config);
      assert.deepEqual([run, death?.reason], ['dead', 'suspend']);
      await driver.destroy(config.uuid);
    });

    test('killed after a checkpoint had its file: the guest goes on', async () => {
      const config = await start({}, false);
      await whileAway(() => finishStream(config, 'running', 'mine'));
      assert.equal((await find(config)).run, 'running');
    });
  });

  test('another QEMU behind the socket is not taken for ours', async () => {
    const [config, other] = [await start(), await start()];
    const socketOf = ({ uuid }: VmConfig) => join(rig.runtimeOf(uuid), 'qmp.sock');
    await whileAway(() => rename(socketOf(other), socketOf(config)));
    await assert.rejects(driver.find(config.uuid), (error) => {
      assert.ok(isFault(error, 'hypervisor.lost'));
      assert.ok(error.message.includes(other.uuid));
      return true;
    });
  });
});

function nothing(): undefined {}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It was quicker.
  }
}
