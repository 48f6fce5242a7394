"""What the test server saw of its clients, as one frozen value; `judging` draws the verdict from it."""

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
    truncated: of the accepted, those that got half of their body; slowed: those whose body took its time.
    told: refusals that named a true wait. early_retries: requests repeated before the moment that their refusal had
    told. pauses: how often a refusal told all to wait; in_pause: requests that came while one known to the client
    did; pauses_over: how many of the pauses have ended with a request since; herd: the most requests in the first
    100 ms after a pause; herd_refused: how many of such were refused.
    unsafe: accepted POST and PATCH requests without an Idempotency-Key; unsafe_duplicates: those that did the same
    again. rate: requests a second that the limits allow in the long run, 0 where none does.
    scenario, phase: the scenario that is played and the phase it is in, if any.
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
    truncated: int
    slowed: int
    served: int
    free: int
    malformed: int
    told: int
    early_retries: int
    pauses: int
    in_pause: int
    pauses_over: int
    herd: int
    herd_refused: int
    most_in_window: tuple[int, ...]
    most_sent_in_window: tuple[int, ...]
    most_in_flight: int
    distinct_items: int
    duplicates: int
    uncounted_items: int
    unsafe: int
    unsafe_duplicates: int
    keys: int
    noise: int
    connections: int
    most_connections: int
    makespan: float | None
    least_time: float | None
    utilisation: float | None
    pace: float | None
    idle_quota: int | None
    rate: float = 0.0
    scenario: str | None = None
    phase: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str]]:
        """What was seen, a line each: what was looked at, and what was found.

        >>> from paceline.testing.tally import Tally
        >>> Tally().account().rows()[0]
        ('arrived at limited paths', '0')
        """
        rows = [("arrived at limited paths", f"{self.arrived:,}")]
        if self.scenario is not None:
            rows.append(("scenario", self.scenario + (f", in phase {self.phase}" if self.phase else "")))
        for limit, most, sent in zip(self.limits, self.most_in_window, self.most_sent_in_window, strict=True):
            rows.append((f"most in a window, {limit}", f"{most:,} accepted, {sent:,} sent"))
        rows.append(("accepted", f"{self.accepted:,}"))
        rows.append(("refused for going over the limit", f"{self.refused:,}"))
        for name, count in (
            ("refused by chance (injected)", self.injected),
            ("answered 5xx (injected)", self.failed),
            ("connection cut (injected)", self.cut),
            ("body cut short (injected)", self.truncated),
            ("body slowed down (injected)", self.slowed),
            ("without the right token", self.unauthorized),
            ("used up by another consumer", self.noise),
            ("to unlimited paths", self.free),
        ):
            if count:
                rows.append((name, f"{count:,}"))
        if self.told:
            rows.append(("retried before the time told", f"{self.early_retries:,}"))
            rows.append(("sent during a pause", f"{self.in_pause:,}"))
        if self.pauses_over:
            rows.append(("most in 100 ms after a pause", f"{self.herd:,}"))
        if self.malformed:
            rows.append(("malformed requests", f"{self.malformed:,}"))
        rows.append(("items served", f"{self.distinct_items:,}"))
        rows.append(("served again (duplicates)", f"{self.duplicates:,}"))
        if self.unsafe:
            rows.append(("writes done again (POST, PATCH)", f"{self.unsafe_duplicates:,} of {self.unsafe:,}"))
        rows.append(("connections", f"{self.connections:,}, at most {self.most_connections:,} at once"))
        if self.makespan is not None:
            rows.append(("took, from first to last accepted", f"{self.makespan:.2f} s"))
        if self.least_time is not None:
            rows.append(("least possible time", f"{self.least_time:.2f} s"))
        if self.utilisation is not None:
            rows.append(("of the least possible time", f"{self.utilisation:.1%}"))
        if self.idle_quota is not None:
            rows.append(("quota left idle", f"{self.idle_quota:,} requests"))
        return rows
