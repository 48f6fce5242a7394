"""The verdict on the client that follows from what the test server saw."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["Account"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The server's account of its clients; times in seconds, all counts since the start or the last reset.

    limits: what was enforced, in words. arrived: requests to paths under the limits, = accepted + refused +
    injected + unauthorized. accepted: let in and charged; of these, failed were answered 5xx and cut lost
    their connection, both by the server's own faults. served: answered 2xx, in full, to an open connection.
    refused: by the limits; injected: refused by chance, whatever the limits. free: requests to unlimited paths.
    early_retries: requests repeated before the moment that their refusal had told.
    in_pause: requests that came while a refusal known to the client told it to wait.
    most_in_window: for each limit, the most accepted requests in any window as long as its period
    (for a concurrent limit, the most in flight); most_sent_in_window: the same of all that arrived.
    distinct_items, duplicates: items served, and how often one was served again.
    makespan: from the first accepted request to the last; least_time: what no client could beat for as many
    requests; utilisation: least_time / makespan, None where it is not defined (no limit, several keys, limits
    changed on the way, fewer requests than one quota). pace: the quota's own pace over the pace kept.
    idle_quota: requests that would have been accepted besides in the same time.
    """

    limits: tuple[str, ...]
    arrived: int
    accepted: int
    refused: int
    injected: int
    unauthorized: int
    failed: int
    cut: int
    served: int
    free: int
    malformed: int
    early_retries: int
    in_pause: int
    most_in_window: tuple[int, ...]
    most_sent_in_window: tuple[int, ...]
    most_in_flight: int
    distinct_items: int
    duplicates: int
    uncounted_items: int
    keys: int
    noise: int
    connections: int
    most_connections: int
    makespan: float | None
    least_time: float | None
    utilisation: float | None
    pace: float | None
    idle_quota: int | None

    def as_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str, bool | None]]:
        """The verdict on the client: what was looked at, what was found, and whether that is good (None: a fact).

        >>> from paceline.testing.tally import Tally
        >>> Tally().account().rows()[0]
        ('arrived at limited paths', '0', None)
        """
        rows: list[tuple[str, str, bool | None]] = [("arrived at limited paths", f"{self.arrived:,}", None)]
        for limit, most, sent in zip(self.limits, self.most_in_window, self.most_sent_in_window, strict=True):
            rows.append((f"most in a window, {limit}", f"{most:,} accepted, {sent:,} sent", None))
        rows.append(("accepted", f"{self.accepted:,}", None))
        rows.append(("refused for going over the limit", f"{self.refused:,}", self.refused == 0))
        for name, count in (
            ("refused by chance (injected)", self.injected),
            ("answered 5xx (injected)", self.failed),
            ("connection cut (injected)", self.cut),
            ("without the right token", self.unauthorized),
            ("used up by another consumer", self.noise),
            ("to unlimited paths", self.free),
        ):
            if count:
                rows.append((name, f"{count:,}", None))
        if self.refused or self.injected:
            rows.append(("retried before the time told", f"{self.early_retries:,}", self.early_retries == 0))
            rows.append(("sent during a pause", f"{self.in_pause:,}", self.in_pause == 0))
        if self.malformed:
            rows.append(("malformed requests", f"{self.malformed:,}", False))
        rows.append(("items served", f"{self.distinct_items:,}", None))
        rows.append(("served again (duplicates)", f"{self.duplicates:,}", self.duplicates == 0))
        rows.append(("connections", f"{self.connections:,}, at most {self.most_connections:,} at once", None))
        if self.makespan is not None:
            rows.append(("took, from first to last accepted", f"{self.makespan:.2f} s", None))
        if self.least_time is not None:
            rows.append(("least possible time", f"{self.least_time:.2f} s", None))
        if self.utilisation is not None:
            rows.append(("of the least possible time", f"{self.utilisation:.1%}", self.utilisation >= 0.97))
        if self.idle_quota is not None:
            rows.append(("quota left idle", f"{self.idle_quota:,} requests", None))
        return rows
