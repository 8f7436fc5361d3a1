"use strict";
// What the JavaScript SDK offers, feature by feature, against the server at argv[2], in a task hub of its own; prints one JSON object.
const {
  TaskHubGrpcClient,
  TaskHubGrpcWorker,
  NoOpLogger,
  EntityInstanceId,
  TaskEntity,
  OrchestrationStatus,
  PurgeInstanceCriteria,
  RetryPolicy,
  VersionMatchStrategy,
  VersionFailureStrategy,
  terminateOptions,
  whenAll,
  whenAny,
} = require("@microsoft/durabletask-js");
const { Metadata } = require("@grpc/grpc-js");

const hostAddress = process.argv[2];
const logger = new NoOpLogger();
const metadataGenerator = async () => {
  const metadata = new Metadata();
  metadata.set("taskhub", "javascript");
  return metadata;
};
const options = { hostAddress, logger, metadataGenerator };
const ids = ["js-1", "js-2", "js-3"];
const attempts = new Map();

const echo = async (_, value) => value;
const flaky = async (context, needed) => {
  const attempt = (attempts.get(context.orchestrationId) || 0) + 1;
  attempts.set(context.orchestrationId, attempt);
  if (attempt < needed) throw new Error(`attempt ${attempt}`);
  return attempt;
};
const waits = async function* waits(context) {
  return yield context.waitForExternalEvent("go");
};
const retries = async function* retries(context, needed) {
  const retry = new RetryPolicy({ maxNumberOfAttempts: 3, firstRetryIntervalInMilliseconds: 10 });
  return yield context.callActivity(flaky, needed, { retry, tags: { cost: "low" } });
};
const races = async function* races(context) {
  const event = context.waitForExternalEvent("go");
  const winner = yield whenAny([event, context.createTimer(3600)]);
  return winner === event ? event.getResult() : "late";
};
const family = async function* family(context, depth) {
  if (depth === 0) return yield context.callSubOrchestrator(waits, null, { instanceId: `${context.instanceId}-child` });
  return yield context.callSubOrchestrator(family, depth - 1, { instanceId: `${context.instanceId}-child` });
};
const flakyParent = async function* flakyParent(context, needed) {
  return yield context.callActivity(flaky, needed);
};
const versioned = async function* versioned(context) {
  return [context.version, yield context.callSubOrchestrator(childVersion, null, { version: "2.5" })];
};
const childVersion = async function* childVersion(context) {
  return [context.version, context.parent !== undefined];
};
const sends = async function* sends(context, target) {
  context.sendEvent(target, "go", { from: context.instanceId });
  return "sent";
};
const locks = async function* locks(context, names) {
  const accounts = names.map((name) => new EntityInstanceId("account", name));
  const lock = yield context.entities.lockEntities(...accounts);
  const inside = context.entities.isInCriticalSection().inSection;
  yield whenAll([context.entities.callEntity(accounts[0], "add", -5), context.entities.callEntity(accounts[1], "add", 5)]);
  lock.release();
  return inside;
};
const same = async function* same(context) {
  const made = [context.newGuid(), context.newGuid()];
  yield context.callActivity(echo, 1);
  return new Set([...made, context.newGuid()]).size;
};

class Account extends TaskEntity {
  initializeState() {
    return 0;
  }
  add(amount) {
    this.state += amount;
    return this.state;
  }
}

async function collect(pageable) {
  const found = [];
  for await (const item of pageable) found.push(item);
  return found;
}

