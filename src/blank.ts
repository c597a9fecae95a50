/** Whether there is anything to embed in a text: asked of texts as they come, and of those that were stored before it was asked. */
const VISIBLE = /[^\p{Cc}\p{Cf}\p{Z}]/u;

/** Nothing, or white space, controls and invisible format characters alone. */
export const isBlank = (text: string): boolean => !VISIBLE.test(text);
