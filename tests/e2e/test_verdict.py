"""The verdict tells clients apart: one that listens, and one that hammers."""

from __future__ import annotations

import http.client
import threading
import time
from typing import TYPE_CHECKING

import paceline
from paceline.testing import Scenario, Server

if TYPE_CHECKING:
    from collections.abc import Callable

SHORT = Scenario.parse(
    """
    [settings]
    limit = "60/s"

    [[phase]]
    after_requests = 30
    limit = "30/s"

    [expect]
    refused = 20
    utilisation = 0.4
    """,
    "short",
    where="short.toml",
)


def each_in_threads(server: Server, count: int, fetch: Callable[[http.client.HTTPConnection, int], None]) -> None:
    """Runs one thread for each of so many items, on a connection of its own, and waits for all."""

    def run(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        fetch(connection, number)
        connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)


def ask(connection: http.client.HTTPConnection, number: int) -> tuple[int, float]:
    """Status, and the wait that was told."""
    connection.request("GET", f"/items/{number}")
    response = connection.getresponse()
    response.read()
    return response.status, float(response.headers.get("Retry-After", 0))


def test_a_client_that_listens_has_nothing_bad_in_its_card() -> None:
    """paceline.fetch, told the limit that holds at first: nothing lost, nothing early, no herd."""
    with Server(scenario=SHORT) as server:
        urls = [f"{server.url}/items/{number}" for number in range(60)]
        assert all(record.ok for record in paceline.fetch(urls, "60/s"))
        card = server.report(calls=60)
    for name in ("limit", "patience", "pauses", "herd", "lost", "again", "connections", "http"):
        assert card[name].grade in ("good", "fair", "unseen"), card.text()
    assert card["lost"].grade == card["again"].grade == "good"


def test_a_client_that_hammers_is_bad_at_what_it_does() -> None:
    """Trying again at once: refusals, early retries and requests in a pause, each said."""

    def hammer(connection: http.client.HTTPConnection, number: int) -> None:
        for _ in range(30):
            status, _wait = ask(connection, number)
            if status == 200:
                return
            time.sleep(0.03)  # its own pace, not the server's

    with Server("10/2s") as server:
        each_in_threads(server, 20, hammer)
        card = server.report(calls=20)
    assert {card[name].grade for name in ("limit", "patience", "pauses")} == {"bad"}