async function main() {
  const client = new TaskHubGrpcClient(options);
  const worker = new TaskHubGrpcWorker({
    ...options,
    workItemFilters: "auto",
    versioning: {
      version: "3.0",
      matchStrategy: VersionMatchStrategy.CurrentOrOlder,
      failureStrategy: VersionFailureStrategy.Fail,
    },
  });
  const orchestrators = { waits, retries, races, family, flakyParent, versioned, childVersion, sends, locks, same };
  for (const [name, code] of Object.entries(orchestrators)) worker.addNamedOrchestrator(name, code);
  worker.addNamedActivity("echo", echo);
  worker.addNamedActivity("flaky", flaky);
  worker.addNamedEntity("account", () => new Account());
  await worker.start();
  const ended = async (id) => await client.waitForOrchestrationCompletion(id, true, 30);
  const output = (state) => (state.serializedOutput === undefined ? null : JSON.parse(state.serializedOutput));
  const run = async (name, input, more) => await ended(await client.scheduleNewOrchestration(name, input, more));
  const status = (state) => OrchestrationStatus[state.runtimeStatus];
  const results = {};

  results.retries = output(await run("retries", 3));
  results.outOfAttempts = status(await run("retries", 4));
  results.same = output(await run("same"));
  results.versions = output(await run("versioned", null, { version: "1.5", tags: { team: "red" } }));
  results.newerVersion = status(await run("versioned", null, { version: "4.0" }));

  const race = await client.scheduleNewOrchestration("races");
  await client.raiseOrchestrationEvent(race, "go", "fast");
  results.race = output(await ended(race));

  const target = await client.scheduleNewOrchestration("waits");
  await run("sends", target, "sender");
  results.sent = output(await ended(target)).from;

  await client.scheduleNewOrchestration("family", 1, "family");
  while ((await client.waitForOrchestrationStart("family-child-child", false, 30)) === undefined);
  await client.terminateOrchestration("family", terminateOptions({ output: { why: "enough" }, recursive: true }));
  results.terminated = [output(await ended("family")), status(await ended("family-child-child"))];
  results.purgedFamily = (await client.purgeOrchestration("family", { recursive: true })).deletedInstanceCount;

  await run("flakyParent", 2, "rewound");
  await client.rewindInstance("rewound", "again");
  let rewound = await ended("rewound");
  while (status(rewound) === "FAILED") rewound = await ended("rewound");
  results.rewound = output(rewound);
  await run("same", null, "restarted");
  results.restarted = output(await ended(await client.restartOrchestration("restarted", true)));

  const later = new Date(Date.now() + 500);
  const scheduled = await client.scheduleNewOrchestration("same", null, { startAt: later });
  const before = await client.getOrchestrationState(scheduled);
  results.scheduled = [status(before), output(await ended(scheduled))];

  for (const id of ids) await run("same", null, id);
  results.queried = (await collect(client.getAllInstances({ instanceIdPrefix: "js-", pageSize: 2 }))).map((state) => state.instanceId);
  const page = await client.listInstanceIds({ pageSize: 2, runtimeStatus: [OrchestrationStatus.COMPLETED] });
  results.listed = [page.values.length, page.hasMoreResults];
  const unknown = await client.getOrchestrationState("nobody");
  results.unknown = unknown === undefined;
  results.taken = await client.scheduleNewOrchestration("same", null, ids[0]).then(
    () => "accepted",
    (error) => error.code,
  );

  results.locked = output(await run("locks", ["a", "b"]));
  const accounts = await collect(client.getEntities({ instanceIdStartsWith: "@account@", includeState: true }));
  results.accounts = accounts.map((found) => [found.id.key, found.state]);
  await client.signalEntity(new EntityInstanceId("account", "c"), "add", 7);
  let signaled;
  while (signaled === undefined) signaled = await client.getEntity(new EntityInstanceId("account", "c"));
  results.signaled = signaled.state;
  const cleaned = await client.cleanEntityStorage();
  results.cleaned = [cleaned.emptyEntitiesRemoved, cleaned.orphanedLocksReleased];

  const criteria = new PurgeInstanceCriteria();
  criteria.setCreatedTimeFrom(new Date(0));
  criteria.setRuntimeStatusList([OrchestrationStatus.FAILED]);
  results.purgedFailed = (await client.purgeOrchestration(criteria)).deletedInstanceCount;
  process.stdout.write(JSON.stringify(results));
  await worker.stop();
  await client.stop();
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
