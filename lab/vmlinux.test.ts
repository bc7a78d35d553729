import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { extractVmlinux } from './vmlinux.ts';

const ELF = Buffer.concat([Buffer.from('\x7fELF'), Buffer.alloc(5000, 'kernel ')]);
const SIZE = Buffer.alloc(4);
SIZE.writeUInt32LE(ELF.length);
const byTool = (command: string, ...args: string[]) => {
  const { status, stdout } = spawnSync(command, args, { input: ELF });
  return status === 0 ? stdout : undefined;
};

/** Makes a bzImage with one setup sector, then 100 bytes of code, the payload, and what follows it. */
function bzImage(payload: Buffer): Buffer {
  const setup = Buffer.alloc(1024);
  setup[0x1f1] = 1;
  setup.write('HdrS', 0x202);
  setup.writeUInt32LE(100, 0x248);
  setup.writeUInt32LE(payload.length, 0x24c);
  return Buffer.concat([setup, Buffer.alloc(100, 0xcc), payload, Buffer.alloc(300, 0xee)]);
}

suite('the raw kernel', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'usher-vmlinux-'));
  });
  after(() => rm(folder, { recursive: true }));

  const payloads: Record<string, Buffer | undefined> = {
    gzip: gzipSync(ELF),
    zstd: Buffer.concat([zstdCompressSync(ELF), SIZE]),
    xz: appendSize(byTool('xz', '--check=crc32')),
    lz4: appendSize(byTool('lz4', '-l')),
  };
  for (const [name, payload] of Object.entries(payloads))
    test(`is taken out of a ${name} payload`, { skip: payload === undefined && `no ${name} here` }, async () => {
      const output = join(folder, name);
      await writeFile(`${output}-image`, bzImage(payload as Buffer));
      await extractVmlinux(`${output}-image`, output);
      assert.deepEqual(await readFile(output), ELF);
      assert.deepEqual(
        (await readdir(folder)).filter((entry) => entry.startsWith(`${name}.`)),
        [],
      );
    });

  test('is not looked for where none can be', async () => {
    const image = join(folder, 'other');
    const cases: [Buffer, RegExp][] = [
      [Buffer.from('short'), /not a bzImage/],
      [bzImage(Buffer.from('plainly not packed')), /an unknown format \(706c61696e6c7920\)/],
      [bzImage(gzipSync('text')), /its gzip payload is not an ELF file/],
    ];
    for (const [content, message] of cases) {
      await writeFile(image, content);
      await assert.rejects(extractVmlinux(image, `${image}-out`), message);
    }
  });
});

function appendSize(packed: Buffer | undefined): Buffer | undefined {
  return packed && Buffer.concat([packed, SIZE]);
}
