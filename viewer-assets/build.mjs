// Bundles the third-party libraries of the viewer into src/air_reasoning/viewer/static/vendor.
// Run it with `make viewer-assets`; what it writes is committed, so that installing needs no node.
import { build } from "esbuild";
import { cp, mkdir, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const modules = join(here, "node_modules");
const out = join(here, "../src/air_reasoning/viewer/static/vendor");
const LIMIT = 1_000_000;

await rm(out, { recursive: true, force: true });
await mkdir(join(out, "fonts"), { recursive: true });
await build({
  entryPoints: [join(here, "vendor.js")],
  outfile: join(out, "vendor.js"),
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
});

// woff2 only: every browser with ES modules reads it.
const katexCss = await readFile(join(modules, "katex/dist/katex.min.css"), "utf8");
await writeFile(join(out, "katex.css"), katexCss.replace(/,url\([^)]*\.(?:woff|ttf)\) format\("[a-z]+"\)/g, ""));
for (const font of await readdir(join(modules, "katex/dist/fonts"))) {
  if (font.endsWith(".woff2")) await cp(join(modules, "katex/dist/fonts", font), join(out, "fonts", font));
}
await cp(join(modules, "uplot/dist/uPlot.min.css"), join(out, "uplot.css"));

const { dependencies } = JSON.parse(await readFile(join(here, "package.json"), "utf8"));
const licences = [];
for (const [name, version] of Object.entries(dependencies)) {
  const files = await readdir(join(modules, name));
  const file = files.find((entry) => /^licen[cs]e/i.test(entry));
  const text = file ? await readFile(join(modules, name, file), "utf8") : "Licence: see package.json of the release";
  licences.push(`${name} ${version}\n${"=".repeat(60)}\n${text.trim()}\n`);
}
await writeFile(join(out, "LICENSES.txt"), licences.join("\n\n"));

let total = 0;
for (const entry of await readdir(out, { recursive: true })) {
  const info = await stat(join(out, entry));
  if (info.isFile()) total += info.size;
}
console.log(`${out}: ${(total / 1e6).toFixed(2)} MB of ${LIMIT / 1e6}`);
if (total > LIMIT) process.exit(1);
