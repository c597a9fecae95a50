/**
 * The filter language, translated to SQL over a document's metadata.
 *
 *   {field: value}  {field: {$eq,$ne,$gt,$gte,$lt,$lte,$in,$nin,$exists,$contains}}  {$and:[…]}  {$or:[…]}  {$not:…}
 *
 * Always true here: values travel as bound parameters; field paths are written into the SQL (an expression index is only
 * found by its literal text) but are made of characters that cannot leave the quotes; a comparison holds only between values
 * of one JSON type. A condition on a field that is not there is NULL, which WHERE, AND and OR take for false; only a
 * negation has to make it false itself (everywhere else a coalesce would hide the expression from its index).
 *
 * Missing and null are one: `{field: null}` finds both, and $ne and $nin hold for documents without the field.
 */
import { AnchorageError } from '../errors.js';
import { FILTER_CONDITIONS_MAX, FILTER_DEPTH_MAX, FILTER_LIST_MAX, FILTER_STRING_BYTES_MAX } from './limits.js';

export type Filter = { readonly [field: string]: unknown };

type Parameter = string | number;

/** An SQL condition over the table `documents` (alias d) with its parameters in order. */
export interface FilterSql {
  readonly where: string;
  readonly parameters: readonly Parameter[];
}

interface Reading {
  readonly parameters: Parameter[];
  conditions: number;
}

