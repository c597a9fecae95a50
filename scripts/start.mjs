/** `npm start`: makes the checkout ready, then serves in this same process. Flags after `--` reach the server. */
import { prepare } from './prepare.mjs';

prepare();
await import('../dist/main.js');
