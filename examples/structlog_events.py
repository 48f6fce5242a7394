"""Events in structlog: every retry, refusal and pause as one line of JSON, beside the lines of the program itself.

The server of this example fails and refuses at random. What the log says can be counted: by endpoint, by status, by
the seconds that were waited. Credentials in URLs are masked before they get here.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import structlog
from stage import stage
from tenacity import wait_exponential, wait_random

import paceline
from paceline.telemetry import log_sink

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger("example")


def configure_log() -> None:
    """Lines of JSON on standard error: standard output is for data."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main(argv: Sequence[str] | None = None) -> int:
    configure_log()
    with stage(__doc__, argv, limit="40/s", items=60, fail_rate=0.04, refuse_rate=0.02, seed=5) as here:
        retry = paceline.Retry(wait=wait_exponential(multiplier=0.2, max=30) + wait_random(0, 0.1))
        policy = paceline.Policy(limits=here.limit, retry=retry, events=log_sink())
        ids = []
        for record in paceline.fetch([f"{url}?api_key=a-secret" for url in here.urls], policy):
            if not record.ok:
                log.error("no answer", url=record.url, error=record.error)
                continue
            if record.attempts > 1:
                log.info("came late", id=record.id, attempts=record.attempts, waited_s=round(record.waited_s, 3))
            ids.append(record.json()["id"])
        here.close(ids)
        return here.status


if __name__ == "__main__":
    sys.exit(main())
