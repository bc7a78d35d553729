/**
 * A fresh host for a test of `usb-host`, the hand that plugs devices into it from outside, and eyes inside: its sysfs,
 * and files that grow, such as the console log of a VM.
 */
import { DeviceHands, type DeviceKind, type PlugOptions } from '../../lab/device-hands.ts';
import type { Host } from '../../lab/host.ts';
import type { RunOptions, RunResult } from '../../lab/host-control.ts';
import { type LineOptions, waitForLine } from '../../lab/host-lines.ts';
import { restoreLinuxHost } from '../../lab/linux-host.ts';

/** A device as the host's sysfs shows it; hubs of the controller are left out. */
export interface HostUsbDevice {
  readonly busid: string;
  /** `46f4:0001` */
  readonly vidPid: string;
  readonly devnum: number;
  readonly serial: string;
}

const ARRIVAL_TIMEOUT_MS = 20_000;

/** One host guest of one test file. */
export class HostRig {
  readonly #host: Host;
  readonly #hands: DeviceHands;

  private constructor(host: Host) {
    this.#host = host;
    this.#hands = new DeviceHands(host, 'the Linux host');
  }

  /** Restores a host with files and folders of this machine in its /cargo, by name. About two seconds. */
  static async restore(cargo: Readonly<Record<string, string>> = {}): Promise<HostRig> {
    return new HostRig(await restoreLinuxHost(cargo));
  }

  /** Plugs a device into a socket (1 to 8) and gives the busid at which the host will see it; it does not wait. */
  async plug(kind: DeviceKind, port: number, options: Pick<PlugOptions, 'serial' | 'file'> = {}): Promise<string> {
    return (await this.#hands.plug(kind, { ...options, name: `port${port}`, port: String(port) })).busid;
  }

  /** Pulls out what is in the socket, and waits until socket and file are free; not until the host has noticed. */
  async unplug(port: number): Promise<void> {
    await this.#hands.pull(`port${port}`);
  }

  /** Lists the devices in the host's sysfs. */
  async devices(): Promise<HostUsbDevice[]> {
    const output = await this.check(`
      cd /sys/bus/usb/devices
      for busid in [0-9]*-*; do
        case $busid in *:*) continue ;; esac
        serial=
        { read -r vid < $busid/idVendor && read -r pid < $busid/idProduct && read -r devnum < $busid/devnum; } || continue
        [ -e $busid/serial ] && read -r serial < $busid/serial
        echo "$busid $vid:$pid $devnum $serial"
      done 2> /dev/null`);
    return output
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const [busid = '', vidPid = '', devnum, ...serial] = line.split(' ');
        return { busid, vidPid, devnum: Number(devnum), serial: serial.join(' ') };
      });
  }

  /** Waits until the host has configured the device at `busid`, or, with `isThere` false, until it has forgotten it. */
  async waitForDevice(busid: string, isThere = true): Promise<void> {
    const path = `/sys/bus/usb/devices/${busid}`;
    const condition = isThere ? `[ -e ${path}:1.0 ]` : `[ ! -e ${path} ]`;
    await this.check(`until ${condition}; do sleep 0.05; done`, { timeoutMs: ARRIVAL_TIMEOUT_MS });
  }

  /** Waits for a line in a file of the host that grows; see `waitForLine` of the lab. */
  waitForLine(path: string, pattern: string, options: LineOptions): Promise<string> {
    return waitForLine(this.#host, path, pattern, options);
  }

  /** Runs a bash script in the host as root. */
  run(script: string, options?: RunOptions): Promise<RunResult> {
    return this.#host.run(script, options);
  }

  /** Runs a script that has to succeed and gives its output. */
  check(script: string, options?: RunOptions): Promise<string> {
    return this.#host.check(script, options);
  }

  /** Ends the host. */
  stop(): Promise<void> {
    return this.#host.stop();
  }
}
