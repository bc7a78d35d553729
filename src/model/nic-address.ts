/** The hardware address of a virtual network card. Pure. */
import { createHash } from 'node:crypto';
import type { VmUuid } from './ids.ts';
import type { NicConfig } from './vm.ts';

/**
 * Gives the card's address: the configured one, else one that is the same at every start, derived from uuid and number,
 * unicast and locally administered (IEEE 802, second lowest bit of the first byte).
 */
export function macOf(uuid: VmUuid, { id, mac }: NicConfig): string {
  if (mac !== undefined) return mac;
  const bytes = createHash('md5').update(`${id} ${uuid}`).digest().subarray(0, 6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

/** Tells whether an address is one of a group, which no single card can have. */
export function isGroupAddress(mac: string): boolean {
  return (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1;
}
