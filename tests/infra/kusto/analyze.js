// Reads queries with Microsoft's language service, against tables of a workspace.
// Input: {"tables": {NAME: "COLUMN: TYPE, …"}, "queries": {NAME: TEXT}}.
// Output: {NAME: {"complaints": [TEXT], "columns": {COLUMN: TYPE}}}.
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const folder = path.join(process.argv[2], "@kusto", "language-service-next");
for (const file of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) {
  vm.runInThisContext(fs.readFileSync(path.join(folder, file), "utf8"), { filename: file });
}
const language = globalThis.Kusto.Language;
const symbols = language.Symbols;

function listed(list) {
  return Array.from({ length: list ? list.Count : 0 }, (_, index) => list.getItem(index));
}

const given = JSON.parse(fs.readFileSync(0, "utf8"));
const tables = Object.entries(given.tables).map(([name, schema]) => new symbols.TableSymbol.$ctor7(name, `(${schema})`, null));
const database = new symbols.DatabaseSymbol.$ctor1("logs", tables);
const globals = language.GlobalState.Default.WithDatabase(database);

const found = {};
for (const [name, text] of Object.entries(given.queries)) {
  const code = language.KustoCode.ParseAndAnalyze(text, globals);
  const columns = listed(code.ResultType && code.ResultType.Columns);
  found[name] = {
    complaints: listed(code.GetDiagnostics()).map((one) => `${one.Code}: ${one.Message}`),
    columns: Object.fromEntries(columns.map((one) => [one.Name, one.Type.Name])),
  };
}
process.stdout.write(JSON.stringify(found));
