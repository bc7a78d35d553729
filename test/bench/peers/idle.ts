/** Does nothing: what Node itself needs. */
import { attend } from './peer.ts';

attend();
