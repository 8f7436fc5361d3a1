"use strict";
// Runs a worker and a client of the JavaScript SDK against the server at argv[2]; prints one JSON object of what came of each.
const {
  TaskHubGrpcClient,
  TaskHubGrpcWorker,
  NoOpLogger,
  EntityInstanceId,
  TaskEntity,
  whenAll,
} = require("@microsoft/durabletask-js");

const hostAddress = process.argv[2];
const logger = new NoOpLogger();

const plusOne = async (_, value) => value + 1;
const broken = async () => {
  throw new RangeError("no");
};

const chain = async function* chain(context, steps) {
  let value = 0;
  for (let step = 0; step < steps; step++) value = yield context.callActivity(plusOne, value);
  return value;
};
const fanOut = async function* fanOut(context, width) {
  const values = yield whenAll(Array.from({ length: width }, (_, number) => context.callActivity(plusOne, number)));
  return values.reduce((sum, value) => sum + value, 0);
};
const parent = async function* parent(context, steps) {
  return yield context.callSubOrchestrator(chain, steps);
};
const failing = async function* failing(context) {
  return yield context.callActivity(broken);
};
const waiting = async function* waiting(context) {
  context.setCustomStatus("waiting");
  return yield context.waitForExternalEvent("go");
};
const again = async function* again(context, number) {
  if (number < 3) {
    context.continueAsNew(number + 1, false);
    return null;
  }
  return number;
};
const sleeping = async function* sleeping(context) {
  yield context.createTimer(0.2);
  return "awake";
};
const counting = async function* counting(context) {
  const counter = new EntityInstanceId("counter", "js");
  context.entities.signalEntity(counter, "add", 5);
  return yield context.entities.callEntity(counter, "add", 1);
};

class Counter extends TaskEntity {
  initializeState() {
    return 0;
  }
  add(amount) {
    this.state += amount;
    return this.state;
  }
}

async function main() {
  const client = new TaskHubGrpcClient({ hostAddress, logger });
  const worker = new TaskHubGrpcWorker({ hostAddress, logger });
  for (const orchestrator of [chain, fanOut, parent, failing, waiting, again, sleeping, counting]) {
    worker.addOrchestrator(orchestrator);
  }
  for (const activity of [plusOne, broken]) worker.addActivity(activity);
  worker.addNamedEntity("counter", () => new Counter());
  await worker.start();
  const results = {};
  const finish = async (name, id) => {
    const state = await client.waitForOrchestrationCompletion(id, true, 30);
    results[name] = {
      status: state.runtimeStatus,
      output: state.serializedOutput === undefined ? null : state.serializedOutput,
      failure: state.failureDetails ? state.failureDetails.message : null,
    };
    return state;
  };
  const run = async (orchestrator, input) => finish(orchestrator.name, await client.scheduleNewOrchestration(orchestrator, input));
  await run(chain, 5);
  await run(fanOut, 20);
  await run(parent, 2);
  await run(failing);
  await run(again, 0);
  await run(sleeping);
  await run(counting);
  const id = await client.scheduleNewOrchestration(waiting);
  await client.waitForOrchestrationStart(id, false, 30);
  await client.suspendOrchestration(id);
  await client.raiseOrchestrationEvent(id, "go", { answer: 42 });
  await client.resumeOrchestration(id);
  await finish("waiting", id);
  const history = await client.getOrchestrationHistory(id);
  results.history = history.map((event) => event.type);
  const entity = await client.getEntity(new EntityInstanceId("counter", "js"));
  results.entity = entity.state;
  const purged = await client.purgeOrchestration(id);
  results.purged = purged.deletedInstanceCount;
  process.stdout.write(JSON.stringify(results));
  await worker.stop();
  await client.stop();
}

main().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
