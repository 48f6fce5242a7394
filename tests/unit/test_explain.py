"""`paceline explain` reads what people have, and says what it means."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.cli import main
from paceline.cli._responses import MOST_BYTES, Response, from_words, read_responses, read_time
from paceline.cli._text import MAX_WAIT, RETRIED, advice, explanation, limit_text, verdict
from paceline.errors import InputError
from paceline.retry import Retry
from paceline.signals import Quota, Signal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = 1700000000.0
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"


@pytest.fixture
def explain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command with arguments and standard input; gives status, output and errors."""
    monkeypatch.setenv("COLUMNS", "110")

    def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = main(["explain", *arguments])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


Explain = Any


def test_arguments(explain: Explain) -> None:
    """Status and headers as arguments give the whole explanation."""
    status, out, err = explain(
        "429", "Retry-After: 7", "X-RateLimit-Limit: 100", "X-RateLimit-Remaining: 0", f"Date: {DATE}"
    )
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "429: refused; wait 7 s, until 22:13:27 UTC",
        "",
        "  arrived   2023-11-14T22:13:20Z (its Date header)",
        "  dialect   generic (any server): the general rules, nothing tells a provider",
        "  rule      the wait is from retry-after",
        "",
        "  quota      limit  left  counts",
        "  (no name)    100     0  requests",
        "",
        "  paceline  pauses the whole scope for 7 s, then goes on, slowly at first; this request is sent again,",
        "            whatever its method",
    ]


def test_json_output(explain: Explain) -> None:
    """`--json` gives one object with the signal's fields, moments and sentences."""
    status, out, _ = explain(
        "429", 'RateLimit: "default";r=0;t=30', 'RateLimit-Policy: "default";q=100;w=60', "--json", "--received-at",
        str(NOW), "--url", "https://u:s3cr3t@api.example.com/x?api_key=s3cr3t",
    )  # fmt: skip
    assert status == 0
    told = json.loads(out)
    assert "s3cr3t" not in out
    assert told.pop("notes")
    assert told == {
        "status": 429,
        "url": "https://***@api.example.com/x?api_key=***",
        "received_at": "2023-11-14T22:13:20.000Z",
        "refused": True,
        "retry_after": 30,
        "until": "2023-11-14T22:13:50.000Z",
        "terminal": False,
        "concurrency": False,
        "limits": [
            {
                "name": "default", "limit": 100, "remaining": 0, "reset_after": 30, "window": 60, "unit": "requests",
                "text": "100/min",
            }
        ],
        "dialect": "ietf",
        "told_by": "told by the names of headers",
        "verdict": "429: refused; wait 30 s, until 22:13:50 UTC",
        "advice": "pauses the whole scope for 30 s, then goes on, slowly at first; this request is sent again, "
        "whatever its method",
    }  # fmt: skip


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize(
    "version", [b"HTTP/1.1 429 Too Many Requests", b"HTTP/2 429 ", b"HTTP/2 429", b"HTTP/1.0 429"]
)
def test_a_pasted_response(newline: bytes, version: bytes, explain: Explain) -> None:
    """What `curl -i` prints is read, whatever its HTTP version and line ends."""
    text = newline.join([version, b"Date: " + DATE.encode(), b"Retry-After: 7", b"", b'{"a": 1}', b""])
    status, out, _ = explain("--json", stdin=text)
    assert status == 0
    assert json.loads(out)["until"] == "2023-11-14T22:13:27.000Z"


def read(text: bytes) -> list[Response]:
    return list(read_responses(io.BytesIO(text)))


def test_several_in_a_row() -> None:
    """Redirects, interim answers and a proxy's tunnel come one behind the other; the final ones are told."""
    responses = read(
        b"HTTP/1.1 200 Connection established\r\n\r\n"
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"
        b"HTTP/2 302 \r\nlocation: /y\r\ncontent-length: 16\r\n\r\nHTTP/1.1 200 OK\n"
        b"HTTP/2 429 \r\nretry-after: 3\r\n\r\nfirst line\nHTTP/x is no status line\nlast"
        b"\nHTTP/1.1 204 No Content\r\n"
    )
    assert [(r.status, r.body) for r in responses] == [
        (301, None),
        (302, b"HTTP/1.1 200 OK\n"),
        (429, b"first line\nHTTP/x is no status line\nlast\n"),
        (204, None),
    ]
    assert [r.where for r in responses] == ["input line 5", "input line 9", "input line 14", "input line 20"]


