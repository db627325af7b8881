// Builds the page's code and style into the package, with the licences of what is bundled.
//   node build.mjs [FOLDER]     (default: saecircuits/publication/bundle)
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const folder = resolve(process.argv[2] ?? join(here, "../saecircuits/publication/bundle"));
mkdirSync(folder, { recursive: true });

const common = { absWorkingDir: here, bundle: true, minify: true, legalComments: "none", write: false };
const code = await build({
  ...common,
  entryPoints: ["src/main.ts"],
  format: "iife",
  target: "es2022",
  charset: "ascii",
  metafile: true,
});
const style = await build({ ...common, entryPoints: ["src/style.css"], target: "chrome112" });

const packages = new Set();
for (const input of Object.keys(code.metafile.inputs)) {
  const found = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
  if (found) packages.add(found[1]);
}
const licences = [...packages].sort().map((name) => {
  const place = join(here, "node_modules", name);
  const about = JSON.parse(readFileSync(join(place, "package.json"), "utf8"));
  const file = readdirSync(place).find((entry) => /^licen[cs]e/i.test(entry));
  if (!file) throw new Error(`${name} has no licence file`);
  return `${name} ${about.version} (${about.license})\n\n${readFileSync(join(place, file), "utf8").trim()}\n`;
});
const rule = `\n${"-".repeat(72)}\n\n`;
writeFileSync(join(folder, "report.js"), code.outputFiles[0].contents);
writeFileSync(join(folder, "report.css"), style.outputFiles[0].contents);
writeFileSync(
  join(folder, "LICENSES.txt"),
  `report.js contains these packages.${rule}${licences.join(rule)}`,
);
