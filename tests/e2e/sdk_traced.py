"""A tracing worker and client of the SDK, for a process of their own: ``python -m tests.e2e.sdk_traced ADDRESS`` prints spans."""

import json
import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.e2e.sdk_lab import client_at, run, worker_at


def main() -> None:
    """Runs a parent with a child with an activity under a span of its own."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    with worker_at(sys.argv[1]), client_at(sys.argv[1]) as client, trace.get_tracer("test").start_as_current_span("request"):
        run(client, "parent", 1)
    spans = [
        {
            "name": span.name,
            "trace": span.context.trace_id,
            "id": span.context.span_id,
            "parent": None if span.parent is None else span.parent.span_id,
        }
        for span in exporter.get_finished_spans()
        if span.context is not None
    ]
    print(json.dumps(spans))


if __name__ == "__main__":
    main()
