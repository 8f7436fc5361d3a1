"""Many activities at once, then one result: the word count of several texts.

``python -m examples.fan_out_fan_in``
"""

import asyncio

import perdure as df

app = df.DFApp()
TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "the early bird catches the worm",
    "a journey of a thousand miles begins with a single step",
]


@app.activity_trigger(input_name="text")
def count_words(text: str) -> dict[str, int]:
    """Each call runs in a thread of its own."""
    counts: dict[str, int] = {}
    for word in text.split():
        counts[word] = counts.get(word, 0) + 1
    return counts


@app.orchestration_trigger(context_name="context", input_type=list[str])
async def count_all(context: df.DurableOrchestrationContext) -> dict[str, int]:
    """Starting a task does not wait for it; ``task_all`` waits for all, and gives the results in the order of the tasks."""
    texts: list[str] = context.get_input()
    tasks = [context.call_activity(count_words, text) for text in texts]
    totals: dict[str, int] = {}
    for counts in await context.task_all(tasks):
        for word, count in counts.items():
            totals[word] = totals.get(word, 0) + count
    return totals


async def main() -> None:
    """Counts, and shows the most frequent words."""
    async with df.TaskHub(app) as hub:
        instance_id = await hub.client.start_new(count_all, client_input=TEXTS)
        status = await hub.client.wait_for_completion(instance_id, timeout=30)
    most_frequent = sorted(status.output.items(), key=lambda entry: (-entry[1], entry[0]))[:2]
    print(f"{len(status.output)} words in {len(TEXTS)} texts; most frequent: {most_frequent}")


if __name__ == "__main__":
    asyncio.run(main())
