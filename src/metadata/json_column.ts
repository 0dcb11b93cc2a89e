import { customType } from "drizzle-orm/sqlite-core";
import * as v from "valibot";
import { Failure } from "../core/errors.ts";

/**
 * A text column that holds JSON of one shape. What comes out of the database is parsed like anything from outside, so that
 * a row that another program wrote is refused instead of believed.
 *
 * @throws data_loss, when read, for a value of another shape.
 */
export function json<Schema extends v.GenericSchema>(name: string, schema: Schema) {
  return customType<{ data: v.InferOutput<Schema>; driverData: string }>({
    dataType: () => "text",
    toDriver: (value) => JSON.stringify(value),
    fromDriver: (text) => {
      const result = v.safeParse(schema, parseText(name, text));
      if (result.success) return result.output;
      throw new Failure(
        "data_loss",
        `cannot read column ${JSON.stringify(name)}: ${result.issues[0].message}: remove the row, or restore a backup`,
      );
    },
  })(name);
}

function parseText(name: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Failure("data_loss", `cannot read column ${JSON.stringify(name)}: it holds no JSON: restore a backup`, {
      cause,
    });
  }
}
