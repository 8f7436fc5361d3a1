"""Rows and orchestrations that become durable together: an order with its start, a booking with its activity's completion.

``python -m examples.order_transactions``
"""

import asyncio
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import perdure as df

app = df.DFApp()


@dataclass
class Order:
    """What a customer wants."""

    number: int
    item: str
    amount: int


@app.activity_trigger(input_name="order", transactional=True)
def book(order: Order, connection: sqlite3.Connection) -> int:
    """Takes the goods from the stock: exactly once, however often the process dies. What it raises undoes what it wrote."""
    connection.execute("INSERT INTO bookings VALUES (?, ?, ?)", (order.number, order.item, order.amount))
    connection.execute("UPDATE stock SET amount = amount - ? WHERE item = ?", (order.amount, order.item))
    (left,) = connection.execute("SELECT amount FROM stock WHERE item = ?", (order.item,)).fetchone()
    if left < 0:
        raise ValueError(f"not enough {order.item}")
    return left


@app.activity_trigger(input_name="order")
async def ship(order: Order) -> str:
    """An ordinary activity beside it: it may run more than once."""
    return f"{order.amount} {order.item} shipped"


@app.orchestration_trigger(context_name="context", input_type=Order)
async def fulfil(context: df.DurableOrchestrationContext) -> str:
    """One order."""
    order: Order = context.get_input()
    try:
        await context.call_activity(book, order)
    except df.TaskFailedError as error:
        return f"refused: {error.details.message}"
    return await context.call_activity(ship, order)


async def place_order(client: df.DurableClient, connection: sqlite3.Connection, order: Order) -> str:
    """The customer's order and the orchestration that fulfils it, in one transaction of the caller's."""
    connection.execute("INSERT INTO orders VALUES (?, ?, ?)", (order.number, order.item, order.amount))
    return await client.start_new(fulfil, f"order-{order.number}", order, connection=connection)


def make_tables(connection: sqlite3.Connection) -> None:
    """The shop's own tables, in the file of the hub."""
    connection.execute("CREATE TABLE orders (number INTEGER PRIMARY KEY, item TEXT, amount INTEGER)")
    connection.execute("CREATE TABLE bookings (number INTEGER PRIMARY KEY, item TEXT, amount INTEGER)")
    connection.execute("CREATE TABLE stock (item TEXT PRIMARY KEY, amount INTEGER)")
    connection.execute("INSERT INTO stock VALUES ('chairs', 10)")
    connection.commit()


async def run(database: Path) -> None:
    """Four orders: one is cancelled by a roll-back, one is too large, and one number is used twice."""
    async with df.TaskHub(app, f"sqlite:///{database}") as hub:
        with closing(sqlite3.connect(database)) as connection:
            make_tables(connection)
            placed: list[str] = []
            for order in (Order(1, "chairs", 4), Order(2, "chairs", 20), Order(1, "chairs", 1)):
                try:
                    placed.append(await place_order(hub.client, connection, order))
                except sqlite3.IntegrityError as error:
                    connection.rollback()
                    print(f"order {order.number} again: {error}")
                else:
                    connection.commit()
            cancelled = await place_order(hub.client, connection, Order(3, "chairs", 1))
            connection.rollback()
            for instance_id in placed:
                status = await hub.client.wait_for_completion(instance_id, timeout=30)
                print(f"{instance_id}: {status.output}")
            print(f"{cancelled}: {'there' if await hub.client.get_status(cancelled) else 'never was'}")
            (left,) = connection.execute("SELECT amount FROM stock").fetchone()
            bookings = connection.execute("SELECT count(*) FROM bookings").fetchone()[0]
            print(f"{left} chairs left, {bookings} booking")


def main() -> None:
    """Runs it in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder) / "shop.db"))


if __name__ == "__main__":
    main()
