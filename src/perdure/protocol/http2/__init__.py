"""gRPC's transport: HTTP/2 as far as gRPC needs it, on asyncio and the library ``hpack``.

A call on grpcio's server costs three to five times as much CPU (decision 0025).
"""
