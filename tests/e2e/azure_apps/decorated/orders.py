"""A class with the pair of methods that azure-functions-durable asks for."""


class Order:
    def __init__(self, items, total=0):
        self.items = items
        self.total = total

    @staticmethod
    def to_json(order):
        return {"items": order.items, "total": order.total}

    @staticmethod
    def from_json(data):
        return Order(data["items"], data["total"])
