/**
 * Which network interfaces hang on USB devices and whether this host uses them (sysfs class/net, proc(5) net/route). One
 * that is up and has an address in some network is in use; one that is merely plugged, or has a cable and no address, is
 * not. Interfaces of other network namespaces are not seen, and neither is PPP over a modem's serial line.
 */
import { join } from 'node:path';
import { printable } from '../lib/text.ts';
import type { HostUse } from '../model/host-use.ts';
import { type HostRoots, listFolder, readAttribute, readTable, realFolder, usbDeviceAbove } from './host-files.ts';

export interface NetInterface {
  readonly name: string;
  readonly busid?: string;
  readonly isUp: boolean;
  /** Interfaces that stand on it: its bridge, bond, VLANs. */
  readonly uppers: readonly string[];
  /** Where packets go through it: `default`, or networks. Those that every interface has by itself are left out. */
  readonly routes: readonly string[];
}

const IFF_UP = 0x1;
const RTF_UP = 0x1;
/** An address of the host's own, and what is refused (Linux include/uapi/linux/ipv6_route.h, route.h). */
const RTF_LOCAL = 0x80000000;
const RTF_REJECT = 0x200;

/** Reads the interfaces of our network namespace. @throws Fault `file.unreadable` */
export async function readNetwork({ sysRoot, procRoot }: HostRoots): Promise<NetInterface[]> {
  const folder = join(sysRoot, 'class/net');
  const [names, ipv4, ipv6] = await Promise.all([
    listFolder(folder),
    readTable(join(procRoot, 'net/route')),
    readTable(join(procRoot, 'net/ipv6_route')),
  ]);
  const routes = [...routesOfIpv4(ipv4), ...routesOfIpv6(ipv6)];
  const interfaces = await Promise.all(
    names.map(async (name): Promise<NetInterface | undefined> => {
      const path = await realFolder(join(folder, name));
      if (path === undefined) return undefined;
      const [flags, entries] = await Promise.all([readAttribute(join(path, 'flags')), listFolder(path)]);
      const busid = usbDeviceAbove(path);
      return {
        name,
        ...(busid === undefined ? {} : { busid }),
        isUp: (Number(flags) & IFF_UP) !== 0,
        uppers: entries.flatMap((entry) => /^upper_(.+)$/.exec(entry)?.[1] ?? []),
        routes: routes.filter((route) => route.name === name).map(({ to }) => to),
      };
    }),
  );
  return interfaces.filter((found) => found !== undefined);
}

/** Tells what of the device's network interfaces is in use. Pure. */
export function usesOfNetwork(network: readonly NetInterface[], busid: string): HostUse[] {
  const own = network.filter((found) => found.busid === busid && found.isUp);
  return own.flatMap((found): HostUse[] => {
    const carrying = routesThrough(network, found);
    const name = printable(found.name);
    if (carrying !== undefined && carrying.by === found)
      return [{ kind: 'network', detail: `${name} ${carrying.words}` }];
    const upper = carrying?.by.name ?? found.uppers[0];
    if (upper === undefined) return [];
    const words = carrying === undefined ? '' : `, which ${carrying.words}`;
    return [{ kind: 'network', detail: `${name} is part of ${printable(upper)}${words}` }];
  });
}

/** The first interface, from this one upwards, that has routes. */
function routesThrough(
  network: readonly NetInterface[],
  from: NetInterface,
): { readonly by: NetInterface; readonly words: string } | undefined {
  const seen = new Set([from]);
  for (const by of seen) {
    const to = by.routes.find((route) => route === 'default') ?? by.routes[0];
    if (to !== undefined)
      return { by, words: to === 'default' ? 'carries the default route' : `carries the route to ${to}` };
    for (const upper of network) if (by.uppers.includes(upper.name)) seen.add(upper);
  }
  return undefined;
}

interface Route {
  readonly name: string;
  readonly to: string;
}

/** Iface, Destination, Gateway, Flags, RefCnt, Use, Metric, Mask: addresses as the machine holds them, little-endian. */
function routesOfIpv4(table: string): Route[] {
  return table.split('\n').flatMap((line): Route[] => {
    const [name = '', destination, , flags, , , , mask] = line.trim().split(/\s+/);
    if (destination === undefined || mask === undefined || !/^[0-9A-F]{8}$/i.test(destination)) return [];
    const [address, bits] = [bytesOf(destination).reverse(), bitsIn(bytesOf(mask))];
    const isLinkLocal = address[0] === 169 && address[1] === 254;
    if ((Number.parseInt(flags ?? '', 16) & RTF_UP) === 0 || isLinkLocal) return [];
    return [{ name, to: bits === 0 ? 'default' : `${address.join('.')}/${bits}` }];
  });
}

/** Destination, its length, source, its length, next hop, metric, reference count, use, flags, interface. */
function routesOfIpv6(table: string): Route[] {
  return table.split('\n').flatMap((line): Route[] => {
    const [destination = '', length, , , , , , , flags, name] = line.trim().split(/\s+/);
    if (name === undefined || flags === undefined || length === undefined) return [];
    const isOwn = (Number.parseInt(flags, 16) & (RTF_LOCAL | RTF_REJECT)) !== 0;
    const isLinkLocal = /^(fe[89ab]|ff)/.test(destination);
    if (isOwn || isLinkLocal) return [];
    const bits = Number.parseInt(length, 16);
    if (bits === 0) return [{ name, to: 'default' }];
    const groups = destination.match(/.{4}/g)?.map((group) => group.replace(/^0{1,3}/, '')) ?? [];
    return [{ name, to: `${groups.join(':').replace(/(:0)+$/, '::')}/${bits}` }];
  });
}

function bytesOf(hex: string): number[] {
  return [...Buffer.from(hex, 'hex')];
}

function bitsIn(bytes: readonly number[]): number {
  return bytes.reduce((bits, byte) => bits + byte.toString(2).replaceAll('0', '').length, 0);
}
