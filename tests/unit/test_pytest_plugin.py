"""The pytest plugin: what it costs, and what its fixtures, markers and summary do in a test run of their own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

HEAD = """
import time, urllib.error, urllib.request
import pytest

def get(server, path="/items/1"):
    try:
        with urllib.request.urlopen(server.url + path) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
"""


def run(pytester: pytest.Pytester, code: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(HEAD + code)
    return pytester.runpytest_subprocess("-p", "no:randomly", "-p", "no:cacheprovider", *options)


def test_loading_it_imports_nothing() -> None:
    """The plugin brings in its own module and the front door of paceline, nothing else, and no module of a client."""
    code = """
        import json, sys, pytest
        before = set(sys.modules)
        import paceline.pytest_plugin
        print(json.dumps(sorted(set(sys.modules) - before)))
    """
    out = subprocess.run(
        [sys.executable, "-c", "\n".join(line.strip() for line in code.splitlines())],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert json.loads(out) == ["paceline", "paceline.pytest_plugin"]


def test_a_run_that_uses_nothing_of_it_is_unchanged(pytester: pytest.Pytester) -> None:
    """Installed and not used, it loads no server, prints nothing, and touches no clock."""
    pytester.makepyfile(
        """
        import sys, time, socket
        def test_nothing():
            assert "paceline.pytest_plugin" in sys.modules
            assert not [name for name in sys.modules if name.startswith("paceline.testing")]
            assert type(time.sleep).__name__ == "builtin_function_or_method"
            assert "recv" not in vars(socket.socket)
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:randomly")
    result.assert_outcomes(passed=1)
    assert "verdicts" not in result.stdout.str()


def test_servers_by_parameter_and_by_marker(pytester: pytest.Pytester) -> None:
    """A limit, a mapping, a list, a scenario and a marker each make the server that they name."""
    result = run(
        pytester,
        """
@pytest.mark.parametrize("rate_limited_server", [
    "1/h", {"limit": "1/h", "enforce": "fixed", "refuse_status": 429}, ["1/h", "8 concurrent"],
], indirect=True)
def test_parameter(rate_limited_server):
    assert [get(rate_limited_server) for _ in range(2)] == [200, 429]
    assert rate_limited_server.account().refused == 1

@pytest.mark.parametrize("rate_limited_server", ["steady", {"scenario": "halved", "latency": 0.0}], indirect=True)
def test_scenario(rate_limited_server):
    assert get(rate_limited_server) == 200
    assert rate_limited_server.account().limits

@pytest.mark.rate_limit("1/h", refuse_status=503)
def test_marker(rate_limited_server):
    assert [get(rate_limited_server) for _ in range(2)] == [200, 503]

def test_nothing_told(rate_limited_server):
    assert [get(rate_limited_server) for _ in range(3)] == [200] * 3
""",
        "--strict-markers",
    )
    result.assert_outcomes(passed=7)


def test_wrong_settings_fail_with_one_message(pytester: pytest.Pytester) -> None:
    """A limit that is none, a scenario and an option that are not there: the message of paceline, no traceback."""
    result = run(
        pytester,
        """
@pytest.mark.parametrize("rate_limited_server", ["10 per second", "no-such", {"latencies": 1}], indirect=True)
def test_it(rate_limited_server):
    pass
""",
    )
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(
        ["rate_limited_server: *10 per second*", "rate_limited_server: there is no scenario 'no-such'*", "rate_limited_server: *no setting 'latencies'*"]
    )
    assert "Traceback" not in result.stdout.str()


def test_virtual_time_and_its_order(pytester: pytest.Pytester) -> None:
    """The server begins in virtual time wherever the test names it, and pytest's own durations stay real."""
    result = run(
        pytester,
        """
@pytest.mark.rate_limit("1/h")
def test_hour(rate_limited_server, virtual_time):
    assert get(rate_limited_server) == 200
    assert get(rate_limited_server) == 429
    time.sleep(3600)
    assert get(rate_limited_server) == 200
    assert virtual_time.slept == (3600,)

@pytest.mark.virtual_time(start=86400.0)
def test_start(virtual_time):
    assert time.time() == 86400

def test_real_again():
    assert time.time() > 1e9

def test_skipped(no_waiting):
    time.sleep(3600)
    assert no_waiting.slept == (3600,)
""",
        "--durations=3",
    )
    result.assert_outcomes(passed=4)
    assert "3600" not in result.stdout.str()


