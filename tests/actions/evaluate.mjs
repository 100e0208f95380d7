// Evaluates the expressions of steps with GitHub's own evaluator, one request and one answer a line.
//
// Standard input: {"contexts": {...}, "status": "success" | "failure", "values": {name: text}, "condition": text}
// Standard output: {"values": {name: text}, "condition": true | false}

import { createInterface } from "node:readline";
import { data, Evaluator, Lexer, Parser } from "@actions/expressions";

const STATUS_FUNCTIONS = ["success", "failure", "cancelled", "always"];

function answer(request) {
  const contexts = JSON.parse(JSON.stringify(request.contexts), data.reviver);
  let statusAsked = false;

  const functions = new Map(
    STATUS_FUNCTIONS.map((name) => {
      const call = () => {
        statusAsked = true;
        return new data.BooleanData(name === "always" || name === request.status);
      };
      return [name, { name, minArgs: 0, maxArgs: 0, call }];
    }),
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
    statusAsked = false;
    const words = evaluate(condition.replace(/^\s*\$\{\{(.*)\}\}\s*$/s, "$1")).coerceString();
    const truthy = !["", "false", "0"].includes(words);
    return statusAsked ? truthy : truthy && request.status === "success";
  }

  const values = Object.fromEntries(Object.entries(request.values).map(([name, text]) => [name, fill(text)]));
  return { values, condition: holds(request.condition) };
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(answer(JSON.parse(line))));
}
