"""A complete pipeline: a list in, JSON lines out, at the pace of the quota, through faults, resumable, and logged.

All recipes in one program: tenacity's strategies, one client whose connections are kept, limits shared by all tasks (by
all machines, with a store), a batch with gather, events in structlog. The server of this example fails, cuts
connections and refuses at random. Run it again with the same --out, and it fetches only what is missing.

`paceline fetch` is such a program, ready made: take this one apart where a step of your own has to go in between.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TextIO

import httpx
import structlog
from stage import stage
from tenacity import stop_after_attempt, stop_after_delay, wait_exponential, wait_random

from paceline import GaveUp, Policy, Retry, RetryLater
from paceline.httpx import AsyncClient
from paceline.telemetry import log_sink

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator, Sequence

WORKERS = 16

log = structlog.get_logger("pipeline")


def configure_log() -> None:
    """Lines of JSON on standard error, from warnings on: retries, give-ups, limits that are not what was told."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("warning"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def policy_for(limit: str, store: str) -> Policy:
    """All that this API needs, in one place."""
    return Policy(
        limits=[limit, f"{WORKERS} concurrent"],
        store=store,
        retry=Retry(
            stop=stop_after_attempt(6) | stop_after_delay(300),
            wait=wait_exponential(multiplier=0.2, max=30) + wait_random(0, 0.2),
            max_wait=900,
        ),
        events=log_sink(),
    )


def extract(item: dict[str, Any], response: httpx.Response) -> dict[str, Any]:
    """What becomes of an answer: the step that is your own."""
    return {"id": item["id"], "status": response.status_code, "data": response.json()}


async def work(client: AsyncClient, items: Iterator[dict[str, Any]], out: TextIO) -> None:
    """Takes the next item until there is none; a record is whole in the file before the next request leaves."""
    for item in items:
        try:
            response = await client.get(item["url"])
            response.raise_for_status()
            record = extract(item, response)
        except (httpx.HTTPError, GaveUp) as error:
            log.error("no answer", id=item["id"], error=type(error).__name__)
            continue  # no record: the next run tries it again
        out.write(json.dumps(record) + "\n")
        out.flush()


async def run(items: Sequence[dict[str, Any]], policy: Policy, out: TextIO) -> None:
    async with AsyncClient(policy, timeout=30, gave_up="error") as client:
        todo = iter(items)
        await asyncio.gather(*(work(client, todo, out) for _ in range(WORKERS)))


def done_in(path: Path) -> set[int]:
    """The ids that are fetched already; a last line that a killed run left half-written is cut off."""
    if not path.exists():
        return set()
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        path.write_bytes(whole)
    return {json.loads(line)["id"] for line in whole.splitlines()}


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, help="where the records go, one JSON object a line (a file for this run)")
    parser.add_argument("--store", default="memory:", help="what the limits are shared by (%(default)s)")


def main(argv: Sequence[str] | None = None) -> int:
    configure_log()
    faults = {"fail_rate": 0.03, "cut_rate": 0.02, "refuse_rate": 0.01, "refuse_wait": 0.2, "retry_after": "float"}
    with (
        ExitStack() as stack,
        stage(__doc__, argv, limit="60/s", items=90, add=options, latency=0.02, seed=3, **faults) as here,
    ):
        path: Path = here.options.out or Path(stack.enter_context(TemporaryDirectory())) / "items.jsonl"
        done = done_in(path)
        items = [
            {"id": number, "url": url} for number, url in enumerate(here.urls, start=1) if number not in done
        ]
        print(f"to fetch      {len(items)}, done before: {len(done)}")
        try:
            with path.open("a", encoding="utf-8") as out:
                asyncio.run(run(items, policy_for(here.limit, here.options.store), out))
        except RetryLater as later:
            print(f"stopped: {later}", file=sys.stderr)
            return 75
        lines = path.read_text("utf-8").splitlines()
        here.close([json.loads(line)["id"] for line in lines])
        return here.status


if __name__ == "__main__":
    sys.exit(main())
