"""What an unmodified app of azure-functions-durable 1.x sees of the engine: everything as its SDK (1.7.0) shows it."""
