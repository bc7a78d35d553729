/** What goes over the socket of a simulated world: JSON, a line each. Types only, and the longest line. */
import type { FaultWire } from '../../lib/fault.ts';
import type { ParamsOf, ResultOf, WorldHint, WorldMethod } from './world-port.ts';

/** Client to world: a call, or giving one up. Every call is answered once, in any order, also one that is given up. */
export type WorldRequest =
  | { [M in WorldMethod]: { readonly id: number; readonly method: M; readonly params: ParamsOf<M> } }[WorldMethod]
  | { readonly cancel: number };

/** World to client: an answer, or a hint. */
export type WorldMessage =
  | { readonly id: number; readonly result: ResultOf<WorldMethod> }
  | { readonly id: number; readonly fault: FaultWire }
  | { readonly hint: WorldHint };

/** A list of ten thousand domains fits. */
export const MAX_LINE_BYTES = 16 * 1024 * 1024;
