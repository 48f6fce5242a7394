"""`paceline fetch` run as users run it: stopped and resumed, with credentials, many hosts, every form of SOURCE."""

from __future__ import annotations

import gzip
import json
import re
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest
import zstandard
from tests.e2e.helpers import Desk, end_of, once_each, urls, wait_for

from paceline.testing import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "s3cr3tT0kenValue42"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A test server without limits."""
    with Server() as server:
        yield server


def lines_of(desk: Desk) -> int:
    return desk.out.read_bytes().count(b"\n") if desk.out.exists() else 0


# ---- stopping and going on --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_drains(desk: Desk, number: signal.Signals) -> None:
    """What is in flight ends and is recorded, nothing else leaves, exit 130; the same command fetches the rest."""
    with Server(latency=0.2) as server:
        source = desk.write("urls.txt", urls(server.url, 60))
        process = desk.begin(source, "--concurrency", "8")
        wait_for(lambda: lines_of(desk) >= 8, "the first records")
        process.send_signal(number)
        ran = end_of(process)
        assert ran.status == 130, ran.err
        assert "interrupted with" in ran.err
        served = server.items()
        once_each(desk.records(), [int(name) for name in served])
        assert 8 <= len(served) < 60
        ran = desk.fetch(source, "--concurrency", "30")
        assert ran.status == 0, ran.err
        once_each(desk.records(), range(1, 61))
        assert set(server.items().values()) == {1}


def test_a_second_signal_stops_at_once(desk: Desk) -> None:
    """Draining takes as long as the slowest answer; a second signal does not wait for it, and the job can go on."""
    with Server(latency=20.0) as server:
        source = desk.write("urls.txt", [f"{server.url}/items/1", f"{server.url}/items/2"])
        process = desk.begin(source)
        wait_for(lambda: server.account().accepted == 2, "both requests")
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.readline() == (
            b"paceline: stopping: what is in flight may end; interrupt again to stop at once\n"
        )
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        ran = end_of(process)
        assert ran.status == 130, ran.err
        assert time.monotonic() - begun < 10
        assert desk.records() == []
        server.change(latency=0.0)
        assert desk.fetch(source).status == 0
        once_each(desk.records(), [1, 2])


def test_deadline_and_max_wait_end_with_75(desk: Desk) -> None:
    """The run's deadline, and a pause longer than --max-wait, end the run with 75; run again it goes on."""
    with Server("20/s") as server:
        source = desk.write("urls.txt", urls(server.url, 60))
        ran = desk.fetch(source, "--limit", "20/s", "--deadline", "0.3")
        assert ran.status == 75
        assert "the deadline has come with" in ran.err
        done = len(desk.by_id())
        assert 0 < done < 60
        server.change(limit=None, refuse_rate=1.0, refuse_wait=1200.0)
        ran = desk.fetch(source, "--limit", "20/s")
        assert ran.status == 75
        assert "paused by the server until" in ran.err
        assert len(desk.by_id()) == done
        server.change(refuse_rate=0.0)
    # The pause is remembered: the same command does not ask before it is over.
    ran = desk.fetch(source, "--limit", "20/s")
    assert ran.status == 75, ran.err
    assert server.account().injected < 40


def test_standard_input_can_be_gone_on_with(desk: Desk) -> None:
    """With - as SOURCE, the same input goes on where it was, another one is refused."""
    with Server("100/s") as server:
        given = "".join(f"{line}\n" for line in urls(server.url, 150)).encode()
        ran = desk.fetch("-", "--limit", "100/s", "--deadline", "0.4", given=given)
        assert ran.status == 75, ran.err
        done = len(desk.by_id())
        assert 0 < done < 150
        other = desk.fetch("-", "--limit", "100/s", given=given[10:])
        assert other.status == 2
        assert "standard input is not the SOURCE that" in other.err
        ran = desk.fetch("-", "--limit", "100/s", given=given)
        assert ran.status == 0, ran.err
        once_each(desk.records(), range(1, 151))
        assert set(server.items().values()) == {1}
        assert server.account().refused == 0


def test_one_out_is_one_process(desk: Desk) -> None:
    """A second process with the same OUT is refused, and the first is not disturbed."""
    with Server(latency=0.1) as server:
        source = desk.write("urls.txt", urls(server.url, 400))
        process = desk.begin(source, "--concurrency", "4")
        wait_for(lambda: lines_of(desk), "a record")
        second = desk.fetch(source, "--concurrency", "4")
        assert second.status == 2
        assert "is in use by another process" in second.err
        server.change(latency=0.0)
        assert end_of(process).status == 0
        once_each(desk.records(), range(1, 401))
        assert set(server.items().values()) == {1}


