// Reads workflows with GitHub's own parser and evaluates what decides: every `if`, `ref`, group and cancel-in-progress.
// Runs as a copy beside the packages. Takes {"workflows": {name: text}, "contexts": {name: {...}}} on stdin; answers on stdout
// {"errors": [...], "found": {expression: {"where": [...], "values": {context: value or {"error": text}}}}}.
import { readFileSync } from "node:fs";
import { register } from "node:module";

// The parser imports its schema as JSON without saying so, which node refuses.
const hook = `import { readFileSync } from "node:fs";
export const load = async (url, context, next) => url.endsWith(".json")
  ? { format: "module", shortCircuit: true, source: "export default " + readFileSync(new URL(url), "utf8") }
  : next(url, context);`;
register(`data:text/javascript,${encodeURIComponent(hook)}`);
const { data, Evaluator, Lexer, Parser } = await import("@actions/expressions");
const { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } = await import("@actions/workflow-parser");

const asked = JSON.parse(readFileSync(0, "utf8"));
const STATUS = ["success", "failure", "cancelled", "always"];

function asData(value) {
  if (value === null || value === undefined) return new data.Null();
  if (Array.isArray(value)) return new data.Array(...value.map(asData));
  if (typeof value === "object") {
    return new data.Dictionary(...Object.entries(value).map(([key, one]) => ({ key, value: asData(one) })));
  }
  const kinds = { string: data.StringData, number: data.NumberData, boolean: data.BooleanData };
  return new kinds[typeof value](value);
}

// What the jobs before, or the steps before, came to.
function statusFunctions(status) {
  const values = { success: status === "success", failure: status === "failure", cancelled: status === "cancelled", always: true };
  return new Map(STATUS.map((name) => [name, { name, minArgs: 0, maxArgs: 0, call: () => new data.BooleanData(values[name]) }]));
}

function evaluated(expression, context) {
  const { status, ...contexts } = context;
  try {
    const functions = statusFunctions(status ?? "success");
    const tree = new Parser(new Lexer(expression).lex().tokens, Object.keys(contexts), [...functions.values()]).parse();
    const result = new Evaluator(tree, asData(contexts), functions).evaluate();
    return result.kind === data.Kind.Null ? null : result.kind === data.Kind.Boolean ? result.value : result.coerceString();
  } catch (error) {
    return { error: String(error.message) };
  }
}

const errors = [];
const places = {};

// A text without an expression is a constant, of which nothing has to be expected.
function place(where, token) {
  const expression = token?.expression;
  if (expression === undefined) return;
  const line = expression.replaceAll(/\s+/g, " ").trim();
  (places[line.replace(/^format\(' ?\{0\} ?', (.*)\)$/, "$1")] ??= []).push(where); // a folded text of one expression
}

function inMapping(token, key) {
  if (!token || typeof token.count !== "number") return undefined;
  for (let number = 0; number < token.count; number += 1) {
    const pair = token.get(number);
    if (String(pair.key.value) === key) return pair.value;
  }
  return undefined;
}

// Each job's steps as they are written: what an action is given is left out of the converted form.
function stepsOf(root) {
  const jobs = inMapping(root, "jobs");
  return [...Array(jobs.count).keys()].map((number) => {
    const { key, value } = jobs.get(number);
    const steps = inMapping(value, "steps");
    return [key.value, [...Array(steps.count).keys()].map((one) => steps.get(one))];
  });
}

for (const [name, content] of Object.entries(asked.workflows)) {
  const parsed = parseWorkflow({ name, content }, new NoOperationTraceWriter());
  for (const error of parsed.context.errors.getErrors()) errors.push(`${name}: ${error.message}`);
  if (!parsed.value) continue;
  const template = await convertWorkflowTemplate(parsed.context, parsed.value);
  for (const error of template.errors ?? []) errors.push(`${name}: ${error.Message}`);
  for (const key of ["group", "cancel-in-progress"]) place(`${name}: ${key}`, inMapping(template.concurrency, key));
  for (const job of template.jobs) {
    place(`${name}: ${job.id.value}: if`, job.if);
    for (const key of ["group", "cancel-in-progress"]) place(`${name}: ${job.id.value}: ${key}`, inMapping(job.concurrency, key));
    job.steps.forEach((step, number) => place(`${name}: ${job.id.value}: step ${number + 1}: if`, step.if));
  }
  for (const [job, steps] of stepsOf(parsed.value)) {
    steps.forEach((step, number) => place(`${name}: ${job}: step ${number + 1}: ref`, inMapping(inMapping(step, "with"), "ref")));
  }
}

const found = {};
for (const [expression, where] of Object.entries(places)) {
  const values = Object.entries(asked.contexts).map(([name, context]) => [name, evaluated(expression, context)]);
  found[expression] = { where, values: Object.fromEntries(values) };
}
process.stdout.write(JSON.stringify({ errors, found }));
