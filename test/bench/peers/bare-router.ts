/**
 * The least that a program does which attaches what is plugged: it is told by the simulated world, its timer runs, it
 * writes a request. It does not ask what was plugged, and decides and keeps nothing: device and VM are counted.
 * `node bare-router.ts SOCKET VMS`
 */
import { connect } from 'node:net';
import { populationUuid } from '../../../src/hypervisor/simulator/population.ts';
import type { WorldMessage, WorldRequest } from '../../../src/hypervisor/simulator/world-messages.ts';
import { LineSplitter } from '../../../src/lib/lines.ts';
import { VIRTUAL_BACKEND } from '../../../src/model/ids.ts';
import type { UsbDevice } from '../../../src/model/usb.ts';
import { attend } from './peer.ts';

const [path = '', vms = ''] = process.argv.slice(2);
const MAX_LINE_BYTES = 1024 * 1024;
const lines = new LineSplitter(MAX_LINE_BYTES);
let count = 0;

const world = connect(path, attend);
world.on('data', (chunk: Buffer) => {
  for (const line of lines.push(chunk)) {
    const message = JSON.parse(line.toString()) as WorldMessage;
    if ('hint' in message && message.hint.about === 'devices') setTimeout(attach, 0, count++ % Number(vms));
  }
});

/** A device of `virtual` need not be plugged in the world. */
function attach(index: number): void {
  const device: UsbDevice = {
    ...{ backend: VIRTUAL_BACKEND, busid: `1-${index + 1}`, generation: 'bare' },
    ...{ deviceId: '0951:1666:S:080650', vendorId: '0951', productId: '1666' },
    ...{ speed: 'high', interfaces: ['080650'] },
  };
  const params = { uuid: populationUuid(index), slot: { controller: 0, port: 1 }, device };
  const request: WorldRequest = { id: count, method: 'attachDevice', params };
  world.write(`${JSON.stringify(request)}\n`);
}
