"""The backup as an app: list, fan out one copy per file, fan in, then manifest, verification and report.

A tree of up to 2,000 files is copied by the orchestration itself. A larger one goes to sub-orchestrations of 2,000 files
each, a few at a time, so that neither a payload nor a history nor the work in flight grows with the tree.
"""

import json
from dataclasses import asdict
from pathlib import Path

import perdure as df
from examples.backup import files
from examples.backup.layout import Layout
from examples.backup.model import (
    BackupRequest,
    BatchOrder,
    CopiedBatch,
    CopiedFile,
    CopyOrder,
    Manifest,
    ManifestOrder,
    Plan,
    Report,
    ReportOrder,
    Tally,
)

BATCHES_AT_ONCE = 4

app = df.DFApp()


@app.orchestration_trigger(context_name="context", input_type=BackupRequest)
async def backup(context: df.DurableOrchestrationContext) -> Report:
    """Copies all files and proves it. What was finished before a crash is not done again."""
    request: BackupRequest = context.get_input()
    plan = await context.call_activity(list_files, request)
    orders = [BatchOrder(request.source, request.target, batch, plan.pause_seconds) for batch in range(plan.batches)]
    if len(orders) == 1:
        tallies = [await _copy(context, orders[0])]
    else:
        tallies = await _copy_in_sub_orchestrations(context, orders)
    manifest = await context.call_activity(write_manifest, ManifestOrder(request.target, plan.batches))
    verified = await context.call_activity(verify_manifest, manifest)
    report = Report(
        files=sum(tally.files for tally in tallies),
        bytes=sum(tally.bytes for tally in tallies),
        skipped=plan.skipped,
        reused=sum(tally.reused for tally in tallies),
        manifest=manifest.file,
        manifest_sha256=manifest.sha256,
        verified=verified,
    )
    await context.call_activity(write_report, ReportOrder(request.target, report))
    return report


@app.orchestration_trigger(context_name="context", input_type=BatchOrder)
async def copy_batch(context: df.DurableOrchestrationContext) -> Tally:
    """One batch of a large tree."""
    return await _copy(context, context.get_input())


async def _copy(context: df.DurableOrchestrationContext, order: BatchOrder) -> Tally:
    """Fans out one activity per file, and in again."""
    names = await context.call_activity(read_batch, order)
    copied: list[CopiedFile] = await context.task_all(
        [context.call_activity(copy_file, CopyOrder(order.source, order.target, name, order.pause_seconds)) for name in names]
    )
    return await context.call_activity(write_manifest_part, CopiedBatch(order.target, order.batch, copied))


async def _copy_in_sub_orchestrations(context: df.DurableOrchestrationContext, orders: list[BatchOrder]) -> list[Tally]:
    """All batches, at most ``BATCHES_AT_ONCE`` of them at the same time."""
    running: list[df.Task[Tally]] = []
    tallies: list[Tally] = []
    for order in orders:
        if len(running) == BATCHES_AT_ONCE:
            finished: df.Task[Tally] = await context.task_any(running)
            running.remove(finished)
            tallies.append(finished.result)
        running.append(context.call_sub_orchestrator(copy_batch, order))
    return tallies + await context.task_all(running)


@app.activity_trigger(input_name="request")
def list_files(request: BackupRequest) -> Plan:
    """Decides what is copied, once: later changes of the tree don't change the plan."""
    return files.make_plan(Path(request.source), Path(request.target), request.selection, demo=request.demo)


@app.activity_trigger(input_name="order")
def read_batch(order: BatchOrder) -> list[str]:
    """The names of the files of one batch."""
    return files.read_batch(Path(order.target), order.batch)


@app.activity_trigger(input_name="order")
def copy_file(order: CopyOrder) -> CopiedFile:
    """Runs at least once. Its idempotency key is what makes the copy happen only once."""
    return files.copy_file(order, df.activity_context().idempotency_key)


@app.activity_trigger(input_name="batch")
def write_manifest_part(batch: CopiedBatch) -> Tally:
    """Puts the checksums of one batch on disk, so that the orchestration needs to remember only their sums."""
    files.write_part(Path(batch.target), batch.batch, batch.files)
    return Tally(
        files=len(batch.files),
        bytes=sum(file.bytes for file in batch.files),
        reused=sum(file.reused for file in batch.files),
    )


@app.activity_trigger(input_name="order")
def write_manifest(order: ManifestOrder) -> Manifest:
    """Makes one manifest of the parts."""
    return files.write_manifest(Path(order.target), order.batches)


@app.activity_trigger(input_name="manifest")
def verify_manifest(manifest: Manifest) -> int:
    """Reads everything again. Can take long, so it looks whether somebody has terminated the backup meanwhile."""
    return files.verify_manifest(manifest, df.activity_context().cancellation.raise_if_cancelled)


@app.activity_trigger(input_name="order")
def write_report(order: ReportOrder) -> None:
    """Leaves the totals next to the backup."""
    Layout(order.target).report.write_text(json.dumps(asdict(order.report), indent=2) + "\n")
