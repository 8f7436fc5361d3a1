"""The durable management API over HTTP, as Durable Functions has it."""

from perdure.client.links import ManagementLinks
from perdure.host.management.api import LOOPBACK_PATH, ManagementOptions, loopback_routes, management_routes
from perdure.host.management.payloads import check_status_response, status_body

__all__ = [
    "LOOPBACK_PATH",
    "ManagementLinks",
    "ManagementOptions",
    "check_status_response",
    "loopback_routes",
    "management_routes",
    "status_body",
]
