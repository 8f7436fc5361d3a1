"""Orchestrations made of orchestrations: each has its own id, history and status, and its failures reach its parent.

``python -m examples.sub_orchestrations``
"""

import asyncio

import perdure as df

app = df.DFApp()


@app.activity_trigger(input_name="part")
def ship(part: str) -> str:
    """One step for one part."""
    if part == "sofa":
        raise RuntimeError("the sofa does not fit through the door")
    return f"{part} shipped"


@app.orchestration_trigger(context_name="context", input_type=list[str])
async def deliver(context: df.DurableOrchestrationContext) -> list[str]:
    """Ships the parts of one house, one after the other."""
    parts: list[str] = context.get_input()
    return [await context.call_activity(ship, part) for part in parts]


@app.orchestration_trigger(context_name="context", input_type=dict[str, list[str]])
async def move(context: df.DurableOrchestrationContext) -> dict[str, str]:
    """All houses at once. An explicit instance id lets others find, query or terminate a part of the whole."""
    houses: dict[str, list[str]] = context.get_input()
    deliveries = {
        house: context.call_sub_orchestrator(deliver, parts, instance_id=f"{context.instance_id}-{house}")
        for house, parts in houses.items()
    }
    results: dict[str, str] = {}
    for house, delivery in deliveries.items():
        try:
            results[house] = ", ".join(await delivery)
        except df.TaskFailedError as error:
            root_cause = list(error.details.chain())[-1]
            results[house] = f"failed: {root_cause.message}"
    return results


async def main() -> None:
    """Moves two households; one of them has a sofa."""
    async with df.TaskHub(app) as hub:
        houses = {"north": ["table", "lamp"], "south": ["chair", "sofa"]}
        await hub.client.start_new(move, "move-7", houses)
        status = await hub.client.wait_for_completion("move-7", timeout=30)
        print(status.output)
        for child in await hub.client.get_status_by(instance_id_prefix="move-7-"):
            print(f"{child.instance_id}: {child.runtime_status}")


if __name__ == "__main__":
    asyncio.run(main())
