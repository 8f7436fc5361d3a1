import azure.durable_functions as df


def orchestrator_function(context: df.DurableOrchestrationContext):
    city = context.get_input()
    first = yield context.call_activity("Hello", city)
    second = yield context.call_activity("Hello", first)
    return [first, second]


main = df.Orchestrator.create(orchestrator_function)
