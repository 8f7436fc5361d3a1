"""Apps of the 2.x preview of azure-functions-durable: their orchestrators and entities work like a worker's, in this process."""
