import { readFileSync } from 'node:fs';
import { Compile } from 'typebox/schema';
import { describe, expect, it } from 'vitest';

const page = readFileSync('docs/trainer-events.md', 'utf8');
const schema = JSON.parse(readFileSync('docs/trainer-events.schema.json', 'utf8'));
const validator = Compile(schema);

/** The page's sample lines: what the runner must be able to read. */
function samples(): string[] {
  const block = /```jsonl\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
  return block.trim().split('\n');
}

describe("the trainer's events", () => {
  it.each(samples())('are as the schema has them: %s', (line) => {
    expect(validator.Check(JSON.parse(line))).toBe(true);
  });

  it('are all in the table of the page', () => {
    const named = (schema.oneOf as { properties: { event: { const?: string; enum?: string[] } } }[]).flatMap(
      ({ properties }) => properties.event.enum ?? [properties.event.const ?? ''],
    );
    const rows = [...page.matchAll(/^\| ((?:`\w+`(?:, )?)+) \|/gm)].flatMap((row) =>
      [...(row[1] ?? '').matchAll(/\w+/g)].map(String),
    );
    expect(rows.sort()).toEqual(named.sort());
  });

  it.each([
    '{"event": "progress"}',
    '{"event": "progress", "stage": "finetune", "step": -1}',
    '{"event": "error", "message": "no type"}',
    '{"event": "evaluation", "set": "stsb", "metric": "spearman", "value": "86"}',
    '{"event": "unheard of"}',
    '{}',
  ])('are refused where they break it: %s', (line) => {
    expect(validator.Check(JSON.parse(line))).toBe(false);
  });
});
