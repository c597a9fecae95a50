/** The product's version, read from package.json so that it is written once. */
import { createRequire } from 'node:module';

export const VERSION: string = createRequire(import.meta.url)('../package.json').version;
