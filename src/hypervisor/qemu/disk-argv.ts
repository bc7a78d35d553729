/** The part of QEMU's command line that is about disks. Pure. */
import { Fault } from '../../lib/fault.ts';
import type { DiskConfig, VmConfig } from '../../model/vm.ts';
import { bootRanks } from './boot-order.ts';

type Bus = 'ide' | 'scsi' | 'virtio';

const BUS_OF_PREFIX: Readonly<Record<string, Bus>> = { hd: 'ide', sd: 'scsi', vd: 'virtio', xvd: 'virtio' };
const BLOCK_DRIVER = { raw: 'raw', qcow2: 'qcow2', vhd: 'vpc' } as const;
/** The AHCI controller of q35 has six ports, one device each. */
const IDE_PORTS = 6;

/**
 * Gives `-blockdev` and `-device` for each disk: `hd*` on SATA, `sd*` on virtio-scsi, `vd*` and `xvd*` on virtio-blk. A
 * CD-ROM is never virtio-blk, which has no such thing. The format is the configured one, never probed: a guest could
 * write itself another. @throws Fault `vm.start_failed`
 */
export function diskArgv(config: VmConfig): string[] {
  const { name, disks } = config;
  const ranks = bootRanks(config);
  const buses = disks.map((disk) => busOf(name, disk));
  const scsi = buses.includes('scsi') ? ['-device', JSON.stringify({ driver: 'virtio-scsi-pci', id: 'scsi' })] : [];
  const ide = buses.map((bus, i) => (bus === 'ide' ? i : -1)).filter((i) => i >= 0);
  if (ide.length > IDE_PORTS) {
    const what = `it has ${ide.length} disks named hd…, and QEMU's machine has room for ${IDE_PORTS}; name them vd…`;
    throw new Fault('vm.start_failed', { vm: name, what });
  }
  const devices = disks.flatMap((disk, i) => {
    const bus = buses[i] ?? 'virtio';
    const place = { ide: { bus: `ide.${ide.indexOf(i)}` }, scsi: { bus: 'scsi.0', 'scsi-id': i }, virtio: {} }[bus];
    const isEmpty = disk.path === '';
    const drive = isEmpty ? {} : { drive: nodeName(i) };
    const device = { driver: modelOf(bus, disk), id: `disk-${i}`, ...drive, ...place, ...ranks.ofDisk(i) };
    const medium = isEmpty ? [] : ['-blockdev', JSON.stringify(blockdev(disk, i))];
    return [...medium, '-device', JSON.stringify(device)];
  });
  return [...scsi, ...devices];
}

function busOf(vm: string, { target, kind }: DiskConfig): Bus {
  const [, prefix = ''] = /^(hd|sd|vd|xvd)[a-z]{1,2}$/.exec(target) ?? [];
  const bus = BUS_OF_PREFIX[prefix];
  if (bus === undefined) {
    const what = `QEMU knows no disk "${target}": use hda, sda, vda or xvda and so on`;
    throw new Fault('vm.start_failed', { vm, what });
  }
  return bus === 'virtio' && kind === 'cdrom' ? 'scsi' : bus;
}

function modelOf(bus: Bus, { kind }: DiskConfig): string {
  if (bus === 'virtio') return 'virtio-blk-pci';
  return `${bus}-${kind === 'cdrom' ? 'cd' : 'hd'}`;
}

function blockdev({ path, format, isReadOnly, kind }: DiskConfig, index: number): object {
  return {
    driver: BLOCK_DRIVER[format],
    'node-name': nodeName(index),
    'read-only': isReadOnly || kind === 'cdrom',
    file: { driver: 'file', filename: path },
  };
}

/** Names the block node of the disk at that place in the config. */
export function nodeName(index: number): string {
  return `disk-${index}`;
}