def test_changes_since_the_checkpoint_are_noticed(desk: Desk, server: Server) -> None:
    """Another SOURCE or another request is refused with what changed; lines added behind the end are fetched."""
    lines = urls(server.url, 6, "/items/c")
    source = desk.write("urls.txt", lines[:4])
    assert desk.fetch(source, "--header", "Accept: text/csv").status == 0
    before = desk.out.read_bytes()
    desk.write("urls.txt", [*lines[1:4], lines[0]])
    ran = desk.fetch(source, "--header", "Accept: text/csv")
    assert ran.status == 2
    assert "is not the SOURCE that" in ran.err
    desk.write("urls.txt", lines)
    for options, what in (
        (["--header", "Accept: text/html"], "header accept"),
        (["--header", "Accept: text/csv", "--no-redirects"], "redirects"),
        (["--header", "Accept: text/csv", "--user-agent", "me/1"], "header user-agent"),
    ):
        ran = desk.fetch(source, *options)
        assert ran.status == 2
        assert re.search(rf"the request changed since .* was begun \({what}\)", ran.err), ran.err
    assert desk.out.read_bytes() == before
    ran = desk.fetch(source, "--header", "Accept: text/csv")
    assert ran.status == 0, ran.err
    once_each(desk.records(), range(1, 7))
    assert desk.out.read_bytes().startswith(before)
    assert desk.fetch(source, "--fresh").status == 0
    once_each(desk.records(), range(1, 7))
    assert {server.times_served(f"c{number}") for number in (1, 6)} == {3 - 1, 2}


def test_failures_are_tried_again_and_never_doubled(desk: Desk) -> None:
    """Failed inputs stand in --failed, which can be SOURCE; run again, only they are tried and their records replaced."""
    with Server() as server:
        base = server.url
        lines = [*urls(base, 3), f"{base}/status/503?n=3", f'{{"url": "{base}/status/500?n=3", "id": "x", "method": "PUT"}}']
        source = desk.write("in", lines)
        options = ("--attempts", "1", "--failed", "failed")
        ran = desk.fetch(source, *options)
        assert ran.status == 1
        assert "2 inputs failed: run the same command again to try only those" in ran.err
        assert {key for key, record in desk.by_id(5).items() if "error" in record} == {4, "x"}
        assert sorted((desk.folder / "failed").read_text().splitlines()) == sorted(lines[3:])
        ran = desk.fetch("failed", *options[:2], out="again.jsonl")
        assert ran.status == 1
        assert {record["id"]: record["status"] for record in desk.records("again.jsonl")} == {1: 503, "x": 500}
        assert desk.fetch(source, *options).status == 1
        once_each(desk.records(), [1, 2, 3, 4, "x"])
        assert sorted((desk.folder / "failed").read_text().splitlines()) == sorted(lines[3:])
        assert desk.fetch(source, *options).status == 0
        found = desk.by_id(5)
        assert all("error" not in record and record["status"] == 200 for record in found.values())
        assert (desk.folder / "failed").read_text() == ""
        assert set(server.items().values()) == {1}


# ---- credentials ------------------------------------------------------------------------------------


def test_a_bearer_command_is_asked_once_for_all(desk: Desk) -> None:
    """On 401 the command gives a new token, once for all who wait; no request fails, and no secret shows."""
    with Server(token=SECRET, latency=0.05) as server:
        # The first token is stale, the second one right.
        script = desk.write(
            "give.py",
            f"open('asked', 'a').write('x'); print('stale-{SECRET}' if len(open('asked').read()) == 1 else '{SECRET}')",
        )
        ran = desk.fetch(
            desk.write("urls.txt", urls(server.url, 60)),
            "--bearer-command", f"{sys.executable} -I -S {script}", "--report", "r.json", "--log-level", "debug",
        )  # fmt: skip
        assert ran.status == 0, ran.err
        once_each(desk.records(), range(1, 61))
        assert (desk.folder / "asked").read_text() == "xx"
        assert server.account().unauthorized <= 32
        (desk.folder / "give.py").unlink()
        assert json.loads((desk.folder / "r.json").read_text())["credential_refreshes"] <= 2
        no_secret(desk, ran.err)


