"use strict";
// The part of a mixed hub that the JavaScript SDK runs, for tests/e2e/test_mixed_languages.py: node mixed_worker.js ADDRESS
const fs = require("fs");
const { TaskHubGrpcWorker, NoOpLogger, EntityInstanceId, TaskEntity } = require("@microsoft/durabletask-js");

const counter = new EntityInstanceId("counter", "js");

const activities = {
  js_double: async (_, value) => value * 2,
  js_hold: async (_, name) => {
    fs.writeFileSync(`${name}.js`, String(process.pid));
    while (!fs.existsSync(`${name}.release`)) await new Promise((resolve) => setTimeout(resolve, 20));
    return "js";
  },
};
const orchestrators = {
  js_child: async function* (context, value) {
    return (yield context.callActivity("js_double", value)) + 1;
  },
  // A sub-orchestration and an entity that are in the host's app.
  from_js: async function* (context, value) {
    const sum = yield context.callSubOrchestrator("in_process_child", value);
    context.entities.signalEntity(counter, "add", 10);
    return [sum, yield context.entities.callEntity(counter, "add", 5)];
  },
  js_branch: async function* (context) {
    return yield context.callSubOrchestrator("leaf", null, { instanceId: `${context.instanceId}:leaf` });
  },
  js_flaky: async function* (context, name) {
    return yield context.callActivity("sdk_flaky", name);
  },
};

class Tally extends TaskEntity {
  initializeState() {
    return 0;
  }
  add(amount) {
    this.state += amount;
  }
  get() {
    return this.state;
  }
}

const worker = new TaskHubGrpcWorker({ hostAddress: process.argv[2], logger: new NoOpLogger(), workItemFilters: "auto" });
for (const [name, run] of Object.entries(activities)) worker.addNamedActivity(name, run);
for (const [name, run] of Object.entries(orchestrators)) worker.addNamedOrchestrator(name, run);
worker.addNamedEntity("tally", () => new Tally());
worker.start().catch((error) => {
  process.stderr.write(`${error.stack}\n`);
  process.exit(1);
});
