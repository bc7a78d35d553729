/** A row for every name of every key of a VM's file: a value that is taken, one that is refused. For tests only. */

export interface Row {
  /** A value that is taken, and what it then is when it is printed; the same when not told. */
  readonly good: string;
  readonly printed?: string;
  /** A value that is refused, with a word of why; absent when any text is taken. */
  readonly bad?: readonly [value: string, why: RegExp];
  /** What the drivers make of `good`: honoured, when not told. The guest on Xen is hvm. */
  readonly xen?: 'ignored' | 'refused';
  readonly qemu?: 'ignored' | 'refused';
  /** What Xen makes of it for a PV guest, if that is something else. */
  readonly pv?: 'ignored';
}

const boolean = { good: 'yes', printed: 'true', bad: ['maybe', /is true or false/] } as const;
const machine = { ...boolean, pv: 'ignored' } as const;
const anyText = { good: 'some text', xen: 'ignored', qemu: 'ignored' } as const;
const lackingBoolean = { ...boolean, xen: 'ignored', qemu: 'ignored' } as const;
const lackingInteger = { good: '1', bad: ['one', /whole number/], xen: 'ignored', qemu: 'ignored' } as const;
const death = { good: 'preserve', bad: ['explode', /destroy, restart or preserve/] } as const;
const nic: Row = { good: 'mac=00:16:3E:00:00:01', printed: 'id=0,mac=00:16:3e:00:00:01', bad: ['mac=1', /six bytes/] };
const offset: Row = { good: '-01:30', printed: '-5400', bad: ['noon', /whole number/], pv: 'ignored' };
const types: Row = { good: '130, 129', printed: '130,129', bad: ['127', /from 128 to 255/], pv: 'ignored' };

export const ROWS: Readonly<Record<string, Row>> = {
  uuid: { good: '00000000-0000-0000-0000-000000000001', bad: ['12', /not a UUID/] },
  name: { good: 'work', bad: ['dom0', /reserved/] },
  driver: { good: 'xen', bad: ['kvm', /simulator, qemu or xen/] },
  virtmode: { good: 'hvm', bad: ['xen', /pv, pvh or hvm/] },
  type: { good: '"hvm"', printed: '', bad: ['"xen"', /pv, pvh or hvm/] },
  hvm: { good: '1', printed: '', bad: ['maybe', /true or false/] },
  kernel: { good: 'vmlinuz', printed: '/etc/vm/vmlinuz', bad: ['x'.repeat(5000), /longer than 4095/] },
  // The table has no kernel beside it; that they are honoured with one is tested below.
  initrd: { good: '/i', bad: ['x'.repeat(5000), /longer than 4095/], xen: 'ignored', qemu: 'ignored' },
  cmdline: { good: 'root=/dev/sda1 ro', xen: 'ignored', qemu: 'ignored' },
  memory: { good: '0x40', printed: '64', bad: ['0', /from 1 to/] },
  'memory-max': { good: '512', bad: ['much', /whole number/] },
  vcpus: { good: '2', bad: ['513', /from 1 to 512/] },
  'cores-per-socket': { good: '1', bad: ['0', /from 1 to 512/], xen: 'ignored' },
  cpuid: { good: '1:ecx=x0xx', bad: ['everything', /leaf:register=bits/], qemu: 'ignored', pv: 'ignored' },
  disk: {
    good: '/d:phy:sda:w:disk',
    printed: '/d:file:sda:w:disk',
    bad: ['/d:phy:sda:w', /path:type:target:mode:kind/],
  },
  nic,
  vif: nic,
  pci: {
    good: '3,0000:0a:1f.7,msitranslate=0',
    bad: ['0,bind,nowhere', /devid,bind,domain:bus:device.function/],
  },
  serial: { good: 'tcp:1.2.3.4:1234', bad: ['com1', /pty or tcp:/], pv: 'ignored' },
  display: {
    good: 'vnc:use-port-unused,keymap=en-us,port=1',
    bad: ['spice', /none, vnc, sdl or intel/],
    pv: 'ignored',
  },
  videoram: { good: '16', bad: ['0', /from 1 to 512/], qemu: 'ignored', pv: 'ignored' },
  usbctrl: { good: 'type=auto,version=3,ports=4', bad: ['version=9', /from 1 to 3/] },
  'pci-msitranslate': { ...boolean, good: '1', qemu: 'ignored' },
  'pci-power-management': { ...boolean, good: '0', printed: 'false', qemu: 'ignored' },
  pae: machine,
  acpi: machine,
  apic: machine,
  nx: machine,
  hap: { ...machine, qemu: 'ignored' },
  viridian: { ...machine, qemu: 'ignored' },
  nested: { ...machine, qemu: 'ignored' },
  hpet: machine,
  'vpt-align': { ...machine, qemu: 'ignored' },
  boot: { good: 'dc', bad: ['dd', /letters a, c, d and n/], pv: 'ignored' },
  'timer-mode': { good: '2', bad: ['4', /from 0 to 3/], pv: 'ignored' },
  timeoffset: offset,
  'time-offset': offset,
  'smbios-pt': machine,
  'smbios-oem-type-pt': types,
  'smbios-oem-types-pt': types,
  'acpi-pt': machine,
  'extra-hvm': { good: 'device=virtio-rng-pci,,id=r', bad: ['qmp=unix:/q', /Usher itself says "-qmp"/], pv: 'ignored' },
  startup: { good: 'restore /s', bad: ['sometimes', /started, paused, shutdown or restore/] },
  on_crash: death,
  on_halt: death,
  on_reboot: death,
  on_restart: death,
  debug: boolean,
  notify: { good: 'unix,events.sock', printed: 'unix,/etc/vm/events.sock', bad: ['udp,x', /unix,PATH/] },
  'diskinfo-pt': lackingBoolean,
  'power-management': { ...lackingInteger, bad: ['3', /from 0 to 2/] },
  'oem-features': lackingInteger,
  'inject-sci': lackingInteger,
  platform: anyText,
  'cpus-affinity': anyText,
  'extra-local-watch': anyText,
  'extra-vm-watch': anyText,
  'passthrough-io': anyText,
  'passthrough-mmio': anyText,
  output: anyText,
  sound: anyText,
  'cdrom-pt': anyText,
  'pci-script': anyText,
  'flask-label': anyText,
  'qemu-dm-path': anyText,
  'qemu-dm-timeout': lackingInteger,
  stubdom: anyText,
  'stubdom-memory': lackingInteger,
  'stubdom-kernel': anyText,
  'stubdom-initrd': anyText,
  'stubdom-cmdline': anyText,
  'vtpm-backend': anyText,
  'vtpm-instance': anyText,
  'xci-service': anyText,
  'xci-cpuid-signature': lackingBoolean,
  usb: lackingBoolean,
  'qemu-pv': lackingBoolean,
  vsnd: lackingBoolean,
  vkbd: lackingBoolean,
  vfb: lackingBoolean,
  v4v: lackingBoolean,
  'disable-migrate': lackingBoolean,
  no_mem_check: lackingBoolean,
  'extra-maxmem': lackingInteger,
};
