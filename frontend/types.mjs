// Makes the types of the page's data from their JSON schema: see `npm run types`.
import { readFileSync } from "node:fs";
import { compile } from "json-schema-to-typescript";

// The compiler knows pairs under their older name.
const pairs = (_, value) => (value?.prefixItems ? { ...value, items: value.prefixItems } : value);
const schema = JSON.parse(readFileSync(0, "utf8"), pairs);
const banner = "// Made by `npm run types` from saecircuits/publication/page_shape.py; change that.";
process.stdout.write(await compile(schema, "PageData", { bannerComment: banner, additionalProperties: false }));
