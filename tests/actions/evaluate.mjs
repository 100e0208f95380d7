// Evaluates the expressions of one step with GitHub's own evaluator.
//
// Standard input: {"contexts": {...}, "status": "success" | "failure" | "cancelled", "values": {name: text}, "condition": text}
// Standard output: {"values": {name: text}, "condition": true | false}

import { readFileSync } from "node:fs";
import { data, Evaluator, Lexer, Parser } from "@actions/expressions";

const request = JSON.parse(readFileSync(0, "utf8"));
const STATUS = { success: "success", failure: "failure", cancelled: "cancelled" };
const contexts = JSON.parse(JSON.stringify(request.contexts), data.reviver);
let statusAsked = false;

const functions = new Map(
  ["success", "failure", "cancelled", "always"].map((name) => [
    name,
    {
      name,
      minArgs: 0,
      maxArgs: 0,
      call: () => {
        statusAsked = true;
        return new data.BooleanData(name === "always" || STATUS[name] === request.status);
      },
    },
  ]),
);

function evaluate(text) {
  const { tokens } = new Lexer(text).lex();
  const tree = new Parser(tokens, Object.keys(request.contexts), [...functions.values()]).parse();
  return new Evaluator(tree, contexts, functions).evaluate();
}

// `${{ }}` inside a value, as the runner fills it in; what is filled in is never looked at again.
const fill = (text) => text.replace(/\$\{\{(.*?)\}\}/gs, (_, inner) => evaluate(inner).coerceString());

// A step without a status function runs only where all before it succeeded.
function holds(condition) {
  const bare = condition.replace(/^\s*\$\{\{(.*)\}\}\s*$/s, "$1");
  const value = evaluate(bare);
  const truthy = value.coerceString() !== "" && value.coerceString() !== "false" && value.coerceString() !== "0";
  return statusAsked ? truthy : truthy && request.status === "success";
}

const values = Object.fromEntries(Object.entries(request.values).map(([name, text]) => [name, fill(text)]));
statusAsked = false;
process.stdout.write(JSON.stringify({ values, condition: holds(request.condition) }));
