"""Fan out, fan in: many activities side by side, then one result made of theirs."""

from collections import Counter
from collections.abc import Generator
from typing import Any

import azure.functions as func

import perdure as df

app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="word-counts", methods=["POST"])
@app.durable_client_input(client_name="client")
async def count_words_of(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
    """Starts the orchestration and answers at once, with the URLs to follow it."""
    try:
        texts = [str(text) for text in req.get_json()["texts"]]
    except (ValueError, KeyError, TypeError):
        return func.HttpResponse('Send JSON such as {"texts": ["to be or not to be", "be quick"]}.', status_code=400)
    instance_id = await client.start_new("count_all", None, texts)
    return client.create_check_status_response(req, instance_id)


@app.orchestration_trigger(context_name="context")
def count_all(context: df.DurableOrchestrationContext) -> Generator[Any, Any, dict[str, int]]:
    """Calling an activity does not wait for it; ``task_all`` waits for all, and gives their results in the order of the calls."""
    retry = df.RetryOptions(first_retry_interval_in_milliseconds=1000, max_number_of_attempts=3)
    texts: list[str] = context.get_input()
    tasks = [context.call_activity_with_retry("count_words", retry, text) for text in texts]
    totals: Counter[str] = Counter()
    if tasks:
        counts: list[dict[str, int]] = yield context.task_all(tasks)
        for count in counts:
            totals.update(count)
    return dict(sorted(totals.items()))


@app.activity_trigger(input_name="text")
def count_words(text: str) -> dict[str, int]:
    """One piece of the work. Only pieces that failed are tried again."""
    return dict(Counter(text.split()))