def test_header_oddities() -> None:
    """Folded headers, colours, empty values and colons in values are read; a BOM and blank lines are passed over."""
    (response,) = read(
        b"\n\nHTTP/1.1 429 Slow\r\n\x1b[1mRetry-After\x1b[0m: 7\r\nX-A:\r\nX-B: a:b\r\n  more\r\nX-C: \xc3\xa9\xff\r\n"
    )
    assert response.headers == [("Retry-After", "7"), ("X-A", ""), ("X-B", "a:b more"), ("X-C", "é\ufffd")]


def test_verbose_curl() -> None:
    """Of `curl -v` the lines that were received are read."""
    (response,) = read(
        b"* Trying\n> GET / HTTP/1.1\n>\n< HTTP/1.1 429 Slow\r\n< Retry-After: 7\r\n<\r\n* Connection\n{}"
    )
    assert (response.status, response.headers) == (429, [("Retry-After", "7")])


def test_json_lines(explain: Explain) -> None:
    """JSON lines give an explanation each, in order; records without an answer are passed over."""
    lines = [
        {"status": 429, "headers": {"Retry-After": "7"}, "received_at": NOW},
        {
            "status": 429,
            "headers": [["Retry-After", 8]],
            "received_at": "2023-11-14T22:13:20Z",
            "body": {"a": 1},
        },
        {"id": 7, "status": None, "error": "connect: refused"},
        {"id": 8, "url": "https://h/", "status": 200, "headers": {"retry-after": ["9", None]}, "json": [1]},
        {"status": 503, "headers": None, "base64": base64.b64encode(b"x").decode()},
    ]
    text = "\n\n".join(json.dumps(line) for line in lines).encode()
    status, out, _ = explain("--json", stdin=text)
    assert status == 0
    assert [json.loads(line)["retry_after"] for line in out.splitlines()] == [7, 8, None, None]
    assert [r.body for r in read(text)] == [None, b'{"a": 1}', b"[1]", b"x"]


def test_the_body_from_a_file(explain: Explain, tmp_path: Path) -> None:
    """`--body @FILE` reads the body; a file that is not there is named."""
    path = tmp_path / "answer.json"
    path.write_text('{"retry_after": 12}')
    status, out, _ = explain("429", "Content-Type: application/json", "--body", f"@{path}", "--json")
    assert (status, json.loads(out)["retry_after"]) == (0, 12)
    assert json.loads(explain("429", "--body", '{"retry_after": 13}', "--json")[1])["retry_after"] == 13
    status, _, err = explain("429", "--body", "@nowhere.json")
    assert (status, err) == (
        2,
        "Error: cannot read the body from 'nowhere.json': No such file or directory\n",
    )


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["abc"], b"", "'abc' is not a status: write it like: paceline explain 429 'Retry-After: 7'"),
        (["４２９"], b"", "is not a status"),
        (["42"], b"", "'42' is not a status"),
        (["429", "Retry-After:", "7"], b"", "'7' is not a header: write it like"),
        (["429", "Retry After: 7"], b"", "'Retry After: 7' is not a header"),
        (
            ["429", "--received-at", "noon"],
            b"",
            "cannot read the time 'noon': write it like 1700000000, 2023-11-14T",
        ),
        (["429", "--received-at", "nan"], b"", "cannot read the time 'nan'"),
        (["429", "--dialect", "klingon"], b"", "there is no dialect 'klingon': the dialects are "),
        ([], b"", "there is nothing to read: pipe in what `curl -i URL` prints"),
        ([], b"\n \n", "there is nothing to read"),
        ([], b"hello\nworld", "input line 1, 'hello', is no status line: pipe in"),
        ([], b"\nRetry-After: 7\n", "input line 2, 'Retry-After: 7', is no status line"),
        ([], b"HTTP/1.1 abc\n", "input line 1, 'HTTP/1.1 abc', is no status line"),
        (
            [],
            b"HTTP/1.1 429 Slow\nRetry-After 7\n",
            "input line 2, 'Retry-After 7', is no header: write it like",
        ),
        ([], b"HTTP/1.1 100 Continue\r\n\r\n", "there is no final answer in the input, only interim ones"),
        (
            [],
            b'{"status": 429}\n{"status": "x"}',
            "input line 2: the status 'x' is not a number from 100 to 999; write it",
        ),
        ([], b'{"status": true}', "the status True is not a number"),
        ([], b'{"status": 99}', "the status 99 is not a number"),
        ([], b"{}", "input line 1: the status None is not"),
        ([], b'{"status": 429', "input line 1: no JSON ("),
        ([], b'{"status": 429}\n[1]', "input line 2: [1] is no object"),
        ([], b'{"status": 429, "headers": "x"}', "the headers are neither an object nor pairs"),
        ([], b'{"status": 429, "headers": [1]}', "the headers are neither an object nor pairs"),
        ([], b'{"status": 429, "headers": {"a": {}}}', "the headers are neither an object nor pairs"),
        ([], b'{"status": 429, "url": 7}', "the url 7 is not text"),
        ([], b'{"status": 429, "received_at": "x"}', "input line 1: cannot read the time 'x'"),
        ([], b'{"status": 429, "base64": "?"}', "the body cannot be read"),
        ([], b'{"a":' + b"[" * 100_000, "input line 1: no JSON (nested too deep)"),
    ],
)
def test_bad_input(arguments: list[str], stdin: bytes, message: str, explain: Explain) -> None:
    """What cannot be read is named, with its place and a right form, and the status is 2."""
    status, _, err = explain(*arguments, stdin=stdin)
    assert status == 2
    assert err.startswith("Error: ")
    assert message in err
    assert len(err) < 1500


