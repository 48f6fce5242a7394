"""The pytest plugin: fixtures for tests against rate limits. It is loaded wherever paceline is installed, and imports nothing before a fixture is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .testing import EventLog, Proxy, Server, Skipped, VirtualTime

__all__ = [
    "events",
    "flaky_proxy",
    "no_waiting",
    "pytest_configure",
    "pytest_terminal_summary",
    "rate_limited_server",
    "virtual_time",
]

_PROPERTY = "paceline"
_MARKERS = (
    "rate_limit(*limits, **options): what rate_limited_server enforces and how it behaves, as paceline.testing.Server",
    "flaky_proxy(**options): what flaky_proxy breaks, as paceline.testing.Proxy; upstream: what it stands before",
    "virtual_time(start=None, patience=60): how the fixture virtual_time begins",
)


def pytest_configure(config: pytest.Config) -> None:
    """Makes the markers known; all that the plugin does in a run that does not use it."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.fixture
def virtual_time(request: pytest.FixtureRequest) -> Iterator[VirtualTime]:
    """Time that jumps where all wait, for the test and all threads and loops it starts: `paceline.testing.virtual_time`."""
    from .testing import virtual_time

    marker = request.node.get_closest_marker("virtual_time")
    with virtual_time(*(marker.args if marker else ()), **(marker.kwargs if marker else {})) as clock:
        yield clock


@pytest.fixture
def no_waiting() -> Iterator[Skipped]:
    """Sleeps return at once and are told: `paceline.testing.no_waiting`."""
    from .testing import no_waiting

    with no_waiting() as skipped:
        yield skipped


@pytest.fixture
def events() -> Iterator[EventLog]:
    """Every event of paceline in this test, whatever policy or limiter it comes from."""
    from .events import listening
    from .testing import EventLog

    log = EventLog()
    with listening(log):
        yield log


@pytest.fixture
def rate_limited_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A `paceline.testing.Server`: told by an indirect parameter, else by the marker `rate_limit`, else without limit.

    A parameter is a limit (`"100/2s"`), a scenario's name (`"halved"`), a list of limits, or a mapping of the
    server's options with `limit` or `scenario` among them.
    """
    _in_virtual_time(request)
    from .errors import InputError
    from .testing import Server

    limit, options = _told(request, "rate_limit")
    try:
        server = Server(limit, **options).start()
    except InputError as error:
        pytest.fail(f"rate_limited_server: {error}", pytrace=False)
    try:
        yield server
    finally:
        server.stop()
        if server.account().arrived:
            account, card = server.account(), server.report()
            line = f"{account.arrived} arrived, {account.accepted} accepted, {account.refused} refused, {account.early_retries} too early"
            verdict = {"grade": card.grade, "line": line, "text": card.text()}
            # In what reports carry from the workers of pytest-xdist, too.
            request.node.user_properties.append((_PROPERTY, verdict))


@pytest.fixture
def flaky_proxy(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """A `paceline.testing.Proxy` before `rate_limited_server`, or before `upstream`.

    Told by an indirect parameter, a mapping of its options, else by the marker `flaky_proxy`.
    """
    _in_virtual_time(request)
    from .errors import InputError
    from .testing import Proxy

    limit, options = _told(request, "flaky_proxy")
    upstream = options.pop("upstream", None)
    if upstream is None:
        upstream = request.getfixturevalue("rate_limited_server").url
    try:
        proxy = Proxy(upstream, limit, **options).start()
    except InputError as error:
        pytest.fail(f"flaky_proxy: {error}", pytrace=False)
    try:
        yield proxy
    finally:
        proxy.stop()


def _in_virtual_time(request: pytest.FixtureRequest) -> None:
    """A server lives in virtual time where it begins there: so that begins first, wherever the test names it."""
    if "virtual_time" in request.fixturenames:
        request.getfixturevalue("virtual_time")


def _told(request: pytest.FixtureRequest, marker: str) -> tuple[Any, dict[str, Any]]:
    """Limits and options for a server: from the fixture's parameter, or from a marker."""
    mark = request.node.get_closest_marker(marker)
    limits, options = (list(mark.args), dict(mark.kwargs)) if mark else ([], {})
    if hasattr(request, "param"):
        given = request.param
        if isinstance(given, str) and _is_scenario(given):
            given = {"scenario": given}
        limits, options = ([], dict(given)) if isinstance(given, dict) else ([given], {})
    limit = options.pop("limit", None)
    if limits:
        limit = limits[0] if len(limits) == 1 else limits
    return limit, options


def _is_scenario(text: str) -> bool:
    return not text[:1].isdigit() or text.endswith(".toml")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The verdicts on the clients of all servers, where there were any."""
    verdicts = [
        (report.nodeid, value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "teardown"
        for name, value in report.user_properties
        if name == _PROPERTY
    ]
    if not verdicts:
        return
    verbosity = terminalreporter.config.get_verbosity()
    if verbosity < 0:
        grades = [value["grade"] for _, value in verdicts]
        counts = ", ".join(f"{grades.count(each)} {each}" for each in ("good", "fair", "bad", "unseen") if each in grades)
        terminalreporter.write_line(f"paceline: verdicts on clients: {counts}")
        return
    terminalreporter.write_sep("=", "paceline: verdicts on clients")
    for node, value in sorted(verdicts, key=lambda each: str(each[0])):
        terminalreporter.write_line(f"{value['grade']:6} {node}: {value['line']}")
        if verbosity > 0:
            for line in value["text"].splitlines()[1:]:
                terminalreporter.write_line(f"     {line}")
