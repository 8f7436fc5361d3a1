"""The functions host: loads an app folder, serves its triggers and the durable management API."""
