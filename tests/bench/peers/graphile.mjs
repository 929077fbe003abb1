// Drives graphile-worker for the benchmark: `node graphile.mjs '{"act": …}'`, one JSON object a
// line on standard output. The connection comes from the PG* variables. Run inside the folder
// that holds node_modules.
import { createRequire } from "node:module";
import { EventEmitter } from "node:events";
import { pathToFileURL } from "node:url";

const asked = JSON.parse(process.argv[2]);
const installed = createRequire(process.cwd() + "/"); // not beside this file: node_modules is throw-away
const load = (name) => import(pathToFileURL(installed.resolve(name)));
const { run, runOnce, runMigrations, Logger } = await load("graphile-worker");
const { default: pg } = await load("pg");

const tell = (facts) => process.stdout.write(JSON.stringify(facts) + "\n");
const nanoseconds = () => process.hrtime.bigint();
const seconds = (from, to) => Number(to - from) / 1e9;
const pool = new pg.Pool({ max: asked.tasks + 2 });
pool.on("error", () => {}); // a broken connection shows in the query that used it
pool.on("connect", (client) => client.on("error", () => {}));

// Both settings are the ones its own performance page publishes its figures with.
const batching = asked.localQueue
  ? { localQueue: { size: 500 }, completeJobBatchDelay: 0, failJobBatchDelay: 0 }
  : {};
const options = (noop, events) => ({
  pgPool: pool,
  noHandleSignals: true,
  taskList: { noop },
  events,
  preset: {
    worker: {
      concurrentJobs: asked.tasks,
      maxPoolSize: asked.tasks + 2,
      logger: new Logger(() => () => {}),
      ...batching,
    },
  },
});

async function fill(jobs) {
  await pool.query(
    `select count(*) from graphile_worker.add_jobs(array(
       select row('noop', json_build_object('n', n), null, null, null, null, null, null)
              ::graphile_worker.job_spec
         from generate_series(1, $1) as n))`,
    [jobs],
  );
}

async function left() {
  const { rows } = await pool.query("select count(*)::int as n from graphile_worker.jobs");
  return rows[0].n;
}

async function drain(noop = () => {}, events = new EventEmitter()) {
  let first = 0n;
  let done = 0;
  await runOnce(
    options(() => {
      first ||= nanoseconds();
      done += 1;
      return noop();
    }, events),
  );
  let last = nanoseconds();
  // The last completions may still be under way when runOnce resolves.
  for (let tries = 0; tries < 1000 && (await left()) > 0; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    last = nanoseconds();
  }
  return { jobs: done, seconds: seconds(first, last), left: await left() };
}

// How long one claim takes: from asking the database to having the job, one worker.
async function claims() {
  const events = new EventEmitter();
  const milliseconds = [];
  let from = 0n;
  events.on("worker:getJob:start", () => (from = nanoseconds()));
  events.on("job:start", () => milliseconds.push(seconds(from, nanoseconds()) * 1000));
  await drain(undefined, events);
  return { milliseconds };
}

// Works until standard input closes; one line for each job: its number and when its handler ran.
async function listen() {
  const runner = await run(
    options((payload) => {
      tell({ n: payload.n, at: String(nanoseconds()) });
    }, new EventEmitter()),
  );
  tell({ ready: true });
  process.stdin.resume();
  await new Promise((resolve) => process.stdin.on("end", resolve));
  await runner.stop();
  return {};
}

const acts = {
  install: async () => {
    await runMigrations(options(() => {}, new EventEmitter()));
    return {};
  },
  fill: async () => {
    await fill(asked.jobs);
    return {};
  },
  drain: () => drain(),
  claims,
  listen,
};
tell(await acts[asked.act]());
await pool.end();
