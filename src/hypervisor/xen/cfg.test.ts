import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isFault } from '../../lib/fault.ts';
import type { VmUuid } from '../../model/ids.ts';
import { macOf } from '../../model/nic-address.ts';
import type { DiskConfig, UsbControllerConfig, VmConfig } from '../../model/vm.ts';
import { makeCfg } from './cfg.ts';
import { domainPaths } from './paths.ts';
import { type ParsedCfg, parseCfg } from './testing/cfg-parser.ts';

const UUID = '6f1c2d3e-0000-4000-8000-000000000001' as VmUuid;
const PATHS = domainPaths('/run/usher/xen', '/var/lib/usher/logs', UUID);
const AUTO: UsbControllerConfig = { type: 'auto', version: 3, ports: 8 };
const CONFIG: VmConfig = {
  uuid: UUID,
  name: 'web',
  driver: 'xen',
  kernel: '/boot/vmlinuz',
  memoryMiB: 192,
  vcpus: 2,
  disks: [],
  startup: { do: 'started' },
  onCrash: 'restart',
  onHalt: 'destroy',
  onReboot: 'restart',
  usbControllers: [AUTO],
};
const { kernel: _, ...WITHOUT_KERNEL } = CONFIG;

function parsed(config: VmConfig): ParsedCfg {
  return parseCfg(makeCfg(config, PATHS).text);
}

test('a PV guest', () => {
  assert.deepEqual(parsed({ ...CONFIG, initrd: '/boot/initrd', cmdline: 'root=/dev/xvda1 ro "quiet"' }), {
    name: 'web',
    uuid: UUID,
    type: 'pv',
    memory: 192,
    vcpus: 2,
    kernel: '/boot/vmlinuz',
    ramdisk: '/boot/initrd',
    cmdline: 'root=/dev/xvda1 ro "quiet"',
    disk: [],
    usbctrl: ['type=qusb,version=2,ports=8'],
    device_model_args: [
      '-chardev',
      `socket,id=usher-qmp,path=/run/usher/xen/${UUID}/qmp,server=on,wait=off`,
      '-mon',
      'chardev=usher-qmp,mode=control',
    ],
    on_poweroff: 'preserve',
    on_reboot: 'preserve',
    on_watchdog: 'preserve',
    on_crash: 'preserve',
    on_soft_reset: 'preserve',
  });
});

test('the kind is the configured one, else by the kernel', () => {
  assert.equal(parsed(CONFIG)['type'], 'pv');
  assert.equal(parsed({ ...CONFIG, virtMode: 'pvh' })['type'], 'pvh');
  assert.equal(parsed({ ...CONFIG, virtMode: 'hvm' })['type'], 'hvm');
  assert.equal(parsed(WITHOUT_KERNEL)['type'], 'hvm');
  for (const virtMode of ['pv', 'pvh'] as const) {
    assert.throws(
      () => makeCfg({ ...WITHOUT_KERNEL, virtMode }, PATHS),
      (error) => isFault(error, 'vm.start_failed') && error.message.includes(`kind ${virtMode} needs a kernel`),
    );
  }
});

test('an HVM guest shows nothing, and its first serial port is the console', () => {
  const cfg = parsed(WITHOUT_KERNEL);
  assert.deepEqual([cfg['vnc'], cfg['sdl'], cfg['vga'], cfg['boot']], [0, 0, 'stdvga', 'cd']);
  assert.equal(parsed({ ...CONFIG, virtMode: 'hvm' })['vga'], 'none');
  const log = `logfile=/var/lib/usher/logs/${UUID}.console.log,logappend=on`;
  assert.deepEqual((cfg['device_model_args'] as string[]).slice(4), [
    '-chardev',
    `socket,id=usher-console,path=/run/usher/xen/${UUID}/console.sock,server=on,wait=off,${log}`,
    '-serial',
    'chardev:usher-console',
  ]);
  const serials = (serial: string) => (parsed({ ...WITHOUT_KERNEL, serial })['device_model_args'] as string[]).slice(8);
  assert.deepEqual(serials('pty'), ['-chardev', 'pty,id=usher-serial', '-serial', 'chardev:usher-serial']);
  assert.deepEqual(serials('tcp:[::1]:7000')[1], 'socket,id=usher-serial,host=::1,port=7000,server=on,wait=off');
  assert.deepEqual(serials('tcp:127.0.0.1:7')[1], 'socket,id=usher-serial,host=127.0.0.1,port=7,server=on,wait=off');
  assert.throws(() => serials('udp:1'), /neither pty nor tcp/);
});

