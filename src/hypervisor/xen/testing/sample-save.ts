/** Small files of the form that `xl save` writes, for tests; the memory in them is none. */

/** Gives a record of libxl or libxc. */
export function record(type: number, body: Buffer = Buffer.alloc(0)): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(type, 0);
  header.writeUInt32LE(body.length, 4);
  return Buffer.concat([header, body, Buffer.alloc((8 - (body.length % 8)) % 8)]);
}

export interface SampleParts {
  /** The config, as libxl prints it. */
  readonly config: string;
  readonly flags?: number;
  /** Bodies of libxc's records of pages. */
  readonly pages?: readonly Buffer[];
  /** libxl's records behind the memory. */
  readonly emulator?: readonly Buffer[];
}

/** Gives what stands before libxl's records. */
export function sampleHead({ config, flags = 3 }: Pick<SampleParts, 'config' | 'flags'>): Buffer {
  const json = Buffer.from(`${config}\0`);
  const header = Buffer.alloc(52);
  header.write('Xen saved domain, xl format\n \0 \r', 'latin1');
  header.writeUInt32LE(0x01020304, 32);
  header.writeUInt32LE(flags, 36);
  header.writeUInt32LE(json.length + 4, 44);
  header.writeUInt32LE(json.length, 48);
  return Buffer.concat([header, json, Buffer.from('LibxlFmt\0\0\0\x02\0\0\0\0', 'latin1')]);
}

/** Gives a whole save file. */
export function sampleSave({
  pages = [Buffer.alloc(100, 1), Buffer.alloc(4096, 2)],
  emulator = [],
  ...head
}: SampleParts): Buffer {
  const libxc = Buffer.alloc(24 + 16);
  Buffer.from('ffffffffffffffff58454e4600000003', 'hex').copy(libxc);
  libxc.writeUInt32LE(1, 24);
  return Buffer.concat([
    sampleHead(head),
    record(1),
    libxc,
    ...pages.map((page) => record(1, page)),
    record(0),
    ...emulator.map((state) => record(3, state)),
    record(0),
  ]);
}

/** Gives the config of a PV guest as libxl prints it into a save. */
export function sampleConfig(
  uuid: string,
  more: { readonly name?: string; readonly memoryMiB?: number; readonly vcpus?: number } = {},
): string {
  const { name = 'web', memoryMiB = 192, vcpus = 1 } = more;
  return JSON.stringify({
    c_info: { type: 'pv', name, uuid, run_hotplug_scripts: 'True' },
    b_info: { max_vcpus: vcpus, max_memkb: memoryMiB * 1024, target_memkb: memoryMiB * 1024, 'type.pv': {} },
    usbctrls: [{ type: 'qusb', devid: 0, version: 2, ports: 8 }],
    on_reboot: 'preserve',
  });
}
