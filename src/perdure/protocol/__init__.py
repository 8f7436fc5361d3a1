"""The Durable Task protocol over gRPC: task hubs for the SDKs of every language. Needs the extra ``grpc``."""
