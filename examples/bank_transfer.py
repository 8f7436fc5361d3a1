"""A critical section over two accounts: money moves from one to the other, or not at all, whoever else is at work.

``python -m examples.bank_transfer``; ``python -m examples.bank_transfer bank.db 500`` keeps the accounts in a file, makes 500
transfers, and can be killed at any moment: run again, it goes on where it stood.
"""

import asyncio
import sys
from dataclasses import dataclass

import perdure as df

app = df.DFApp()
ACCOUNTS = ("Ada", "Grace", "Alan", "Edsger")
START = 100


@app.entity(raises=(ValueError,))
@dataclass
class Account:
    """Its operations run one at a time."""

    balance: int = 0

    def deposit(self, amount: int) -> int:
        """Gives the new balance."""
        self.balance += amount
        return self.balance

    def withdraw(self, amount: int) -> int:
        """Gives the new balance."""
        if amount > self.balance:
            raise ValueError(f"only {self.balance} left")
        self.balance -= amount
        return self.balance


@dataclass(frozen=True)
class Transfer:
    """What to move."""

    source: str
    target: str
    amount: int


@app.orchestration_trigger(context_name="context", input_type=Transfer)
async def transfer(context: df.DurableOrchestrationContext) -> str:
    """Nobody else's operations run on the two accounts until the block is left, so nobody sees money on its way."""
    order: Transfer = context.get_input()
    source, target = df.EntityId("Account", order.source), df.EntityId("Account", order.target)
    async with context.lock_entities(source, target):
        try:
            await context.call_entity(source, "withdraw", order.amount)
        except ValueError as error:
            return f"refused: {error}"
        await context.call_activity(book, f"{order.amount} from {order.source} to {order.target}")
        await context.call_entity(target, "deposit", order.amount)
    return "done"


@app.activity_trigger(input_name="entry")
async def book(entry: str) -> None:
    """Stands for a call to another system, which takes its time."""
    await asyncio.sleep(0.001 * len(entry) / 10)


@app.orchestration_trigger(context_name="context")
async def open_accounts(context: df.DurableOrchestrationContext) -> None:
    """Runs once, however often it is asked for: its instance id is always the same."""
    await context.task_all([context.call_entity(df.EntityId("Account", name), "deposit", START) for name in ACCOUNTS])


async def audit(client: df.DurableClient) -> dict[str, int]:
    """All balances."""
    page = await client.list_entities("Account", fetch_state=True)
    return {entity.entity_id.key: entity.state["balance"] for entity in page.entities}


async def main(store: str, transfers: int) -> None:
    """Many transfers at the same time, between the same few accounts."""
    async with df.TaskHub(app, store) as hub:
        keep = df.ReusePolicy.RETURN_EXISTING
        await hub.client.start_new(open_accounts, "open-accounts", reuse_policy=keep)
        await hub.client.wait_for_completion("open-accounts", timeout=30)
        orders = [
            Transfer(ACCOUNTS[number % 4], ACCOUNTS[(number + 1 + number // 4 % 3) % 4], 10 + number % 50)
            for number in range(transfers)
        ]
        ids = [f"transfer-{number}" for number in range(transfers)]
        for instance_id, order in zip(ids, orders, strict=True):
            await hub.client.start_new(transfer, instance_id, order, reuse_policy=keep)
        done = await asyncio.gather(*(hub.client.wait_for_completion(instance_id, timeout=120) for instance_id in ids))
        balances = await audit(hub.client)
        print(f"{sum(status.output == 'done' for status in done)} of {len(done)} done, {sum(balances.values())} in all accounts")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    store = f"sqlite:///{arguments[0]}" if arguments else "memory://"
    asyncio.run(main(store, int(arguments[1]) if len(arguments) > 1 else 40))
