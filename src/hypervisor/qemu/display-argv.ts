/** The part of QEMU's command line that is about the guest's screen. Pure. */
import { vncDisplayNumber } from '../../config/display.ts';
import { Fault } from '../../lib/fault.ts';
import type { VmConfig } from '../../model/vm.ts';
import type { DomainPaths } from './paths.ts';

/** Behind the slots of USB controllers: its address must be the same in a restored domain. */
const SLOT = '1e.0';
/** How many displays further a free port is looked for. */
const TRIES = 99;

/**
 * Gives the video card and the VNC server, if the config has one: on this host's loopback, or without a port on a socket
 * in the domain's own folder. @throws Fault `vm.start_failed` for what Usher shows nowhere
 */
export function displayArgv({ name, display, videoMemoryMiB }: VmConfig, paths: DomainPaths): string[] {
  if (display === undefined || display.protocol === 'none') return [];
  if (display.protocol !== 'vnc') {
    const what = `Usher cannot show it by ${display.protocol}: say "display = vnc" or none`;
    throw new Fault('vm.start_failed', { vm: name, what });
  }
  const { port, usesFreePort, keymap } = display;
  const isPowerOfTwo = videoMemoryMiB !== undefined && (videoMemoryMiB & (videoMemoryMiB - 1)) === 0;
  const memory = isPowerOfTwo ? { vgamem_mb: videoMemoryMiB } : {};
  const address =
    port === undefined && !usesFreePort
      ? `unix:${paths.vncSocket.replaceAll(',', ',,')}`
      : `127.0.0.1:${vncDisplayNumber(port ?? 0)}${usesFreePort ? `,to=${TRIES}` : ''}`;
  return [
    ...['-device', JSON.stringify({ driver: 'VGA', id: 'video', addr: SLOT, ...memory })],
    ...['-vnc', address],
    ...(keymap === undefined ? [] : ['-k', keymap]),
  ];
}
