/** The settings of auto-usb-attach: what they are, what is acceptable, how a file and a command line go together. */
import { isBusid } from '../model/usb.ts';

/** What a file or a command line may say. */
export interface AutoAttachWords {
  readonly domain?: string;
  readonly hubs?: readonly string[];
  /** `vid:pid`, four lower-case hex digits each. */
  readonly devices?: readonly string[];
  readonly qmpSocket?: string;
  readonly usbVersion?: 1 | 2 | 3;
  readonly isWaitingOnShutdown?: boolean;
  readonly isWaitingForDomain?: boolean;
  readonly logFile?: string;
}

/** Settings with every default filled in. */
export interface AutoAttachSettings extends AutoAttachWords {
  readonly domain: string;
  readonly hubs: readonly string[];
  readonly devices: readonly string[];
  readonly isWaitingOnShutdown: boolean;
  readonly isWaitingForDomain: boolean;
}

interface Row {
  /** The key in the file; the option has the same name, if there is one. */
  readonly key: string;
  readonly takes: string;
  readonly isList?: boolean;
  /** Gives the clean value; `undefined` when the value makes no sense. */
  accept(untrustedValue: unknown): unknown;
}

const text = (untrusted: unknown) => (typeof untrusted === 'string' && untrusted !== '' ? untrusted : undefined);
const flag = (untrusted: unknown) => (typeof untrusted === 'boolean' ? untrusted : undefined);

/** Every setting once. */
export const AUTO_ATTACH_SETTINGS = {
  domain: { key: 'domain', takes: 'the name of a VM', accept: text },
  hubs: {
    key: 'hubs',
    takes: 'hubs, each "usb3" (a whole bus) or "1-1" (a place)',
    isList: true,
    accept: (untrusted) => (typeof untrusted === 'string' && isHubName(untrusted) ? untrusted : undefined),
  },
  devices: {
    key: 'devices',
    takes: 'devices, each "vid:pid" in hexadecimal digits, such as 0951:1666',
    isList: true,
    accept: (untrusted) =>
      typeof untrusted === 'string' && /^[0-9a-f]{4}:[0-9a-f]{4}$/i.test(untrusted)
        ? untrusted.toLowerCase()
        : undefined,
  },
  qmpSocket: { key: 'qmp-socket', takes: 'a path', accept: text },
  usbVersion: {
    key: 'usb-version',
    takes: '1, 2 or 3',
    accept: (untrusted) => (untrusted === 1 || untrusted === 2 || untrusted === 3 ? untrusted : undefined),
  },
  isWaitingOnShutdown: { key: 'wait-on-shutdown', takes: 'true or false', accept: flag },
  isWaitingForDomain: { key: 'wait-for-domain', takes: 'true or false', accept: flag },
  logFile: { key: 'log-file', takes: 'a path', accept: text },
} as const satisfies Record<keyof AutoAttachWords, Row>;

/** Tells whether the text names a hub: `usb3` for the root hub of bus 3, or a place such as `1-1.4`. */
export function isHubName(text: string): boolean {
  return /^usb[0-9]{1,3}$/.test(text) || isBusid(text);
}

/** Joins both: lists of the line come after the file's, anything else of the line goes before it. */
export function joinWords(file: AutoAttachWords, line: AutoAttachWords): AutoAttachWords {
  const list = (name: 'hubs' | 'devices') => [...new Set([...(file[name] ?? []), ...(line[name] ?? [])])];
  return { ...file, ...line, hubs: list('hubs'), devices: list('devices') };
}

/** Fills the defaults in, or says what is missing. */
export function completeWords(words: AutoAttachWords): AutoAttachSettings | { readonly missing: string } {
  const { domain, hubs = [], devices = [], isWaitingOnShutdown = false, isWaitingForDomain = true } = words;
  if (domain === undefined) return { missing: 'no domain is named: give -d DOMAIN, or "domain" in the file' };
  if (hubs.length + devices.length === 0) {
    return { missing: 'nothing is to be watched: give a hub (-u HUB) or a device (-x VID:PID) at least' };
  }
  return { ...words, domain, hubs, devices, isWaitingOnShutdown, isWaitingForDomain };
}