def test_a_terminal_without_arguments(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without anything to read it does not wait for typing, but says what to give."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    assert main(["explain"]) == 2
    assert "give a status and headers, or pipe a response in" in capsys.readouterr().err


def test_too_much_input() -> None:
    """An input beyond all reason is refused and not held in memory."""

    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size: int = -1) -> bytes:
            assert 0 < size <= MOST_BYTES
            self.taken += size
            return b"x" * size

        def readline(self, size: int | None = -1) -> bytes:
            assert size is not None
            assert 0 < size <= MOST_BYTES
            return b"HTTP/1.1 200 OK\r\n" if not self.taken else b"x" * size

    with pytest.raises(InputError, match="the input is longer than 32 MiB"):
        list(read_responses(Endless()))  # type: ignore[arg-type]


def test_help_has_examples(explain: Explain) -> None:
    """The command's help shows how it is used."""
    status, out, _ = explain("--help")
    assert status == 0
    assert "curl -si https://api.github.com/rate_limit | paceline explain" in out


def test_explain_is_light() -> None:
    """Explaining imports neither tenacity, nor rich, nor a client."""
    code = (
        "import sys; from paceline.cli import main; main(['explain', '429', 'Retry-After: 7']);"
        "sys.exit(bool({'tenacity', 'rich', 'aiohttp', 'asyncio'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("status", "signal", "sentence", "deed"),
    [
        (
            429,
            Signal(refused=True),
            "429: refused; how long to wait is not said",
            "asks with one single request",
        ),
        (
            429,
            Signal(refused=True, retry_after=0),
            "429: refused; wait 0 s, until 22:13:20 UTC",
            "a floor holds",
        ),
        (
            429,
            Signal(refused=True, retry_after=66975),
            "429: refused; wait 66,975 s (18 h 36 min), until 2023-11-15 16:49 UTC",
            "stops with RetryLater (`paceline fetch`: exit status 75), since 18 h 36 min is more than --max-wait (15 min)",
        ),
        (429, Signal(refused=True, retry_after=1e300), "until a far day", "stops with RetryLater"),
        (
            429,
            Signal(refused=True, terminal=True),
            "429: refused for good: waiting will not help",
            "gives the request up",
        ),
        (
            429,
            Signal(refused=True, concurrency=True, retry_after=2),
            "429: refused, too many at once; wait 2 s",
            "with fewer at once",
        ),
        (
            200,
            Signal(retry_after=10),
            "200: not refused, but the server asks for a pause: wait 10 s, until 22:13:30 UTC",
            "sends nothing more to this scope for 10 s",
        ),
        (200, Signal(), "200: not refused; nothing in it speaks of limits", "keeps this answer: it is final"),
        (
            200,
            Signal(limits=(Quota(limit=5, remaining=0, reset_after=60),)),
            "200: not refused; the quotas are named below",
            "the quota is spent, so the next request waits 1 min",
        ),
        (
            503,
            Signal(),
            "503: not refused; nothing",
            "tries again with growing waits, if the method is idempotent",
        ),
        (404, Signal(), "404: not refused", "it is final"),
    ],
)
def test_verdict_and_advice(status: int, signal: Signal, sentence: str, deed: str) -> None:
    """Every kind of signal has its sentence and what paceline does about it."""
    response = Response(where="", status=status, headers=[])
    assert sentence in verdict(response, signal, NOW)
    assert deed in advice(response, signal, NOW)


