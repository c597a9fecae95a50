/** `npm run model -- …`: makes the checkout ready, then runs the model command in this same process. */
import { prepare } from './prepare.mjs';

prepare();
await import('../dist/model-cli.js');
