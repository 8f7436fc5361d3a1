"""A blueprint in a module of its own."""

import azure.durable_functions as df

shipping = df.Blueprint()


@shipping.orchestration_trigger(context_name="context", orchestration="ShipOrder")
def ship(context):
    return (yield context.call_activity(label, context.get_input()))


@shipping.activity_trigger(input_name="address", activity="MakeLabel")
def label(address: str) -> str:
    return f"To: {address}"
