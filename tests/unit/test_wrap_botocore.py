"""`Policy.wrap` around real botocore clients and real urllib3, against a server on loopback that refuses as AWS does."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

import pytest
from tenacity import wait_none

import paceline

if TYPE_CHECKING:
    from collections.abc import Iterator

botocore_session = pytest.importorskip("botocore.session")

JSON: Final = {"Content-Type": "application/x-amz-json-1.0"}
XML: Final = {"Content-Type": "text/xml"}
Reply = tuple[int, dict[str, str], bytes]
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
REFUSALS: Final[dict[str, tuple[str, str, Reply, Reply]]] = {
    "ThrottlingException": (
        "dynamodb",
        "list_tables",
        (400, JSON, b'{"__type": "com.amazonaws.dynamodb.v20120810#ThrottlingException", "message": "Rate exceeded"}'),
        (200, JSON, b'{"TableNames": []}'),
    ),
    "x-amzn-ErrorType": (
        "dynamodb",
        "list_tables",
        (429, {**JSON, "x-amzn-ErrorType": "TooManyRequestsException", "Retry-After": "0"}, b'{"message": "no"}'),
        (200, JSON, b'{"TableNames": []}'),
    ),
    "SlowDown": (
        "s3",
        "list_buckets",
        (503, XML, b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"),
        (200, XML, b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>"),
    ),
    "RequestLimitExceeded": (
        "ec2",
        "describe_regions",
        (
            503,
            XML,
            b"<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>Request limit exceeded.</Message>"
            b"</Error></Errors><RequestID>1</RequestID></Response>",
        ),
        (200, XML, b"<DescribeRegionsResponse><regionInfo/></DescribeRegionsResponse>"),
    ),
}


class Stub:
    """A server that gives the answers of a script, the last one again and again, and counts arrivals."""

    def __init__(self) -> None:
        self.script: list[Reply] = []
        self.arrivals = 0
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                stub.arrivals += 1
                status, headers, body = stub.script.pop(0) if len(stub.script) > 1 else stub.script[0]
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def client(self, service: str, attempts: int) -> Any:
        """A client of botocore that sends to this server."""
        from botocore.config import Config

        retries = {"total_max_attempts": attempts, "mode": "standard"}
        return botocore_session.get_session().create_client(
            service,
            region_name="us-east-1",
            endpoint_url=self.url,
            aws_access_key_id="example",
            aws_secret_access_key="example",
            config=Config(retries=retries, inject_host_prefix=False),
        )


@pytest.fixture
def stub() -> Iterator[Stub]:
    server = Stub()
    server.thread.start()
    yield server
    server.server.shutdown()
    server.thread.join()
    server.server.server_close()


def quick() -> paceline.Policy:
    return paceline.Policy(limits="100/s", retry=paceline.Retry(wait=wait_none()))


@pytest.mark.parametrize("name", REFUSALS)
def test_what_botocore_raises_for_a_refusal_is_waited_out(name: str, stub: Stub) -> None:
    """A refusal of AWS, as botocore raises it, is made again, once, and its answer handed out."""
    service, operation, refused, served = REFUSALS[name]
    stub.script = [refused, served]
    answer = quick().wrap(getattr(stub.client(service, 1), operation))()
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], stub.arrivals) == (200, 2)


def test_an_error_of_the_call_s_own_is_raised_at_once(stub: Stub) -> None:
    """What is no refusal is botocore's own exception after one arrival."""
    from botocore.exceptions import ClientError

    stub.script = [(400, JSON, b'{"__type": "com.amazon.coral.validate#ValidationException", "message": "bad limit"}')]
    with pytest.raises(ClientError, match="bad limit"):
        quick().wrap(stub.client("dynamodb", 1).list_tables)()
    assert stub.arrivals == 1


def test_botocore_s_own_retries_are_warned_of(stub: Stub) -> None:
    """Where botocore has tried again below, the first failure that comes up says so, and how to mend it."""
    service, operation, refused, served = REFUSALS["x-amzn-ErrorType"]
    stub.script = [refused, refused, served]
    call = quick().wrap(getattr(stub.client(service, 2), operation))
    with pytest.warns(paceline.NestedRetryWarning, match=r"botocore's own loop.*total_max_attempts"):
        call()
    assert stub.arrivals == 3


def test_real_urllib3_is_wrapped(stub: Stub) -> None:
    """A refused response of urllib3 is made again and the served one handed out; its own Retry is warned of."""
    import urllib3

    stub.script = [(429, {"Retry-After": "0"}, b""), (200, {}, b"yes")]
    with urllib3.PoolManager() as pool:
        answer = quick().wrap(lambda: pool.request("GET", stub.url, retries=False))()
        assert (answer.status, answer.data, stub.arrivals) == (200, b"yes", 2)
        stub.script = [(500, {}, b""), (200, {}, b"yes")]
        with pytest.warns(paceline.NestedRetryWarning, match="urllib3's Retry"):
            answer = quick().wrap(method="GET")(lambda: pool.request("GET", stub.url))()
    assert (answer.status, stub.arrivals) == (200, 4)
