/**
 * Ajv's findings as one sentence that names the field, what is wrong with it, and what was expected. Where a field takes
 * one of several shapes (anyOf), the schema's own description says what they are, so schemas with unions carry one.
 */

/** The part of an Ajv error (option `verbose`) that is used here. */
export interface SchemaError {
  readonly keyword: string;
  readonly instancePath: string;
  readonly message?: string;
  readonly params: Readonly<Record<string, unknown>>;
  readonly parentSchema?: { readonly description?: string };
}

export interface DescribedError {
  readonly message: string;
  /** Path of the field at fault: `inputs[3].text`; '' is the body itself. */
  readonly field: string;
}

export function describeSchemaErrors(errors: readonly SchemaError[]): DescribedError {
  // A failed union reports every branch and then itself: the last error is the one that says what was wanted.
  const error = errors.find(({ keyword }) => keyword === 'anyOf' || keyword === 'oneOf') ?? errors[0]!;
  const place = fieldPath(error.instancePath);
  const inside = (name: unknown) => (place === '' ? String(name) : `${place}.${name}`);
  switch (error.keyword) {
    case 'additionalProperties': {
      const field = inside(error.params.additionalProperty);
      return { field, message: `unknown field "${field}"` };
    }
    case 'required': {
      const field = inside(error.params.missingProperty);
      return { field, message: `"${field}" is missing` };
    }
    case 'enum':
      return { field: place, message: `"${place}" must be one of ${list(error.params.allowedValues)}` };
    case 'anyOf':
    case 'oneOf': {
      const wanted = error.parentSchema?.description ?? 'one of the shapes that /docs shows';
      return { field: place, message: `${quoted(place)} must be ${wanted}` };
    }
    default:
      return { field: place, message: `${quoted(place)} ${error.message ?? 'is not valid'}` };
  }
}

/** What TypeBox's own validators find. */
export interface TypeBoxError {
  readonly keyword: string;
  readonly instancePath: string;
  readonly message: string;
  readonly params: object;
}

/** The same sentence for what a TypeBox validator found. @param inside the field that was validated; none: the body itself. */
export function describeTypeBoxErrors(errors: readonly TypeBoxError[], inside = ''): DescribedError {
  const place = inside === '' ? '' : `/${inside}`;
  // TypeBox names all unknown fields in one error and puts one for each before it; Ajv names one.
  const known = errors.filter(({ keyword }) => keyword !== 'boolean');
  return describeSchemaErrors(
    known.map(({ params, ...error }) => {
      const { additionalProperties: [additionalProperty] = [], requiredProperties: [missingProperty] = [] } =
        params as {
          additionalProperties?: string[];
          requiredProperties?: string[];
        };
      const instancePath = `${place}${error.instancePath}`;
      return { ...error, instancePath, params: { ...params, additionalProperty, missingProperty } };
    }),
  );
}

/** `/inputs/3/text` -> `inputs[3].text`, with JSON pointer escapes undone. */
function fieldPath(pointer: string): string {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .reduce((path, part) => (/^\d+$/.test(part) ? `${path}[${part}]` : path === '' ? part : `${path}.${part}`), '');
}

const quoted = (place: string): string => (place === '' ? 'the body' : `"${place}"`);

const list = (values: unknown): string =>
  Array.isArray(values) ? values.map((one) => JSON.stringify(one)).join(', ') : '';
