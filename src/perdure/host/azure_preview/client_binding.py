"""The value of a ``durableClient`` binding: JSON text that azure-functions-durable 2.x makes its client from."""

import msgspec

from perdure.client.links import INSTANCE_PLACEHOLDER, ManagementLinks


def client_binding(links: ManagementLinks, grpc_address: str, max_message_bytes: int) -> str:
    """The binding for clients of one host.

    The SDK keeps a connection for each text that it has ever seen, so that it must not depend on who calls.

    Args:
        links: the URLs of the management API, as callers reach it.
        grpc_address: where the SDK itself sends its requests: host and port.
        max_message_bytes: the largest message there.
    """
    return msgspec.json.encode(
        {
            "taskHubName": links.task_hub,
            "connectionName": links.connection,
            "creationUrls": links.creation_urls(),
            "managementUrls": links.management_payload(INSTANCE_PLACEHOLDER),
            "baseUrl": links.base_url,
            "requiredQueryStringParameters": links.required_query,
            "rpcBaseUrl": f"http://{grpc_address}",
            "httpBaseUrl": links.base_url,
            "maxGrpcMessageSizeInBytes": max_message_bytes,
            "grpcHttpClientTimeout": "00:01:40",
        }
    ).decode()
