"""Waiting for a human, but not for ever: an approval that comes as an external event, or doesn't come in time.

``python -m examples.human_interaction``
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import perdure as df

app = df.DFApp()


@dataclass(frozen=True)
class Expense:
    """What is to be approved."""

    purpose: str
    amount: int
    patience_in_seconds: float


@dataclass(frozen=True)
class Approval:
    """What the approver sends."""

    approved: bool
    by: str


@app.orchestration_trigger(context_name="context", input_type=Expense)
async def approve(context: df.DurableOrchestrationContext) -> str:
    """While it waits, days if need be, the instance costs nothing but its rows in the store."""
    expense: Expense = context.get_input()
    context.set_custom_status("waiting for approval")
    try:
        approval = await context.wait_for_external_event(
            "Approval", Approval, timeout=timedelta(seconds=expense.patience_in_seconds)
        )
    except TimeoutError:
        return f"{expense.purpose}: nobody answered; passed on to the next level"
    verdict = "approved" if approval.approved else "rejected"
    return f"{expense.purpose}: {verdict} by {approval.by}"


async def main() -> None:
    """One expense gets its answer, the other one runs into its time limit."""
    async with df.TaskHub(app) as hub:
        answered = await hub.client.start_new(approve, client_input=Expense("new chair", 300, patience_in_seconds=3600))
        forgotten = await hub.client.start_new(approve, client_input=Expense("new boat", 90_000, patience_in_seconds=0.2))
        # The event may come before the orchestration waits for it: it is kept. Its name matches in any case.
        await hub.client.raise_event(answered, "approval", Approval(approved=True, by="Grace"))
        for instance_id in (answered, forgotten):
            status = await hub.client.wait_for_completion(instance_id, timeout=30)
            print(status.output)


if __name__ == "__main__":
    asyncio.run(main())
