"""The backup as an app: list, fan out one copy per file, fan in, then manifest, verification and report.

A tree of up to 2,000 files is copied by the orchestration itself. A larger one goes to sub-orchestrations of 2,000 files each, a few
at a time, so that neither a payload nor a history nor the work in flight grows with the tree.
"""

import json
from pathlib import Path

import perdure as df
from examples.backup import files
from examples.backup.errors import BackupDamagedError, SourceError
from examples.backup.layout import Layout
from examples.backup.model import (
    BackupRequest,
    BatchOrder,
    CopiedBatch,
    CopiedFile,
    CopyOrder,
    Manifest,
    Plan,
    Report,
    Tally,
)

BATCHES_AT_ONCE = 4
COPIES_AT_ONCE = 8
"""What the worker allows (``EngineSettings.max_activity_threads``): enough to keep a disk busy."""
_DEMO_SECONDS = 2.0
_FILES_THAT_TAKE_LONG_ENOUGH = 2000

app = df.DFApp()


@app.orchestration_trigger(context_name="context", input_type=BackupRequest)
async def backup(context: df.DurableOrchestrationContext) -> Report:
    """Copies all files and proves it. Whatever was finished before a crash is not done again."""
    request: BackupRequest = context.get_input()
    plan = await context.call_activity(list_files, request)
    orders = [BatchOrder(request.source, request.target, batch, plan.pause_seconds) for batch in range(plan.batches)]
    if len(orders) == 1:
        tallies = [await _copy(context, orders[0])]
    else:
        tallies = await _copy_in_sub_orchestrations(context, orders)
    manifest = await context.call_activity(write_manifest, plan_of_manifest(request, plan))
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
