"""Entities: small, addressable, stateful functions. One written as a function, one as a class.

``python -m examples.entity_counter``
"""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta

import perdure as df

app = df.DFApp()


@app.entity_trigger(context_name="context")
def counter(context: df.DurableEntityContext) -> None:
    """Function style: called once per operation, and never twice at the same time for one key."""
    number: int = context.get_state(lambda: 0)
    if context.operation_name == "add":
        context.set_state(number + context.get_input(int))
    elif context.operation_name == "get":
        context.set_result(number)


@dataclass(frozen=True)
class Item:
    """What goes into a basket."""

    name: str
    cents: int


@app.entity(raises=(ValueError,))
@dataclass
class Basket:
    """Class style: the public methods are the operations, the attributes the state, and annotations the types of both."""

    items: list[Item] = field(default_factory=list[Item])

    def put(self, item: Item) -> int:
        """Gives the number of items."""
        if item.cents < 0:
            raise ValueError(f"{item.name} costs less than nothing")
        self.items.append(item)
        df.entity_context().signal_entity(df.EntityId("counter", "items"), "add", 1)
        return len(self.items)

    def total(self) -> int:
        """In cents."""
        return sum(item.cents for item in self.items)


@app.orchestration_trigger(context_name="context")
async def shop(context: df.DurableOrchestrationContext) -> str:
    """Calls wait for an answer, signals don't. Both are applied exactly once and in order."""
    basket = df.EntityId("Basket", "Ada")
    context.signal_entity(basket, "put", Item("tea", 400))
    number = await context.call_entity(basket, "put", Item("biscuits", 250))
    refused = ""
    try:
        await context.call_entity(basket, "put", Item("luck", -1))
    except ValueError as error:
        refused = str(error)
    total = await context.call_entity(basket, "total")
    return f"{number} items for {total} cents; {refused}"


async def main() -> None:
    """A client signals too, also for later, and reads states without disturbing anybody."""
    async with df.TaskHub(app) as hub:
        shopping = await hub.client.start_new(shop)
        print((await hub.client.wait_for_completion(shopping, timeout=30)).output)
        await hub.client.signal_entity(df.EntityId("counter", "items"), "add", 10, signal_time=timedelta(milliseconds=100))
        print("items:", (await hub.client.read_entity_state(df.EntityId("counter", "items"))).entity_state)
        await asyncio.sleep(0.3)
        print("later:", (await hub.client.read_entity_state(df.EntityId("counter", "items"))).entity_state)
        await hub.client.signal_entity(df.EntityId("Basket", "Ada"), "delete")
        print("left:", [str(entity.entity_id) for entity in (await hub.client.list_entities()).entities])


if __name__ == "__main__":
    asyncio.run(main())
