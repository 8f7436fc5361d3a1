"""What failures look like: retried, given up at once, caught with their cause, and undone step by step.

``python -m examples.retries_and_failures``
"""

import asyncio

import perdure as df

app = df.DFApp()
PATIENT = df.RetryOptions(
    first_retry_interval_in_milliseconds=20,
    max_number_of_attempts=4,
    backoff_coefficient=2,
    non_retryable=(ValueError,),
)


@app.activity_trigger(input_name="city")
def reserve_room(city: str) -> str:
    """A service that is down twice, then works."""
    attempt = df.activity_context().attempt
    if attempt < 3:
        raise ConnectionError(f"hotels in {city} don't answer (attempt {attempt})")
    return f"room in {city} (attempt {attempt})"


@app.activity_trigger(input_name="city")
def book_flight(city: str) -> str:
    """A mistake that no retry can mend."""
    try:
        return {"Tokyo": "HND", "London": "LHR"}[city]
    except KeyError as error:
        raise ValueError(f"there is no airport in {city}") from error


@app.activity_trigger(input_name="room")
def cancel_room(room: str) -> str:
    """Undoes ``reserve_room``."""
    return f"cancelled: {room}"


@app.orchestration_trigger(context_name="context", input_type=str)
async def book_trip(context: df.DurableOrchestrationContext) -> list[str]:
    """Exceptions cross the border between activity and orchestrator as ``TaskFailedError``, with type, message and causes."""
    city: str = context.get_input()
    room: str = await context.call_activity_with_retry(reserve_room, PATIENT, city)
    try:
        flight: str = await context.call_activity_with_retry(book_flight, PATIENT, city)
    except df.TaskFailedError as error:
        if not error.is_caused_by(KeyError):
            raise
        return [f"no trip: {error.details.message}", await context.call_activity(cancel_room, room)]
    return [room, f"flight to {flight}"]


@app.orchestration_trigger(context_name="context", input_type=str)
async def book_flight_only(context: df.DurableOrchestrationContext) -> str:
    """A failure that nobody catches fails the instance; the client sees it."""
    return await context.call_activity(book_flight, context.get_input())


async def main() -> None:
    """One trip works out, one is undone, one fails."""
    async with df.TaskHub(app) as hub:
        for orchestrator, city in ((book_trip, "Tokyo"), (book_trip, "Atlantis"), (book_flight_only, "Atlantis")):
            instance_id = await hub.client.start_new(orchestrator, client_input=city)
            status = await hub.client.wait_for_completion(instance_id, timeout=30)
            print(f"{status.name}({city}): {status.runtime_status}, {status.output}")
            for failure in status.failure.chain() if status.failure else ():
                print(f"  {failure.type}: {failure.message}")


if __name__ == "__main__":
    asyncio.run(main())
