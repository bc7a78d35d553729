/**
 * A real Xen host for tests: restored from a snapshot in seconds, or booted; hands that plug devices into it. What it
 * is made of is in xen-image.ts.
 */
import type { Cargo } from './cargo.ts';
import { DeviceHands } from './device-hands.ts';
import { Host } from './host.ts';
import { hostSnapshot } from './host-snapshot.ts';
import { XEN_IMAGE, XEN_MODEL } from './xen-image.ts';

/** Gives the folder of the Xen host's snapshot, building it first when it is not in the cache. */
export function xenHostSnapshot(): Promise<string> {
  return hostSnapshot('xen-host', XEN_IMAGE, XEN_MODEL);
}

export interface XenBootOptions {
  readonly cargo?: Cargo;
  /** The store that the host runs. Default: the C daemon. */
  readonly xenstored?: 'xenstored' | 'oxenstored';
}

/** A running Xen host. */
export class XenHost {
  /** Runs scripts in dom0, freezes, gives QMP. */
  readonly host: Host;
  /** Plugs devices into the host from outside. */
  readonly hands: DeviceHands;

  private constructor(host: Host) {
    this.host = host;
    this.hands = new DeviceHands(host, XEN_MODEL.title);
  }

  /** Gives a fresh host from the snapshot, in two seconds. @throws Fault `timeout`, `exec.failed`, `config.invalid`. */
  static async restore(cargo: Cargo = {}): Promise<XenHost> {
    return new XenHost(await Host.start(XEN_MODEL, { source: await xenHostSnapshot(), isRestored: true, cargo }));
  }

  /** Gives a fresh host by booting it, in fifteen seconds. @throws as `restore` does. */
  static async boot({ cargo = {}, xenstored = 'xenstored' }: XenBootOptions = {}): Promise<XenHost> {
    const source = await xenHostSnapshot();
    return new XenHost(
      await Host.start(XEN_MODEL, { source, isRestored: false, cargo, words: [`xenstored=${xenstored}`] }),
    );
  }

  /**
   * Ends the host and boots it anew from its disk, in fifteen seconds. Everything that was written is there, and what was
   * plugged in is so from the beginning; a power cut loses what the host had not flushed.
   */
  async reboot({ isPowerCut = false }: { readonly isPowerCut?: boolean } = {}): Promise<void> {
    await this.host.reboot({ isPowerCut, whenPowered: () => this.hands.plugAllAgain() });
  }

  /** Ends the host as if its power was cut, with everything on it. */
  async stop(): Promise<void> {
    await this.host.stop();
  }
}
