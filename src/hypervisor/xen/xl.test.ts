import assert from 'node:assert/strict';
import { openSync, readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pollUntil } from '../../lib/deadline.ts';
import { type Fault, isFault } from '../../lib/fault.ts';
import { Xl, XlFailure } from './xl.ts';

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'usher-xl-'));
});
after(() => rm(folder, { recursive: true }));

/** Gives an Xl whose program is a shell script. */
async function scripted(script: string): Promise<Xl> {
  const binary = join(folder, `xl-${Math.random()}`);
  await writeFile(binary, `#!/bin/sh\n${script}\n`);
  await chmod(binary, 0o755);
  return new Xl({ binary });
}

async function faultOf(promise: Promise<unknown>): Promise<Fault> {
  try {
    await promise;
  } catch (error) {
    if (isFault(error)) return error;
    throw error;
  }
  return assert.fail('it succeeded');
}

const WHAT = 'The pause of VM web';

test('words arrive as they are, and what xl prints comes back', async () => {
  const xl = await scripted('for word; do printf "<%s>" "$word"; done; echo grumble >&2');
  const words = ['create', '-e', '$(reboot); "x" \'y\'', '', 'a\nb', '*'];
  assert.equal(await xl.run(words, { what: WHAT }), words.map((word) => `<${word}>`).join(''));
});

test('its environment has nothing of ours but where programs are', async () => {
  const xl = await scripted('env');
  process.env['USHER_SECRET'] = 'x';
  const names = (await xl.run([], { what: WHAT })).split('\n').map((line) => line.split('=')[0]);
  assert.deepEqual(
    names.filter((name) => !['PATH', 'LC_ALL', 'PWD', 'SHLVL', '_', ''].includes(name ?? '')),
    [],
  );
});

test('what xl says without an end is not kept', async () => {
  const xl = await scripted('head -c 300000000 /dev/zero >&2; echo done');
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  const looking = setInterval(() => {
    most = Math.max(most, process.memoryUsage().arrayBuffers - before);
  }, 5);
  assert.equal(await xl.run([], { what: WHAT }), 'done\n');
  clearInterval(looking);
  assert.ok(most < 200_000_000, `${most} bytes were held`);
});

test('a failure says why, with what xl said as its cause', async () => {
  const xl = await scripted(
    'echo "libxl: error: a.c:1:f: Domain 7:it is on fire" >&2; echo "xl: giving up" >&2; exit 3',
  );
  const fault = await faultOf(xl.run(['create'], { what: WHAT }));
  assert.deepEqual([fault.code, fault.message], ['hypervisor.failed', 'The hypervisor refused: it is on fire.']);
  assert.ok(fault.cause instanceof XlFailure);
  assert.deepEqual([fault.cause.status, fault.cause.untrustedStderr.split('\n').length], [3, 3]);
  const silent = await scripted('exit 1');
  assert.match(
    (await faultOf(silent.run(['pause', '3'], { what: WHAT }))).message,
    /xl pause: it ended with status 1, without a word/,
  );
  const crashed = await scripted('kill -SEGV $$');
  assert.match((await faultOf(crashed.run(['save'], { what: WHAT }))).message, /it was ended by SIGSEGV/);
});

test('a library that complains is a failure where that is asked for, also with status 0', async () => {
  const xl = await scripted('echo "libxl: error: a.c:1:f: Domain 7:No such process" >&2');
  await xl.run(['pause', '7'], { what: WHAT });
  const fault = await faultOf(xl.run(['pause', '7'], { what: WHAT, isStrict: true }));
  assert.equal(fault.message, 'The hypervisor refused: No such process.');
});

test('a program that is not there, or cannot be run, is told as such', async () => {
  const missing = await faultOf(new Xl({ binary: join(folder, 'none') }).run(['list'], { what: WHAT }));
  assert.deepEqual(
    [missing.code, missing.details['what']],
    ['hypervisor.missing', `the program ${folder}/none is not there`],
  );
  assert.match(missing.hint ?? '', /apt install/);
  const folderFault = await faultOf(new Xl({ binary: folder }).run(['list'], { what: WHAT }));
  assert.equal(folderFault.code, 'hypervisor.missing');
});

/** Tells whether the process whose number stands in the file is gone. */
async function checkGone(file: string): Promise<void> {
  const pid = Number(readFileSync(file, 'utf8'));
  assert.ok(pid > 1);
  await pollUntil({ what: 'The end of the helper', timeoutMs: 5000, everyMs: 5 }, () => {
    try {
      process.kill(pid, 0);
      return undefined;
    } catch {
      return true;
    }
  });
}

test('one that hangs is ended at the deadline, with its helpers, and is told as a timeout', async () => {
  const pids = [join(folder, 'own'), join(folder, 'helper')];
  const xl = await scripted(`trap '' TERM; sleep 100 & echo $! >${pids[1]}; echo $$ >${pids[0]}; wait`);
  const fault = await faultOf(xl.run(['list', '-v'], { what: WHAT, timeoutMs: 300 }));
  assert.deepEqual([fault.code, fault.message], ['timeout', 'The pause of VM web took longer than 0.3 s.']);
  for (const file of pids) await checkGone(file);
});

test('one that is given up is gone when the fault comes', async () => {
  const pid = join(folder, 'given-up');
  const xl = await scripted(`echo $$ >${pid}.new; mv ${pid}.new ${pid}; sleep 100`);
  const controller = new AbortController();
  const run = faultOf(xl.run(['create'], { what: WHAT, signal: controller.signal }));
  await pollUntil({ what: 'The script', timeoutMs: 5000, everyMs: 5 }, () => {
    try {
      return readFileSync(pid, 'utf8');
    } catch {
      return undefined;
    }
  });
  controller.abort();
  assert.equal((await run).code, 'aborted');
  assert.throws(() => process.kill(Number(readFileSync(pid, 'utf8')), 0));
  assert.equal((await faultOf(xl.run(['create'], { what: WHAT, signal: AbortSignal.abort() }))).code, 'aborted');
});

test('a device script that keeps the output open is not waited for', async () => {
  const xl = await scripted('(exec setsid sleep 20) & echo done');
  const beganAt = performance.now();
  assert.equal(await xl.run(['create'], { what: WHAT }), 'done\n');
  assert.ok(performance.now() - beganAt < 10_000);
});

test('endless output is a fault, endless complaints are cut', async () => {
  const xl = await scripted('yes');
  assert.match((await faultOf(xl.run(['list'], { what: WHAT }))).message, /xl list wrote more than/);
  const moaning = await scripted('head -c 1000000 /dev/zero | tr "\\0" x >&2; exit 1');
  const fault = await faultOf(moaning.run(['list'], { what: WHAT }));
  assert.ok(fault.message.length < 1000);
});

test('files of ours can be handed over', async () => {
  const file = join(folder, 'text');
  await writeFile(file, 'from a file');
  const xl = await scripted('cat /dev/fd/3');
  assert.equal(await xl.run(['restore'], { what: WHAT, files: [openSync(file, 'r')] }), 'from a file');
});
