/** usage: transformers-js-library.mjs PROJECT FOLDER THREADS DTYPE MAX_TOKENS mean|cls */
import { serve } from './line-driver.mjs';
import { loadTransformersJs } from './transformers-js.mjs';

await serve(await loadTransformersJs(process.argv.slice(2)));
