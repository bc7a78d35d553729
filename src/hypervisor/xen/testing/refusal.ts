/** By which Fault something was refused, for tests. */
import assert from 'node:assert/strict';
import { type Fault, type FaultCode, isFault } from '../../../lib/fault.ts';

/** Waits until the promise is rejected with a Fault of that code, and gives it. @throws whatever else comes of it */
export async function refusal(code: FaultCode, promise: Promise<unknown>): Promise<Fault> {
  try {
    await promise;
  } catch (error) {
    if (!isFault(error)) throw error;
    assert.equal(error.code, code, error.message);
    return error;
  }
  return assert.fail(`expected ${code}`);
}
