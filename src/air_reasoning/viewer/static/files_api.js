// The API of a bundle: the same answers as the server's, from files that `air view bundle` wrote.

async function json(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return response.json();
}

const TESTS = {
  correct: { right: (row) => row.correct === 1, wrong: (row) => row.correct === 0, unscored: (row) => row.correct === null },
  code: { used: (row) => row.calls > 0, none: (row) => row.calls === 0 && !row.banned, banned: (row) => row.banned === 1 },
  error: { failed: (row) => row.failed > 0, clean: (row) => row.failed === 0 },
};
const EQUAL = { stop: "stop", name: "name", kind: "kind", difficulty: "difficulty", task: "task", group: "grp", key: "key" };

/** What `run_query` does in SQL. */
export function filtered(rows, filter, texts) {
  const tests = [];
  for (const [name, known] of Object.entries(TESTS)) if (filter[name]) tests.push(known[filter[name]]);
  for (const [name, column] of Object.entries(EQUAL)) if (filter[name]) tests.push((row) => row[column] === filter[name]);
  for (const name of ["step", "reward"]) {
    if (filter[`${name}_min`]) tests.push((row) => row[name] !== null && row[name] >= Number(filter[`${name}_min`]));
    if (filter[`${name}_max`]) tests.push((row) => row[name] !== null && row[name] <= Number(filter[`${name}_max`]));
  }
  if (filter.text) {
    const wanted = filter.text.toLowerCase();
    tests.push((row) => (texts[row.n] ?? "").toLowerCase().includes(wanted));
  }
  const left = rows.filter((row) => tests.every((test) => test(row)));
  return sorted(left, filter.sort ?? "n");
}

function sorted(rows, sort) {
  const column = sort.replace(/^-/, "");
  const sign = sort.startsWith("-") ? -1 : 1;
  const order = (x, y) => (x === y ? 0 : x === null ? -1 : y === null ? 1 : x < y ? -1 : 1);
  return rows.sort((x, y) => sign * order(x[column], y[column]) || x.n - y.n);
}

export function filesApi(data) {
  const known = new Map();
  const once = (path) => {
    if (!known.has(path)) known.set(path, json(path));
    return known.get(path);
  };
  const runs = () => once(`${data}runs.json`);
  const folder = async (name) => {
    const index = (await runs()).findIndex((run) => run.name === name);
    if (index < 0) throw new Error(`no run ${name} in this bundle`);
    return `${data}${index}/`;
  };
  const rows = async (run) => once(`${await folder(run)}rows.json`);
  const pass = async (run, filter) => {
    const texts = filter.text ? await once(`${await folder(run)}texts.json`) : {};
    return filtered([...(await rows(run))], filter, texts);
  };
  const rowOf = async (run, key) => {
    const row = (await rows(run)).find((one) => one.key === key);
    if (!row) throw new Error(`no trajectory ${key} in this bundle; it holds a part of the run`);
    return row;
  };
  return {
    bundled: true,
    runs,
    run: async (run) => once(`${await folder(run)}run.json`),
    metrics: async (run) => once(`${await folder(run)}metrics.json`),
    samples: async (run, filter, offset, limit) => ({ rows: (await pass(run, filter)).slice(offset, offset + limit), offset, indexed: 1, bytes: 1 }),
    count: async (run, filter) => ({ total: (await pass(run, filter)).length }),
    facets: async (run) => once(`${await folder(run)}facets.json`),
    trajectory: async (run, key) => json(`${await folder(run)}trajectories/${(await rowOf(run, key)).n}.json`),
    tokens: async (run, key) => json(`${await folder(run)}tokens/${(await rowOf(run, key)).n}.json`),
    picture: (_, sha) => `${data}blobs/${sha}.png`,
    live: () => () => {},
    rerun: () => Promise.reject(new Error("a bundle runs nothing")),
    async compare({ a, b, pass_a, pass_b, kind }) {
      if (pass_a || pass_b) throw new Error("a bundle compares whole runs; passes are compared by `air view`");
      const index = async (name) => (await runs()).findIndex((run) => run.name === name);
      const answer = await once(`${data}compare/${await index(a)}-${await index(b)}.json`);
      const of = (item) => (item.a.correct ? (item.b.correct ? "both_right" : "only_a") : item.b.correct ? "only_b" : "both_wrong");
      const fits = (item) => kind === "all" || of(item) === kind || (kind === "flips" && of(item).startsWith("only"));
      const items = answer.items.filter(fits);
      return { ...answer, items: items.slice(0, 500), total: items.length };
    },
  };
}