def test_a_bearer_command_that_never_stops_printing_is_stopped(desk: Desk) -> None:
    """Its output is bounded: it is killed, the error says so, and nothing was lost."""
    script = desk.write("flood.py", "while True: print('x' * 1000)")
    ran = desk.fetch(
        desk.write("urls.txt", ["http://127.0.0.1:9/"]), "--bearer-command", f"{sys.executable} -I -S {script}"
    )
    assert ran.status == 74
    assert "printed more than 65536 bytes, which is no token; run the same command again to go on" in ran.err


def no_secret(desk: Desk, text: str) -> None:
    """The secret stands neither in a text nor in any file of the folder."""
    assert SECRET not in text
    for path in desk.folder.iterdir():
        assert SECRET.encode() not in path.read_bytes(), path.name


def test_secrets_show_nowhere(desk: Desk) -> None:
    """Tokens from the environment are sent, and stand in no record, state, report, event or error."""
    with Server(token=SECRET, refuse_rate=0.1, refuse_wait=0.05, fail_rate=0.2) as server:
        lines = urls(server.url, 30)
        ran = desk.fetch(
            "-", "--bearer-env", "API_TOKEN", "--header-env", "X-Api-Key: API_KEY", "--log-level", "debug",
            "--report", "r.html", "--attempts", "2", "--failed", "failed",
            env={"API_TOKEN": SECRET, "API_KEY": f"key-{SECRET}"},
            given="".join(f"{line}?api_key={SECRET}\n" for line in lines).encode(),
        )  # fmt: skip
        assert ran.status in (0, 1), ran.err
        assert server.account().unauthorized == 0
        once_each(desk.records(), range(1, 31))
        assert all("api_key=***" in record["url"] for record in desk.records())
        (desk.folder / "failed").unlink(missing_ok=True)  # the inputs as given: theirs to keep
        no_secret(desk, ran.err)


def test_redirects_take_no_credentials_elsewhere(desk: Desk) -> None:
    """Redirected to another origin, neither the token nor the key goes along; on the same origin both do."""
    with Server(token=SECRET) as own, Server(token=SECRET) as other:
        lines = [f"{own.url}/redirect/1?to={other.url}/items/1", f"{own.url}/redirect/1?to={own.url}/items/2"]
        ran = desk.fetch(desk.write("urls.txt", lines), "--bearer-env", "API_TOKEN", env={"API_TOKEN": SECRET})
        assert ran.status == 0, ran.err
        found = desk.by_id(2)
        assert (found[1]["status"], found[2]["status"]) == (401, 200)
        assert (other.account().unauthorized, own.account().unauthorized) == (1, 0)
        ran = desk.fetch(desk.write("urls.txt", lines), "--no-redirects", "--fresh", "--bearer-env", "API_TOKEN", env={"API_TOKEN": SECRET})
        assert [record["status"] for record in desk.records()] == [302, 302]


# ---- limits and hosts -------------------------------------------------------------------------------


def test_a_host_that_waits_delays_no_other(desk: Desk) -> None:
    """With a limit for each host, a slow host's queue leaves the fast one its own pace."""
    with Server("5/s") as slow, Server("300/s") as fast:
        count = 150
        lines = [f"{slow.url}/items/{number}" for number in range(1, 9)] + urls(fast.url, count)
        process = desk.begin(
            desk.write("urls.txt", lines), "--concurrency", "4",
            "--limit", f"127.0.0.1:{slow.port}=5/s", "--limit", f"127.0.0.1:{fast.port}=300/s",
        )  # fmt: skip
        ran = end_of(process)
        assert ran.status == 0, ran.err
        once_each(desk.records(), range(1, count + 9))
        assert slow.account().refused == fast.account().refused == 0
        # All of the fast host's records stand before the slow host's last one.
        assert desk.records()[-1]["url"].startswith(slow.url)
        fast_span, slow_span = fast.account().makespan, slow.account().makespan
        assert fast_span is not None
        assert slow_span is not None
        assert fast_span < slow_span


def test_all_faults_together_lose_nothing(desk: Desk) -> None:
    """2 % of 503s, 1 % of cut connections, another consumer, 15 ms of jitter, charged refusals: one record each."""
    count = 400
    with Server(
        "100/s", "sliding", latency=0.015, jitter=0.015, fail_rate=0.02, cut_rate=0.01, noise_rps=5.0,
        charge_refused=True, seed=3,
    ) as server:  # fmt: skip
        ran = desk.fetch(desk.write("urls.txt", urls(server.url, count)), "--limit", "100/s")
        assert ran.status == 0, ran.err
        found = desk.by_id(count)
        assert all(record["status"] == 200 and record["json"] == {"id": str(number)} for number, record in found.items())
        account = server.account()
        assert account.failed + account.cut > 0
        assert account.distinct_items == count
        assert account.early_retries == 0


