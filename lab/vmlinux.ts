/**
 * Takes the raw ELF kernel out of a bzImage, for it boots seconds faster where code is emulated: nothing is unpacked in
 * the guest. Follows the x86 boot protocol (Linux Documentation/x86/boot.rst); not for other architectures.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gunzip, zstdDecompress } from 'node:zlib';
import { exec } from '../src/lib/exec.ts';
import { Fault } from '../src/lib/fault.ts';

const SECTOR = 512;
/** Offsets in the setup header: setup_sects, the magic, payload_offset (from the protected-mode code), payload_length. */
const HEADER = { setupSectors: 0x1f1, magic: 0x202, payloadOffset: 0x248, payloadLength: 0x24c };
/** The kernel's build appends the unpacked size to every format but gzip, which has it already. */
const SIZE_TRAILER = 4;
const TIMEOUT_MS = 60_000;

/** How each format that kernels are packed with begins, and how it is unpacked. */
const FORMATS: readonly {
  readonly name: string;
  readonly magic: readonly number[];
  readonly unpack: (payload: Buffer, output: string) => Promise<void>;
}[] = [
  { name: 'gzip', magic: [0x1f, 0x8b], unpack: async (p, output) => writeFile(output, await promisify(gunzip)(p)) },
  { name: 'xz', magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a], unpack: (p, output) => byTool(['xz', '-dq'], p, output, '.xz') },
  {
    name: 'zstd',
    magic: [0x28, 0xb5, 0x2f, 0xfd],
    unpack: async (p, output) => writeFile(output, await promisify(zstdDecompress)(p)),
  },
  { name: 'lz4', magic: [0x02, 0x21, 0x4c, 0x18], unpack: (p, output) => byTool(['lz4', '-dq'], p, output, '.lz4') },
];

/** Writes the ELF kernel of the bzImage at `bzImage` to `output`. @throws Fault `config.invalid` when there is none. */
export async function extractVmlinux(bzImage: string, output: string): Promise<void> {
  const image = await readFile(bzImage);
  const invalid = (what: string) => new Fault('config.invalid', { what: `${bzImage}: ${what}.` });
  if (image.length < 2 * SECTOR || image.toString('latin1', HEADER.magic, HEADER.magic + 4) !== 'HdrS')
    throw invalid('not a bzImage');
  const start = ((image[HEADER.setupSectors] || 4) + 1) * SECTOR + image.readUInt32LE(HEADER.payloadOffset);
  const payload = image.subarray(start, start + image.readUInt32LE(HEADER.payloadLength));
  const format = FORMATS.find(({ magic }) => magic.every((byte, i) => payload[i] === byte));
  if (format === undefined) throw invalid(`a payload in an unknown format (${payload.toString('hex', 0, 8)})`);
  await format.unpack(format.name === 'gzip' ? payload : payload.subarray(0, -SIZE_TRAILER), output);
  const unpacked = await readFile(output);
  if (unpacked.toString('latin1', 1, 4) !== 'ELF') throw invalid(`its ${format.name} payload is not an ELF file`);
}

async function byTool(tool: [string, ...string[]], payload: Buffer, output: string, suffix: string): Promise<void> {
  const packed = `${output}${suffix}`;
  await writeFile(packed, payload);
  await rm(output, { force: true });
  await exec([...tool, packed, ...(suffix === '.lz4' ? [output] : [])], { timeoutMs: TIMEOUT_MS });
  await rm(packed, { force: true });
}
