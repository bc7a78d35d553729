/**
 * A real Xen host for tests: restored from a snapshot in seconds, or booted; hands that plug devices into it, and its
 * guests. What it is made of is in xen-image.ts, what is kept of it in xen-snapshots.ts.
 */
import { join } from 'node:path';
import type { Cargo } from './cargo.ts';
import { DeviceHands } from './device-hands.ts';
import { serveHands } from './hands-service.ts';
import { Host } from './host.ts';
import { XenGuest } from './xen-guest.ts';
import { XEN_MODEL } from './xen-image.ts';
import { collectLogs } from './xen-logs.ts';
import { xenGuestsSnapshot, xenHostSnapshot } from './xen-snapshots.ts';

export interface XenBootOptions {
  readonly cargo?: Cargo;
  /** The store that the host runs. Default: the C daemon. */
  readonly xenstored?: 'xenstored' | 'oxenstored';
}

/** A running Xen host. Programs in its dom0 reach the hands, too: dom0/hands. */
export class XenHost {
  /** Runs scripts in dom0, freezes, gives QMP. */
  readonly host: Host;
  /** Plugs devices into the host from outside. */
  readonly hands: DeviceHands;
  #endService: () => void;

  private constructor(host: Host) {
    this.host = host;
    this.hands = new DeviceHands(host, XEN_MODEL.title);
    this.#endService = this.#serve();
  }

  /** Gives a fresh host from the snapshot, in two seconds. @throws Fault `timeout`, `exec.failed`, `config.invalid`. */
  static async restore(cargo: Cargo = {}): Promise<XenHost> {
    return new XenHost(await Host.start(XEN_MODEL, { source: await xenHostSnapshot(), isRestored: true, cargo }));
  }

  /**
   * Gives a fresh host with the booted guests `pv` and `hvm`, each with a USB controller of 8 ports, and with the saves
   * of booted guests (`XEN_PATHS.save`). @throws as `restore` does.
   */
  static async restoreWithGuests(cargo: Cargo = {}): Promise<XenHost> {
    return new XenHost(await Host.start(XEN_MODEL, { source: await xenGuestsSnapshot(), isRestored: true, cargo }));
  }

  /** Gives a fresh host by booting it, in fifteen seconds. @throws as `restore` does. */
  static async boot({ cargo = {}, xenstored = 'xenstored' }: XenBootOptions = {}): Promise<XenHost> {
    const words = [`xenstored=${xenstored}`];
    return new XenHost(
      await Host.start(XEN_MODEL, { source: await xenHostSnapshot(), isRestored: false, cargo, words }),
    );
  }

  /** Gives the guest of that name; it need not run yet. */
  guest(name: string): XenGuest {
    return new XenGuest(this.host, name);
  }

  /**
   * Ends the host and boots it anew from its disk, in fifteen seconds. Everything that was written is there, and what was
   * plugged in is so from the beginning; a power cut loses what the host had not flushed. No guest runs then.
   */
  async reboot({ isPowerCut = false }: { readonly isPowerCut?: boolean } = {}): Promise<void> {
    this.#endService();
    await this.host.reboot({
      isPowerCut,
      whenPowered: async () => {
        this.#endService = this.#serve();
        await this.hands.plugAllAgain();
      },
    });
  }

  /** Collects what host, hypervisor, guests and store have to say, for a test that failed. Never throws. */
  logs(): Promise<string> {
    return collectLogs(this.host);
  }

  /** Does `work`; when it fails, the error's message ends with the logs. */
  async telling<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof Error) error.message += `\n${await this.logs()}`;
      throw error;
    }
  }

  /** Ends the host as if its power was cut, with everything on it. */
  async stop(): Promise<void> {
    this.#endService();
    await this.host.stop();
  }

  #serve(): () => void {
    return serveHands(this.hands, join(this.host.folder, 'hands'));
  }
}
