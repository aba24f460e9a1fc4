// Runs calls of an unchanged client of remove.bg. Standard input: {"client", "calls": [[function, options]]};
// standard output: for each call {"returned"} or {"raised"}.
const client = { removd: require('removd'), 'remove.bg': require('remove.bg') };

async function run(asked) {
  const outcomes = [];
  for (const [name, options] of asked.calls) {
    try {
      outcomes.push({ returned: await client[asked.client][name](options) });
    } catch (error) {
      outcomes.push({ raised: error instanceof Error ? String(error) : error });
    }
  }
  return outcomes;
}

run(JSON.parse(require('fs').readFileSync(0, 'utf8'))).then((outcomes) => console.log(JSON.stringify(outcomes)));
