"""Azure: what remains by subscription, kind of call or resource, lists of name;remaining, and waits in milliseconds."""

from __future__ import annotations

from .._dialect import Dialect, path_of


def _scope(method: str, url: str) -> str | None:
    path = path_of(url)
    if not path.lower().startswith("/subscriptions/"):
        return None
    kind = {"GET": "reads", "HEAD": "reads", "DELETE": "deletes"}.get(method, "writes")
    return f"{path.split('/')[2].lower()} {kind}"


AZURE = Dialect(
    name="azure",
    title="Microsoft Azure",
    docs=(
        "https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling",
        "https://learn.microsoft.com/troubleshoot/azure/virtual-machines/troubleshooting-throttling-errors",
        "https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests",
    ),
    hosts=("management.azure.com", "openai.azure.com", "documents.azure.com", "core.windows.net"),
    headers=("x-ms-ratelimit-*", "x-ms-user-quota-*", "x-ms-retry-after-ms"),
    scope=_scope,
)
