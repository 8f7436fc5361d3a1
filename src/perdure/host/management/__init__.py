"""The durable management API over HTTP, as Durable Functions has it."""

from perdure.client.links import ManagementLinks
from perdure.host.management.api import LOOPBACK_PATH, ManagementOptions, loopback_routes, management_routes
from perdure.host.management.payloads import check_status_response, status_body
from perdure.host.management.routes_entities import EntityClient, EntityFilter, EntityPage, EntityRecord

__all__ = [
    "LOOPBACK_PATH",
    "EntityClient",
    "EntityFilter",
    "EntityPage",
    "EntityRecord",
    "ManagementLinks",
    "ManagementOptions",
    "check_status_response",
    "loopback_routes",
    "management_routes",
    "status_body",
]
