/** Which devices a guest's firmware boots from, and in which order. Pure. */
import type { VmConfig } from '../../model/vm.ts';

/** What a device is booted as: SeaBIOS and OVMF follow `bootindex`, lowest first, and with `strict=on` nothing else. */
export interface BootRanks {
  /** By the disk's place in the config. */
  ofDisk(index: number): { readonly bootindex?: number };
  /** By the card's id. */
  ofNic(id: number): { readonly bootindex?: number };
}

/** Gives the ranks; nothing is booted from beside a kernel. Without an order disks and cdroms are, as they are listed. */
export function bootRanks({ kernel, bootOrder, disks, nics = [] }: VmConfig): BootRanks {
  const all = disks.map((disk, index) => ({ name: `disk-${index}`, kind: disk.kind }));
  const sources = {
    a: [],
    c: all.filter(({ kind }) => kind === 'disk'),
    d: all.filter(({ kind }) => kind === 'cdrom'),
    n: nics.map(({ id }) => ({ name: `nic-${id}` })),
  };
  const letters = bootOrder === undefined ? [] : ([...bootOrder] as (keyof typeof sources)[]);
  const ordered =
    bootOrder === undefined ? all : letters.flatMap((letter): readonly { name: string }[] => sources[letter]);
  const names = kernel === undefined ? ordered.map(({ name }) => name) : [];
  const rankOf = (name: string) => (names.includes(name) ? { bootindex: names.indexOf(name) + 1 } : {});
  return { ofDisk: (index) => rankOf(`disk-${index}`), ofNic: (id) => rankOf(`nic-${id}`) };
}
