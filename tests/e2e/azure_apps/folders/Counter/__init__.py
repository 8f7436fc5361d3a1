import azure.durable_functions as df


def entity_function(context: df.DurableEntityContext):
    context.set_state(context.get_state(lambda: 0) + context.get_input())


main = df.Entity.create(entity_function)