const COMPARISONS: Readonly<Record<string, string>> = { $gt: '>', $gte: '>=', $lt: '<', $lte: '<=' };
const OPERATORS = ['$eq', '$ne', '$gt', '$gte', '$lt', '$lte', '$in', '$nin', '$exists', '$contains'];
// No quote, backslash or control character: the path is written inside a quoted SQL literal and a quoted JSON key.
const FIELD_SEGMENT = /^[^"'\\\p{Cc}\p{Surrogate}]{1,128}$/u;

const refuse = (message: string, field: string): AnchorageError =>
  new AnchorageError('VALIDATION', `${field}: ${message}`, { field });

/**
 * @param filter as the client sent it, checked here.
 * @throws AnchorageError VALIDATION naming the operator, field or bound at fault.
 */
export function filterToSql(filter: unknown): FilterSql {
  const reading: Reading = { parameters: [], conditions: 0 };
  const where = group(filter, 'filter', 1, reading);
  return { where, parameters: reading.parameters };
}

/** `a.b` -> the JSON path `$."a"."b"`; @throws VALIDATION where a segment has a quote, a backslash or a control character. */
export function metadataPath(field: string, at: string): string {
  const segments = field.split('.');
  if (segments.length > FILTER_DEPTH_MAX || !segments.every((segment) => FIELD_SEGMENT.test(segment))) {
    throw refuse(
      'a field is up to 16 names joined by dots, each without quotes, backslashes or control characters',
      at,
    );
  }
  return `$${segments.map((segment) => `."${segment}"`).join('')}`;
}

/** The expression that a declared index covers; filters must write it the same way to be served by it. */
export const metadataExpression = (path: string): string => `json_extract(d.metadata, '${path}')`;

function group(filter: unknown, at: string, depth: number, reading: Reading): string {
  if (typeof filter !== 'object' || filter === null || Array.isArray(filter)) throw refuse('an object is expected', at);
  if (depth > FILTER_DEPTH_MAX) throw refuse(`nested deeper than ${FILTER_DEPTH_MAX} levels`, at);
  const parts = Object.entries(filter).map(([key, value]) => {
    const here = `${at}.${key}`;
    if (key === '$and' || key === '$or') return joined(key, value, here, depth, reading);
    if (key === '$not') return negation(group(value, here, depth + 1, reading));
    if (key.startsWith('$')) throw unknownOperator(key, here, '$and, $or, $not');
    return field(key, value, here, reading);
  });
  if (parts.length > 0) return `(${parts.join(' AND ')})`;
  // It holds always, but SQLite's expressions have a bound of their own (1,000 levels), and each term of a list is one.
  count(at, reading);
  return '1';
}

function joined(key: '$and' | '$or', value: unknown, at: string, depth: number, reading: Reading): string {
  if (!Array.isArray(value) || value.length === 0) throw refuse('a list of at least one filter is expected', at);
  const parts = value.map((part, index) => group(part, `${at}[${index}]`, depth + 1, reading));
  return `(${parts.join(key === '$and' ? ' AND ' : ' OR ')})`;
}

function field(name: string, value: unknown, at: string, reading: Reading): string {
  const path = metadataPath(name, at);
  if (typeof value !== 'object' || value === null) return equals(path, value, at, reading);
  if (Array.isArray(value)) throw refuse('a list is no value; $in takes a list, $contains looks into one', at);
  const operators = Object.entries(value);
  if (operators.length === 0) throw refuse(`an operator is expected: ${OPERATORS.join(', ')}`, at);
  const parts = operators.map(([operator, operand]) =>
    condition(path, operator, operand, `${at}.${operator}`, reading),
  );
  return `(${parts.join(' AND ')})`;
}

function condition(path: string, operator: string, operand: unknown, at: string, reading: Reading): string {
  switch (operator) {
    case '$eq':
      return equals(path, operand, at, reading);
    case '$ne':
      return negation(equals(path, operand, at, reading));
    case '$in':
      return oneOf(path, operand, at, reading);
    case '$nin':
      return negation(oneOf(path, operand, at, reading));
    case '$exists':
      count(at, reading);
      if (typeof operand !== 'boolean') throw refuse('true or false is expected', at);
      return `(${metadataExpression(path)} IS ${operand ? 'NOT ' : ''}NULL)`;
    case '$contains':
      return contains(path, operand, at, reading);
    default: {
      const comparison = COMPARISONS[operator];
      if (comparison === undefined) throw unknownOperator(operator, at, OPERATORS.join(', '));
      return compare(path, comparison, operand, at, reading);
    }
  }
}

/** The type guard is what keeps 1 from matching true: json_extract gives both as the integer 1. */
function equals(path: string, operand: unknown, at: string, reading: Reading): string {
  count(at, reading);
  if (operand === null) return `(${metadataExpression(path)} IS NULL)`;
  if (typeof operand === 'boolean') return `(json_type(d.metadata, '${path}') IS '${operand}')`;
  const value = scalar(operand, at);
  reading.parameters.push(value);
  return `(${metadataExpression(path)} = ? AND json_type(d.metadata, '${path}') IN (${typesOf(value)}))`;
}

function compare(path: string, comparison: string, operand: unknown, at: string, reading: Reading): string {
  count(at, reading);
  const value = scalar(operand, at);
  reading.parameters.push(value);
  return `(${metadataExpression(path)} ${comparison} ? AND json_type(d.metadata, '${path}') IN (${typesOf(value)}))`;
}

function oneOf(path: string, operand: unknown, at: string, reading: Reading): string {
  if (!Array.isArray(operand) || operand.length === 0 || operand.length > FILTER_LIST_MAX) {
    throw refuse(`a list of 1 to ${FILTER_LIST_MAX} values is expected`, at);
  }
  count(at, reading);
  const numbers = operand.filter((value): value is number => typeof value === 'number');
  const strings = operand.filter((value): value is string => typeof value === 'string');
  const others = operand.filter((value) => typeof value !== 'number' && typeof value !== 'string');
  for (const value of [...numbers, ...strings]) scalar(value, at);
  const parts = [...new Set(others)].map((value) => equals(path, value, at, reading));
  for (const list of [numbers, strings]) {
    if (list.length === 0) continue;
    reading.parameters.push(JSON.stringify(list));
    const inList = `${metadataExpression(path)} IN (SELECT value FROM json_each(?))`;
    parts.push(`(${inList} AND json_type(d.metadata, '${path}') IN (${typesOf(list[0]!)}))`);
  }
  return `(${parts.join(' OR ')})`;
}

/** A list holds the value, or a string holds the substring. */
function contains(path: string, operand: unknown, at: string, reading: Reading): string {
  count(at, reading);
  const isBoolean = typeof operand === 'boolean';
  const value = isBoolean ? undefined : scalar(operand, at);
  const match = isBoolean ? `each.type = '${operand}'` : `each.value = ? AND each.type IN (${typesOf(value!)})`;
  if (value !== undefined) reading.parameters.push(value);
  const inList =
    `(json_type(d.metadata, '${path}') IS 'array' AND ` +
    `EXISTS (SELECT 1 FROM json_each(d.metadata, '${path}') AS each WHERE ${match}))`;
  if (typeof value !== 'string') return inList;
  reading.parameters.push(value);
  const inString = `(json_type(d.metadata, '${path}') IS 'text' AND instr(${metadataExpression(path)}, ?) > 0)`;
  return `(${inList} OR ${inString})`;
}

function count(at: string, reading: Reading): void {
  if (++reading.conditions > FILTER_CONDITIONS_MAX) {
    throw new AnchorageError('VALIDATION', `filter: more than ${FILTER_CONDITIONS_MAX} conditions, at ${at}`, {
      field: 'filter',
    });
  }
}

function scalar(value: unknown, at: string): Parameter {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  if (typeof value !== 'string') throw refuse('a string, a finite number, true, false or null is expected', at);
  if (Buffer.byteLength(value) > FILTER_STRING_BYTES_MAX) {
    throw refuse(`a string of at most ${FILTER_STRING_BYTES_MAX} bytes is expected`, at);
  }
  return value;
}

const negation = (condition: string): string => `NOT coalesce(${condition}, 0)`;

const typesOf = (value: Parameter): string => (typeof value === 'number' ? "'integer', 'real'" : "'text'");

const unknownOperator = (operator: string, at: string, known: string): AnchorageError =>
  refuse(`${operator} is no operator here; there are ${known}`, at);