# ---- SOURCE, configuration, what is told ------------------------------------------------------------


SOURCES = {
    "u.txt": "# comment\n\n{base}/items/a\n{base}/items/b\n",
    "s.jsonl": '{{"url": "{base}/items/a", "id": "A"}}\n{{"url": "{base}/items/b", "params": {{"x": [1, 2]}}}}\n',
    "t.csv": 'name,url\nx,{base}/items/a\n"y, z","{base}/items/b?q=1,2"\n',
}


@pytest.mark.parametrize(
    ("name", "packing", "piped"),
    [
        ("s.jsonl", "", False), ("t.csv", "", False), ("t.csv", "", True), ("u.txt", "", True),
        ("u.txt", ".gz", False), ("s.jsonl", ".gz", True), ("s.jsonl", ".zst", False), ("t.csv", ".zst", True),
    ],
)  # fmt: skip
def test_every_form_of_source(desk: Desk, server: Server, name: str, packing: str, piped: bool) -> None:
    """URLs, JSON lines and CSV, plain or compressed, from a file or standard input, are the same requests."""
    text = SOURCES[name].format(base=server.url).encode()
    content = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}[packing](text)
    if piped:
        ran = desk.fetch("-", given=content)
    else:
        ran = desk.fetch(desk.write(name + packing, content))
    assert (ran.status, ran.err) == (0, "")
    found = desk.by_id(2)
    first = "A" if name == "s.jsonl" else 1
    assert {key: record["json"]["id"] for key, record in found.items()} == {first: "a", 2: "b"}
    query = {"u.txt": "", "s.jsonl": "?x=1&x=2", "t.csv": "?q=1,2"}[name]
    assert found[2]["url"] == f"{server.url}/items/b{query}"


def test_config_and_json_lines(desk: Desk) -> None:
    """Options come from --config, the command line wins; with --log-format json every line on standard error is JSON."""
    with Server(fail_rate=0.1, seed=5) as server:
        config = desk.write("c.toml", '[fetch]\nlimit = ["500/s", "8 concurrent"]\nattempts = 1\nlog-format = "json"\n')
        ran = desk.fetch(
            desk.write("urls.txt", urls(server.url, 30)), "--config", config, "--attempts", "3",
            "--progress", "log", "--log-level", "debug",
        )  # fmt: skip
        assert ran.status in (0, 1)
        told = [json.loads(line) for line in ran.err.splitlines()]
        assert all({"ts", "level", "event"} <= line.keys() for line in told)
        names = [line["event"] for line in told]
        assert names.count("attempt") == server.account().arrived
        assert "retry" in names
        assert names[-1] == "account"
        assert told[-1]["limits"] == ["500/s", "8 concurrent"]
        assert told[-1]["attempts"] == server.account().arrived
        assert server.account().most_in_flight <= 8


def test_reports_hold_the_account(desk: Desk) -> None:
    """--report FILE.json holds the server's own numbers; FILE.html is one file that loads nothing."""
    with Server("100/s") as server:
        source = desk.write("urls.txt", [*urls(server.url, 120), f"{server.url}/status/404"])
        ran = desk.fetch(source, "--limit", "100/s", "--report", "r.json", "--progress", "log")
        assert ran.status == 0, ran.err
        told = json.loads((desk.folder / "r.json").read_text())
        account = server.account()
        assert told["inputs"] == {
            "total": 121, "done_before": 0, "fetched": 121, "fetched_status_400_or_more": 1, "failed": 0, "left": 0,
        }  # fmt: skip
        assert (told["attempts"], told["refused"]) == (account.arrived, account.refused) == (121, 0)
        assert told["fetched_by_status"] == {"200": 120, "404": 1}
        assert told["quota"]["limit"] == "100/s"
        assert re.search(r"^fetched +121 ", ran.err, re.MULTILINE)
        assert desk.fetch(source, "--limit", "100/s", "--report", "r.html", "--fresh").status == 0
    page = (desk.folder / "r.html").read_text()
    assert "<svg" in page
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)[^"']+""", page)


def test_output_that_nobody_reads(desk: Desk, server: Server) -> None:
    """Standard output stays empty, so that it can stand in a pipe."""
    ran = desk.fetch(desk.write("urls.txt", urls(server.url, 3, "/free?")), stdout=-1)
    assert (ran.status, ran.out) == (0, "")
