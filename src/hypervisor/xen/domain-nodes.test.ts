import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { isBusid } from '../../model/usb.ts';
import { type NodeReader, readDomainNodes } from './domain-nodes.ts';
import { usableControllers } from './usb-controllers.ts';
import { takenPorts } from './usb-view.ts';

const UUID = '4f117023-e2cf-4caf-8e86-d388b04da895';

/** A store that is a map of paths. */
function storeOf(values: Readonly<Record<string, string>>): NodeReader {
  const paths = Object.keys(values);
  return {
    read: async (path) => values[path] ?? (paths.some((other) => other.startsWith(`${path}/`)) ? '' : undefined),
    directory: async (path) => {
      const below = paths.filter((other) => other.startsWith(`${path}/`));
      const names = new Set(below.map((other) => other.slice(path.length + 1).split('/')[0] ?? ''));
      return values[path] === undefined && names.size === 0 ? undefined : [...names];
    },
  };
}

const LIBXL = '/libxl/5/device/vusb/0';
const BACKEND = '/local/domain/0/backend/qusb/5/0';
const WHOLE: Readonly<Record<string, string>> = {
  '/local/domain/5/vm': `/vm/${UUID}`,
  '/local/domain/5/name': 'work',
  '/local/domain/5/image/device-model-pid': '403',
  '/libxl/5/type': 'pv',
  [`${LIBXL}/type`]: 'qusb',
  [`${LIBXL}/usb-ver`]: '2',
  [`${LIBXL}/num-ports`]: '2',
  [`${BACKEND}/state`]: '4',
  [`${BACKEND}/port/1`]: '1-4',
  [`${BACKEND}/port/2`]: '',
  '/libxl/5/usher/usb/0/1': '1-4 boot.1.7 0951:1666:S:080650',
};

suite('the USB nodes of a domain', () => {
  test('whole', async () => {
    const nodes = await readDomainNodes(storeOf(WHOLE), 5);
    const note = { busid: '1-4', generation: 'boot.1.7', deviceId: '0951:1666:S:080650' };
    assert.deepEqual(nodes?.controllers, [
      {
        ...{ index: 0, type: 'qusb', version: 2, ports: 2, backendState: 4, isHusk: false },
        slots: [
          { port: 1, value: { is: 'busid', busid: '1-4' }, note },
          { port: 2, value: { is: 'free' } },
        ],
      },
    ]);
    assert.deepEqual([nodes?.uuid, nodes?.untrustedName, nodes?.kind, nodes?.modelPid], [UUID, 'work', 'pv', 403]);
  });

  test('no domain, and what one has left', async () => {
    assert.equal(await readDomainNodes(storeOf({}), 5), undefined);
    const left = Object.fromEntries(Object.entries(WHOLE).filter(([path]) => !path.startsWith('/local/domain/5')));
    const nodes = await readDomainNodes(storeOf(left), 5);
    assert.deepEqual([nodes?.uuid, nodes?.controllers.length], [undefined, 1]);
  });

  test('a backend that libxl has forgotten', async () => {
    const { [`${LIBXL}/type`]: _, ...rest } = WHOLE;
    const own = { type: 'qusb', 'usb-ver': '2', 'num-ports': '2' };
    const forgotten = Object.entries(rest).filter(([path]) => !path.startsWith(LIBXL));
    const backend = Object.entries(own).map(([name, value]) => [`${BACKEND}/${name}`, value]);
    const nodes = await readDomainNodes(storeOf(Object.fromEntries([...forgotten, ...backend])), 5);
    assert.deepEqual(nodes && takenPorts(nodes).map(({ busid }) => busid), ['1-4']);
  });

  test('whatever stands in them, only what is sound is told', async () => {
    const text = fc.oneof(
      fc.constantFrom('', '0', '1', '2', '4', '31', '32', 'qusb', 'pv', 'devicemodel', '1-4', '1-4 g d', '../..', '\0'),
      fc.string({ maxLength: 60 }),
      fc.constant('x'.repeat(2_048)),
    );
    const number = fc.constantFrom('0', '1', '00', '-1', '255', '256', '99999', 'x', '..');
    const path = fc.oneof(
      fc.constantFrom(...Object.keys(WHOLE)),
      number.map((n) => `/libxl/5/device/vusb/${n}/type`),
      number.map((n) => `${BACKEND}/port/${n}`),
      number.map((n) => `/libxl/5/usher/usb/${n}/husk`),
      fc.constant('/libxl/5/usher/device-model'),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(path, text), { maxLength: 6 }), async (changes) => {
        const nodes = await readDomainNodes(storeOf({ ...WHOLE, ...Object.fromEntries(changes) }), 5);
        if (nodes === undefined) return;
        for (const { busid } of takenPorts(nodes)) assert.ok(isBusid(busid));
        for (const { ports, speeds } of usableControllers(nodes))
          assert.ok(ports >= 1 && ports <= 31 && speeds.length > 0);
        for (const { slots, ports } of nodes.controllers) assert.equal(slots.length, ports);
      }),
    );
  });
});
