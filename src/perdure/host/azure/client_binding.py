"""The value of a ``durableClient`` binding: JSON text that azure-functions-durable 1.x makes its client from."""

import msgspec

from perdure.client.links import INSTANCE_PLACEHOLDER, WEBHOOKS_PATH, ManagementLinks


def client_binding(
    base_url: str, hub_name: str, connection_name: str, key: str | None, *, rpc_base_url: str | None = None
) -> str:
    """The binding for clients of one host.

    Args:
        base_url: where the host is reached from outside, such as ``http://127.0.0.1:7071``.
        hub_name: the task hub.
        connection_name: name of the storage connection.
        key: system key that the URLs carry; ``None`` where the host asks for none.
        rpc_base_url: where the SDK itself sends its requests, without any key; by default the management API below ``base_url``.
    """
    api = base_url.rstrip("/") + WEBHOOKS_PATH
    links = ManagementLinks(api, hub_name, connection_name, key)
    return msgspec.json.encode(
        {
            "taskHubName": hub_name,
            "connectionName": connection_name,
            "creationUrls": links.creation_urls(),
            "managementUrls": links.management_payload(INSTANCE_PLACEHOLDER),
            "baseUrl": api,
            "requiredQueryStringParameters": links.required_query,
            "rpcBaseUrl": (rpc_base_url or api).rstrip("/") + "/",
            "httpBaseUrl": api,
        }
    ).decode()
