"""Dataclasses, enums, dates, decimals and UUIDs go in and come out as what they are; annotations say which.

``python -m examples.typed_payloads``
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from uuid import UUID

import perdure as df

app = df.DFApp()


class Currency(Enum):
    """Travels as its value."""

    EUR = "EUR"
    YEN = "JPY"


@dataclass(frozen=True)
class Line:
    """One position of an order."""

    article: str
    price: Decimal
    quantity: int = 1


@dataclass(frozen=True)
class Order:
    """Nested types work too. In the store all of it is readable JSON."""

    number: UUID
    placed_at: datetime
    currency: Currency
    lines: list[Line] = field(default_factory=list[Line])


@dataclass(frozen=True)
class Invoice:
    """What comes out."""

    order: UUID
    due: datetime
    total: Decimal
    currency: Currency


@app.activity_trigger(input_name="order")
def total_of(order: Order) -> Decimal:
    """The annotation of ``order`` turns the JSON back into an ``Order``."""
    return sum((line.price * line.quantity for line in order.lines), Decimal(0))


@app.orchestration_trigger(context_name="context", input_type=Order)
async def invoice(context: df.DurableOrchestrationContext) -> Invoice:
    """``input_type`` says what ``get_input`` gives; the activity's return annotation says what ``await`` gives."""
    order: Order = context.get_input()
    total = await context.call_activity(total_of, order)
    return Invoice(order.number, order.placed_at.replace(day=28), total, order.currency)


async def main() -> None:
    """Writes one invoice."""
    order = Order(
        number=UUID("5f0c3c9e-7d1b-4e0a-9d53-0c1f6f6a7a11"),
        placed_at=datetime(2026, 2, 3, 4, 5, tzinfo=UTC),
        currency=Currency.YEN,
        lines=[Line("lamp", Decimal("120.50"), 2), Line("cable", Decimal("9.99"))],
    )
    async with df.TaskHub(app) as hub:
        instance_id = await hub.client.start_new(invoice, client_input=order)
        status = await hub.client.wait_for_completion(instance_id, timeout=30)
    print(f"{status.runtime_status}: {status.output}")


if __name__ == "__main__":
    asyncio.run(main())
