/** Keeps one core busy; looks up now and then whether it is still wanted. */
import { attend } from './peer.ts';

const SPIN_MS = 20;

attend();
spin();

function spin(): void {
  for (const until = performance.now() + SPIN_MS; performance.now() < until; );
  setImmediate(spin);
}