test('network cards and PCI devices, in the order of their ids', () => {
  const cfg = parsed({
    ...CONFIG,
    nics: [
      { id: 2, mac: '00:16:3e:00:00:02', model: 'e1000' },
      { id: 0, bridge: 'xen-br0' },
    ],
    pciDevices: [
      { id: 1, domain: 0, bus: 3, device: 31, function: 7, isSeized: true, msiTranslate: false, powerManagement: true },
      { id: 0, domain: 1, bus: 0x0a, device: 0, function: 0, isSeized: false },
    ],
    pciMsiTranslate: true,
    pciPowerManagement: false,
    memoryMaxMiB: 512,
  });
  assert.deepEqual(cfg['vif'], [`mac=${macOf(UUID, { id: 0 })},bridge=xen-br0`, 'mac=00:16:3e:00:00:02,model=e1000']);
  assert.deepEqual(cfg['pci'], ['0001:0a:00.0', '0000:03:1f.7,msitranslate=0,power_mgmt=1,seize=1']);
  assert.deepEqual([cfg['pci_msitranslate'], cfg['pci_power_mgmt'], cfg['maxmem']], [1, 0, 512]);
});

test('what is emulated is as the config says, for an HVM guest alone', () => {
  const wishes = {
    ...{ pae: true, acpi: false, apic: true, nx: false, hap: false, viridian: true, nestedVirtualization: true },
    ...{ hpet: false, alignsTimers: true, timerMode: 2, timeOffsetSeconds: -3600, bootOrder: 'nd', videoMemoryMiB: 16 },
    cpuid: ['1:ecx=x0xx'],
    extraArguments: [{ name: 'device', value: 'virtio-rng-pci,id=r' }, { name: 'k' }],
    display: { protocol: 'vnc', usesFreePort: false, port: 5907, keymap: 'de' },
  } as const;
  const files = { smbios: '/run/smbios', acpi: '/run/acpi' };
  const hvm = parseCfg(makeCfg({ ...WITHOUT_KERNEL, ...wishes }, PATHS, [], files).text);
  assert.deepEqual(Object.fromEntries(Object.entries(hvm).filter(([key]) => key in EMULATED)), EMULATED);
  assert.deepEqual((hvm['device_model_args'] as string[]).slice(-3), ['-device', 'virtio-rng-pci,id=r', '-k']);
  const pv = parsed({ ...CONFIG, ...wishes });
  assert.deepEqual(
    Object.keys(pv).filter((key) => key in EMULATED),
    [],
  );
  const vnc = (display: VmConfig['display']) => {
    const cfg = parsed({ ...CONFIG, virtMode: 'hvm', ...(display === undefined ? {} : { display }) });
    return [cfg['vga'], cfg['vnc'], cfg['vncdisplay'], cfg['vncunused']];
  };
  assert.deepEqual(vnc(undefined), ['none', 0, undefined, undefined]);
  assert.deepEqual(vnc({ protocol: 'none' }), ['none', 0, undefined, undefined]);
  assert.deepEqual(vnc({ protocol: 'vnc', usesFreePort: false }), ['stdvga', 1, undefined, 1]);
  assert.deepEqual(vnc({ protocol: 'vnc', usesFreePort: true, port: 3 }), ['stdvga', 1, 3, 1]);
  assert.throws(() => vnc({ protocol: 'sdl' }), /display = vnc/);
});

const EMULATED = {
  ...{ pae: 1, acpi: 0, apic: 1, nx: 0, hap: 0, viridian: 1, nestedhvm: 1, hpet: 0, vpt_align: 1 },
  ...{ timer_mode: 'no_missed_ticks_pending', rtc_timeoffset: '-3600', boot: 'nd', videoram: 16, vga: 'stdvga' },
  ...{ vnc: 1, vnclisten: '127.0.0.1', vncdisplay: 7, vncunused: 0, keymap: 'de', sdl: 0, cpuid: ['1:ecx=x0xx'] },
  ...{ smbios_firmware: '/run/smbios', acpi_firmware: '/run/acpi' },
};

test('words are for xl what they are for us, whatever is in a path', () => {
  const paths = domainPaths('/run/a, "b"\\c', '/var/d,e', UUID);
  const words = parseCfg(makeCfg(WITHOUT_KERNEL, paths).text)['device_model_args'] as string[];
  assert.equal(words[1], `socket,id=usher-qmp,path=/run/a,, "b"\\c/${UUID}/qmp,server=on,wait=off`);
  assert.ok(words[5]?.includes(`logfile=/var/d,,e/${UUID}.console.log,`));
});

