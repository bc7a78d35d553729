/** What `usher doctor` says about QEMU on this host: is it there, is it quick, may it have USB devices? */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { exec } from '../../lib/exec.ts';
import { errnoOf, isFault, messageOf } from '../../lib/fault.ts';
import type { Finding } from '../driver.ts';
import { type AcceleratorWish, chooseAccelerator } from './accel.ts';
import { chooseScope } from './scope.ts';
import { examineUsbRights, type UsbRightsParts } from './usb-rights.ts';

/** Older ones lack `-action` with all its values, or JSON for `-device`. */
const OLDEST = { major: 7, minor: 2 };
const TIMEOUT_MS = 10_000;

/** Examines the host. Never throws. */
export async function diagnoseQemu(binary: string, wish: AcceleratorWish, rights: UsbRightsParts): Promise<Finding[]> {
  const program = await examineProgram(binary);
  if (program.some(({ level }) => level === 'error')) return program;
  return [...program, await examineAccelerator(wish), ...(await examineUsb(binary, rights)), examineScopes()];
}

async function examineProgram(binary: string): Promise<Finding[]> {
  const subject = 'QEMU';
  try {
    const { stdout } = await exec([binary, '--version'], { timeoutMs: TIMEOUT_MS });
    const says = stdout.split('\n')[0] ?? '';
    const [, major, minor] = /version (\d+)\.(\d+)/.exec(says) ?? [];
    const isOld = Number(major) < OLDEST.major || (Number(major) === OLDEST.major && Number(minor) < OLDEST.minor);
    if (!isOld) return [{ level: 'ok', subject, says }];
    return [{ level: 'error', subject, says, advice: `Usher needs QEMU ${OLDEST.major}.${OLDEST.minor} or newer.` }];
  } catch (error) {
    const isMissing = isFault(error, 'exec.failed') && errnoOf(error.cause) === 'ENOENT';
    const advice = 'Install it: apt install qemu-system-x86';
    return [{ level: 'error', subject, says: isMissing ? `${binary} is not there` : messageOf(error), advice }];
  }
}

async function examineAccelerator(wish: AcceleratorWish): Promise<Finding> {
  const { name, why, advice } = await chooseAccelerator({ wish });
  const subject = `acceleration: ${name}`;
  const finding = { level: name === 'kvm' ? 'ok' : 'note', subject, says: why } as const;
  return advice === undefined ? finding : { ...finding, level: 'warning', advice };
}

async function examineUsb(binary: string, rights: UsbRightsParts): Promise<Finding[]> {
  const subject = 'USB devices of this host';
  const { usbfsRoot } = rights;
  try {
    const { stdout } = await exec([binary, '-device', 'help'], { timeoutMs: TIMEOUT_MS });
    if (!/^name "usb-host"/m.test(stdout)) {
      const advice = 'Install a QEMU that is built with libusb.';
      return [{ level: 'error', subject, says: 'this QEMU has no usb-host', advice }];
    }
    await access(usbfsRoot, constants.R_OK | constants.X_OK);
    const says = `QEMU has usb-host, and ${usbfsRoot} can be read`;
    return [{ level: 'ok', subject, says }, ...(await examineUsbRights(rights))];
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') {
      return [{ level: 'note', subject, says: `${usbfsRoot} does not exist: only software devices can be attached` }];
    }
    const advice = `Let the user that Usher runs as into ${usbfsRoot}, or run Usher as root.`;
    return [{ level: 'warning', subject, says: messageOf(error), advice }];
  }
}

function examineScopes(): Finding {
  const { manager, why } = chooseScope();
  const says = manager === 'none' ? `${why} Guests are processes of their own all the same.` : why;
  return { level: manager === 'none' ? 'note' : 'ok', subject: 'systemd scopes for guests', says };
}
