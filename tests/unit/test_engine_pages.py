"""Lists in the engine: pages through refusals, redirects, pauses and stops, with a sender that answers from a script."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.test_engine import ScriptedSender, request, run

from paceline import link

if TYPE_CHECKING:
    from paceline.jobs.engine import Engine, Result
    from paceline.jobs.spec import Request

HOME = "https://api.example.com/list"


def a_list(number: int = 1, url: str = HOME, **headers: str) -> Request:
    return request(number, url, **headers)._replace(paging=link())


def following(url: str) -> dict[str, str]:
    return {"Link": f'<{url}>; rel="next"'}


def book(pages: int) -> Any:
    """Answers of lists with so many pages each; the page stands behind the last `=`."""

    def answer(url: str, _times: int) -> tuple[int, dict[str, str]]:
        head, _, number = url.partition("?page=")
        page = int(number or 1)
        return 200, {**(following(f"{head}?page={page + 1}") if page < pages else {})}

    return answer


class Bodies(ScriptedSender):
    """Every answer has a body of its own."""

    async def send(self, *arguments: Any) -> Any:
        reply = await super().send(*arguments)
        return reply._replace(response=b'{"n": %d}' % len(self.sent)) if hasattr(reply, "response") else reply


def pages(results: list[Result]) -> list[tuple[int, int, bool]]:
    """Number, page and whether more follow, of each result that is no error."""
    return [(r.item.number, r.leaf.page, r.leaf.more) for r in results if r.leaf is not None and r.error is None]


def test_every_page_is_a_result_of_its_own() -> None:
    """Attempts, waits and times are the page's; the input has ended with the last."""
    sender = Bodies(book(3), latency=0.5)
    results, _, took = run([a_list(1), a_list(2, f"{HOME}/2"), request(3)], sender, concurrency=2)
    assert sorted(pages(results)) == [(1, 1, True), (1, 2, True), (1, 3, False), (2, 1, True), (2, 2, True), (2, 3, False)]
    assert [result.leaf for result in results if result.item.number == 3] == [None]
    assert {result.attempts for result in results} == {1}
    assert took == pytest.approx(7 * 0.5 / 2, abs=0.6)


def test_a_refused_page_is_tried_again() -> None:
    """A refusal in the middle holds the list up and is no page."""
    good = book(3)
    sender = Bodies(lambda url, n: (429, {"Retry-After": "5"}) if url.endswith("=2") and n == 1 else good(url, n))
    results, _, took = run([a_list()], sender)
    assert pages(results) == [(1, 1, True), (1, 2, True), (1, 3, False)]
    assert [result.attempts for result in results] == [1, 2, 1]
    assert took > 5


def test_a_redirected_page_leads_on_from_where_it_is() -> None:
    """The next page is seen from the answer's own URL; each page begins with the input's own method and headers."""
    sender = Bodies(
        lambda url, _: (307, {"Location": "/moved/list"}) if url == HOME
        else (200, following("more")) if url.endswith("/moved/list") else (200, {})
    )  # fmt: skip
    results, _, _ = run([a_list(accept="x")], sender)
    assert pages(results) == [(1, 1, True), (1, 2, False)]
    assert [what for _, what, _ in sender.sent] == [f"GET {HOME}", "GET https://api.example.com/moved/list", "GET https://api.example.com/moved/more"]
    assert [headers for _, _, headers in sender.sent] == [{"accept": "x"}] * 3
    assert [result.attempts for result in results] == [2, 1]


def test_a_pause_that_is_not_sat_out_leaves_the_rest_for_later() -> None:
    """The pages had stay, and the list has not ended: it is counted as put off, not as failed."""
    good = book(9)
    sender = Bodies(lambda url, n: (429, {"Retry-After": "100000"}) if url.endswith("=3") else good(url, n))
    results, engine, _ = run([a_list()], sender)
    assert pages(results) == [(1, 1, True), (1, 2, True)]
    assert engine.put_off == 1
    assert engine.stopped_until is not None


def test_a_stop_lets_the_page_in_flight_end() -> None:
    """After `drain` the page that was sent is a result, and no other leaves."""

    async def stop(engine: Engine) -> None:
        await asyncio.sleep(0.12)
        engine.drain()

    results, _, _ = run([a_list()], sender := Bodies(book(99)), act=stop)
    assert pages(results) == [(1, 1, True), (1, 2, True), (1, 3, True)]
    assert len(sender.sent) == 3


def test_a_list_is_taken_up_where_it_was() -> None:
    """From its place: at the page after it, or, where its URL was not kept, the way there again and no result of it."""
    sender = Bodies(book(4))
    places = {1: (2, {"next": f"{HOME}?page=3"}), 2: (2, {"next": True})}
    results, _, _ = run([a_list(1), a_list(2, f"{HOME}/2")], sender, places=places)
    assert sorted(pages(results)) == [(1, 3, True), (1, 4, False), (2, 3, True), (2, 4, False)]
    assert sorted(what for _, what, _ in sender.sent if "/2" in what) == [f"GET {HOME}/2", *(f"GET {HOME}/2?page={n}" for n in (2, 3, 4))]


def test_a_list_taken_up_on_another_host_draws_that_hosts_permits() -> None:
    """The permit drawn for the input's own host goes back, and no secret header goes along."""
    lists = [a_list(n, Authorization="Bearer t")._replace(paging=link(allow=["foreign"])) for n in (1, 2)]
    sender = Bodies(lambda _url, _n: (200, {}))
    places = {n: (1, {"next": "https://other.example.com/list?page=2"}) for n in (1, 2)}
    hosts = {"other.example.com": "1/10s sliding", "api.example.com": "2 concurrent"}
    results, _, took = run(lists, sender, places=places, hosts=hosts)
    assert sorted(pages(results)) == [(1, 2, False), (2, 2, False)]
    assert {(what, tuple(headers)) for _, what, headers in sender.sent} == {("GET https://other.example.com/list?page=2", ())}
    assert took > 9


def test_lists_take_turns_under_a_limit() -> None:
    """Each waits for its next page behind the others, so none is left lying, and new ones begin when one has ended."""
    sender = Bodies(book(10), latency=0.01)
    results, _, _ = run([a_list(n, f"{HOME}/{n}") for n in range(1, 13)], sender, limits=["10/s bucket burst 4"], concurrency=4)
    order = pages(results)
    assert len(order) == 120
    under_way: set[int] = set()
    most = 0
    for number, _, more in order:
        under_way.add(number)
        most = max(most, len(under_way))
        if not more:
            under_way.discard(number)
    assert most <= 6
    first = [number for number, _, _ in order[:24]]
    counts = [first.count(number) for number in sorted(set(first))]
    assert max(counts) - min(counts) <= 2, counts


def test_a_page_that_fails_ends_the_list() -> None:
    """No answer within the attempts, or an answer that is no page: an error with the page's number."""
    sender = Bodies(lambda url, n: ConnectionError("cut") if url.endswith("=2") else book(3)(url, n))
    results, _, _ = run([a_list()], sender)
    assert pages(results) == [(1, 1, True)]
    failed = results[-1]
    assert failed.leaf is not None
    assert (failed.leaf.page, failed.leaf.so_far, failed.leaf.more, failed.leaf.reason) == (2, None, False, None)
    assert "gave up" in str(failed.error)
    sender = Bodies(lambda url, n: (200, following(HOME)) if url.endswith("=2") else book(3)(url, n))
    results, _, _ = run([a_list()], sender)
    assert results[-1].leaf is not None
    assert results[-1].leaf.reason == "a loop of pages"