test('disks', () => {
  const disk: DiskConfig = { path: '/vm/root.img', format: 'raw', target: 'xvda', isReadOnly: false, kind: 'disk' };
  const specs = (disks: DiskConfig[], config: VmConfig = CONFIG) => parsed({ ...config, disks })['disk'];
  assert.deepEqual(
    specs([
      disk,
      { ...disk, format: 'qcow2', target: 'xvdb', isReadOnly: true },
      { ...disk, format: 'vhd', target: 'sda', path: '/vm/a, b.vhd' },
      { ...disk, target: 'hdc', isReadOnly: true, kind: 'cdrom', path: '/iso/a.iso,' },
    ]),
    [
      'format=raw,vdev=xvda,access=rw,target=/vm/root.img',
      'format=qcow2,vdev=xvdb,access=ro,target=/vm/root.img',
      'format=vhd,vdev=sda,access=rw,target=/vm/a, b.vhd',
      'format=raw,vdev=hdc,access=ro,devtype=cdrom,target=/iso/a.iso,,',
    ],
  );
  const cdrom: DiskConfig = { ...disk, target: 'hda', kind: 'cdrom' };
  assert.equal(parsed({ ...WITHOUT_KERNEL, disks: [cdrom, disk] })['boot'], 'dc');
  assert.throws(() => specs([{ ...disk, path: '/a\nb' }]), /line end/);
  assert.throws(() => specs([{ ...disk, path: '/a,readonly=off' }], WITHOUT_KERNEL), /comma/);
  assert.throws(() => specs([{ ...cdrom, target: 'sda' }], WITHOUT_KERNEL), /name it hda to hdd/);
});

test('controllers are those that the kind can have, and what is changed is said', () => {
  const made = (usbControllers: UsbControllerConfig[], config: VmConfig = CONFIG) => {
    const { text, notes } = makeCfg({ ...config, usbControllers }, PATHS);
    return { controllers: parseCfg(text)['usbctrl'], notes };
  };
  assert.deepEqual(made([AUTO]), { controllers: ['type=qusb,version=2,ports=8'], notes: [] });
  assert.deepEqual(made([]), { controllers: [], notes: [] });
  assert.deepEqual(made([AUTO, { type: 'qusb', version: 1, ports: 31 }], WITHOUT_KERNEL), {
    controllers: ['type=devicemodel,version=3,ports=8', 'type=qusb,version=1,ports=31'],
    notes: [],
  });
  const changed = made([
    { type: 'auto', version: 3, ports: 15 },
    { type: 'pv', version: 2, ports: 8 },
    { type: 'devicemodel', version: 1, ports: 2 },
  ]);
  assert.deepEqual(changed.controllers, [
    'type=qusb,version=2,ports=15',
    'type=qusb,version=2,ports=8',
    'type=qusb,version=1,ports=2',
  ]);
  assert.deepEqual(changed.notes.map((note) => note.slice(0, 60)).length, 3);
  assert.match(changed.notes[0] ?? '', /version 2 in place of 3/);
  assert.match(changed.notes[1] ?? '', /qusb in place of pv/);
  assert.match(changed.notes[2] ?? '', /no emulated USB controller/);
});

test('a serial port that the kind has not is said', () => {
  const { text, notes } = makeCfg({ ...CONFIG, serial: 'pty' }, PATHS);
  assert.equal(notes.length, 1);
  assert.match(notes[0] ?? '', /kind pv, which has no serial port/);
  assert.doesNotMatch(text, /-serial/);
});

test('a string that ends too early is refused', () => {
  assert.throws(
    () => makeCfg({ ...CONFIG, cmdline: 'a\0b' }, PATHS),
    (error) => isFault(error, 'vm.start_failed'),
  );
});

test('every text comes back from the parser as it was, and adds no setting', () => {
  const anyText = fc
    .oneof(
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc
        .array(fc.constantFrom('"', "'", '\\', '\n', '#', ']', '[', ',', ' ', 'n', 'x41', '\r', '\t', '=', ';'), {
          maxLength: 12,
        })
        .map((parts) => parts.join('')),
    )
    .filter((text) => !text.includes('\0'));
  fc.assert(
    fc.property(anyText, anyText, anyText, (kernel, cmdline, path) => {
      const disk: DiskConfig = {
        path: `/${path.replaceAll('\n', '')}`,
        format: 'raw',
        target: 'xvda',
        isReadOnly: true,
        kind: 'disk',
      };
      const cfg = parsed({ ...CONFIG, kernel, cmdline, disks: [disk] });
      assert.deepEqual([cfg['kernel'], cfg['cmdline']], [kernel, cmdline]);
      assert.deepEqual(cfg['disk'], [
        `format=raw,vdev=xvda,access=ro,target=${disk.path}${disk.path.endsWith(',') ? ',' : ''}`,
      ]);
      assert.deepEqual(Object.keys(cfg), Object.keys(parsed({ ...CONFIG, cmdline: '', disks: [disk] })));
    }),
  );
});
