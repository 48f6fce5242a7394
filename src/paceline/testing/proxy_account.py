"""What the proxy saw: its verdict on the client, what it did to it, and what became of what it passed on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .account import Account

__all__ = ["ProxyAccount"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAccount:
    """The proxy's account; all counts since the start or the last reset.

    client: what the limits in front saw, as the test server counts it. passed: requests whose head was sent to the
    upstream. answered: upstream's answers passed on whole. refused, failed, cut, reset, truncated, slowed: what was
    injected. lost_replies: of these, how often the upstream had acted and its answer never reached the client.
    duplicate_writes: POST and PATCH requests without an Idempotency-Key that the upstream had carried out, whose
    answer was lost, and that were carried out again for the same method, target and body (RFC 9110 section 9.2.2).
    upstream_failures: no answer, or none that is HTTP (502); upstream_timeouts: none in time (504).
    abandoned: the client was gone before its answer was whole. malformed: what came that is not HTTP/1.1, or that
    the proxy does not serve (CONNECT, WebSocket). sent_bytes, received_bytes: of bodies, to and from the upstream.
    record_left_out: exchanges not written to the record because it was full or could not be written.
    """

    upstream: str
    client: Account
    passed: int
    answered: int
    refused: int
    failed: int
    cut: int
    reset: int
    truncated: int
    slowed: int
    lost_replies: int
    duplicate_writes: int
    upstream_failures: int
    upstream_timeouts: int
    abandoned: int
    malformed: int
    sent_bytes: int
    received_bytes: int
    record_left_out: int

    def as_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON; the client's account under `client`."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str, bool | None]]:
        """The verdict: what was looked at, what was found, and whether that is good (None: a fact)."""
        client = self.client
        rows: list[tuple[str, str, bool | None]] = [("arrived", f"{client.arrived:,}", None)]
        for limit, most, sent in zip(client.limits, client.most_in_window, client.most_sent_in_window, strict=True):
            rows.append((f"most in a window, {limit}", f"{most:,} accepted, {sent:,} sent", None))
        if client.limits:
            rows.append(("refused for going over the limit", f"{client.refused:,}", client.refused == 0))
        rows.append(("passed on to the upstream", f"{self.passed:,}", None))
        rows.append(("its answers passed back whole", f"{self.answered:,}", None))
        for name in ("refused", "failed", "cut", "reset", "truncated", "slowed"):
            count = getattr(self, name)
            if count:
                rows.append((f"{name} (injected)", f"{count:,}", None))
        if client.refused or client.injected:
            rows.append(("retried before the time told", f"{client.early_retries:,}", client.early_retries == 0))
            rows.append(("sent during a pause", f"{client.in_pause:,}", client.in_pause == 0))
        if self.lost_replies:
            rows.append(("answers lost after the upstream acted", f"{self.lost_replies:,}", None))
            rows.append(("writes done twice for it", f"{self.duplicate_writes:,}", self.duplicate_writes == 0))
        for label, count in (
            ("upstream failed (502)", self.upstream_failures),
            ("upstream answered too late (504)", self.upstream_timeouts),
        ):
            if count:
                rows.append((label, f"{count:,}", None))
        if self.malformed:
            rows.append(("malformed or not served", f"{self.malformed:,}", False))
        if self.abandoned:
            rows.append(("left by the client half-way", f"{self.abandoned:,}", None))
        if self.record_left_out:
            rows.append(("missing in the record", f"{self.record_left_out:,}", False))
        rows.append(("connections", f"{client.connections:,}, at most {client.most_connections:,} at once", None))
        return rows