def test_a_flaky_proxy_stands_before_the_server(pytester: pytest.Pytester) -> None:
    """What the marker or the parameter tells is broken, before the server of the same test or another upstream."""
    result = run(
        pytester,
        """
@pytest.mark.flaky_proxy(refuse="first:1")
@pytest.mark.rate_limit("10/s")
def test_marker(flaky_proxy, rate_limited_server):
    assert [get(flaky_proxy) for _ in range(2)] == [429, 200]
    assert rate_limited_server.account().accepted == 1

@pytest.mark.parametrize("flaky_proxy", [{"fail": "first:2"}], indirect=True)
def test_parameter(flaky_proxy, virtual_time):
    assert [get(flaky_proxy) for _ in range(3)] == [503, 503, 200]

@pytest.mark.flaky_proxy(upstream="gopher://x")
def test_wrong(flaky_proxy):
    pass
""",
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["flaky_proxy: *gopher*"])


def test_events_of_code_that_knows_nothing_of_it(pytester: pytest.Pytester) -> None:
    """What a policy made at import, a session and a fetch do in the test is heard, and only in it; own sinks go on."""
    result = run(
        pytester,
        """
import paceline
from paceline.events import Refused
from paceline.requests import Session
own = []
def sink(event):
    own.append(event)
sink.debug = False
policy = paceline.Policy(events=sink, retry=paceline.Retry(max_wait=7200))
session = Session(policy)

@pytest.mark.rate_limit("2/h", headers="none")
def test_it(rate_limited_server, virtual_time, events):
    for number in range(3):
        assert session.get(f"{rate_limited_server.url}/items/{number}").status_code == 200
    assert (events.refusals, events.retries, events.gave_up, events.attempts) == (1, 1, 0, 4)
    assert events.waits >= 1
    assert 3600 <= events.waited < 3700
    [refused] = events.of(Refused)
    assert refused.status == 429 and refused in list(events)
    assert refused in own and len(own) < len(events)
    assert not [event for event in own if event.level == "debug"]

@pytest.mark.rate_limit("10/s")
def test_fetch(rate_limited_server, events):
    assert [record.status for record in paceline.fetch([f"{rate_limited_server.url}/items/1"])] == [200]
    assert events.attempts == 1
    session.close()
""",
    )
    result.assert_outcomes(passed=2)


SUMMARY = """
@pytest.mark.rate_limit("2/h")
def test_bad(rate_limited_server):
    assert [get(rate_limited_server) for _ in range(4)] == [200, 200, 429, 429]

@pytest.mark.rate_limit("100/s")
def test_good(rate_limited_server):
    assert get(rate_limited_server) == 200
"""


def test_the_summary_tells_the_verdicts(pytester: pytest.Pytester) -> None:
    """One line a server at the end, all of the verdict with -v, and one line in all with -q."""
    result = run(pytester, SUMMARY)
    result.stdout.fnmatch_lines(
        ["*= paceline: verdicts on clients =*", "bad *::test_bad: 4 arrived, 2 accepted, 2 refused, * too early", "good *::test_good: 1 arrived, 1 accepted, 0 refused, 0 too early"]
    )
    assert "kept the limit" not in result.stdout.str()
    result = run(pytester, SUMMARY, "-v")
    result.stdout.fnmatch_lines(["*bad *kept the limit*2 of 4 refused*"])
    result = run(pytester, SUMMARY, "-q")
    result.stdout.fnmatch_lines(["paceline: verdicts on clients: 1 good, 1 bad"])
    assert "arrived" not in result.stdout.str()


def test_the_summary_comes_from_all_workers(pytester: pytest.Pytester) -> None:
    """Under pytest-xdist, the verdicts of all workers stand in the one summary."""
    pytester.makepyfile(HEAD + SUMMARY)
    result = pytester.runpytest_subprocess("-p", "no:randomly", "-n", "2")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["bad *::test_bad: 4 arrived*", "good *::test_good: 1 arrived*"])


def test_the_examples_of_the_page_are_tests_that_pass(pytester: pytest.Pytester) -> None:
    """All tests shown in docs/howto/testing-with-pytest.md, as one file."""
    page = Path(__file__).parents[2] / "docs" / "howto" / "testing-with-pytest.md"
    shown = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    result = run(pytester, "\n".join(shown))
    result.assert_outcomes(passed=9)