def test_a_redirect_is_followed() -> None:
    """A redirect is no final answer."""
    response = Response(where="", status=301, headers=[("location", "/x")])
    assert advice(response, Signal(), NOW) == "follows the redirect, with a permit of its own"


def test_the_defaults_are_those_of_retry() -> None:
    """What `explain` says of paceline's defaults is what they are."""
    retry = Retry()
    assert (retry.max_wait, retry.statuses) == (MAX_WAIT, RETRIED)


def test_limits_to_tell() -> None:
    """A quota with its period is told as a limit to give, once each; one that makes no limit is not."""
    signal = Signal(
        limits=(
            Quota(name="a", limit=100, window=60),
            Quota(name="b", limit=100, window=60),
            Quota(limit=0, window=1),
        )
    )
    lines = explanation(Response(where="", status=200, headers=[]), signal, NOW, "now")
    assert lines[-1] == "  tell it   --limit '100/min', to keep to the quota from the first request"
    assert limit_text(Quota(limit=5)) is None


def test_what_a_server_sent_cannot_move_the_cursor() -> None:
    """Controls in names and notes come out escaped."""
    signal = Signal(limits=(Quota(name="\x1b[2J", unit="\r\n"),), notes=("\x07",))
    text = "".join(explanation(Response(where="", status=200, headers=[]), signal, NOW, "now"))
    assert text.isprintable()


@pytest.mark.parametrize(
    "text", ["1700000000", 1700000000, "1700000000000", "2023-11-14T22:13:20Z", "2023-11-14T23:13:20+01:00",
             "2023-11-14 22:13:20", DATE],
)  # fmt: skip
def test_times(text: str | float) -> None:
    """A moment is read in each of its forms."""
    assert read_time(text) == NOW


def test_the_moment_of_arrival() -> None:
    """What is told wins, then a Date header that can be read, then the clock."""
    told = Response(where="", status=200, headers=[("Date", DATE)], received_at=5.0)
    assert told.moment(9.0) == (5.0, "as told")
    assert from_words("200", ["Date: yesterday"]).moment(9.0) == (9.0, "now")


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"HTTP/1.1 429 x\n", b'{"status": 429, ', b"< HTTP/2 200\n"]),
)
def test_reading_never_raises_anything_else(text: bytes, begin: bytes) -> None:
    """Any bytes are either responses or an InputError."""
    with suppress(InputError):
        assert all(100 <= response.status <= 999 for response in read(begin + text))


def test_the_dialect_the_rule_and_what_was_ignored_are_named(explain: Explain) -> None:
    """Whose dialect it is and how that is known, the bucket, the rule that gave the wait, and each thing left aside."""
    _, out, _ = explain(
        "429", "Retry-After: ", "X-Retry-After: 9", "X-RateLimit-Remaining-Minute: 0", "X-RateLimit-Reset-Minute: 31",
        "X-RateLimit-Remaining-Hour: 80", "X-RateLimit-Reset-Hour: 800", "--url", "https://api.github.com/search/code?q=x",
    )  # fmt: skip
    lines = out.splitlines()
    assert "  dialect   github (GitHub): told by the host" in lines
    assert "  bucket    code_search: it has limits of its own there" in lines
    assert "  rule      the wait is from x-retry-after" in lines
    assert "  ignored   retry-after is blank: ignored" in lines
    assert "            the resets of the quotas: ignored, since x-retry-after counts first" in lines
    _, out, _ = explain("429", "--dialect", "airtable")
    assert "  dialect   airtable (Airtable): as named" in out.splitlines()
    assert "none is named; Airtable documents 30 s, which --policy and Policy(dialect=…) keep" in " ".join(out.split())
    _, out, _ = explain("429", "X-RateLimit-Remaining-A: 0", "X-RateLimit-Reset-A: 5", "X-RateLimit-Remaining-B: 1", "X-RateLimit-Reset-B: 50")
    assert "the resets of quotas that have something left: ignored" in " ".join(out.split())
    _, out, _ = explain("403", "--body", '{"message": "You have exceeded a secondary rate limit."}')
    assert "  dialect   github (GitHub): told by a header or the body" in out.splitlines()
