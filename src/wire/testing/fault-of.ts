/** By which fault something was refused. For tests only. */
import assert from 'node:assert/strict';
import { type Fault, type FaultCode, isFault } from '../../lib/fault.ts';

/** Waits for the rejection and gives it, if it is a fault of that code. @throws AssertionError for whatever else comes of it */
export async function faultOf(promise: Promise<unknown>, code: FaultCode): Promise<Fault> {
  const error = await promise.then(
    () => assert.fail(`no ${code}`),
    (thrown: unknown) => thrown,
  );
  if (!isFault(error, code)) assert.fail(`not ${code}: ${error}`);
  return error;
}
