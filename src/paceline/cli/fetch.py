"""`paceline fetch`: everything that SOURCE asks for, at the full quota, one record each in OUT."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from ..errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..events import Sink
    from ..jobs.batch import Ended
    from ..limits import Limit
    from ..policy import Policy

__all__ = ["command"]

_EXAMPLES: Final = """
\b
Examples:
  paceline fetch urls.txt -o items.jsonl --limit 100/2s
  paceline fetch specs.jsonl -o out.jsonl --limit 5000/hour --limit "8 concurrent" --bearer-env API_TOKEN
  zcat urls.gz | paceline fetch - -o out.jsonl --limit api.example.com=10/s --limit other.example.com=2/s
  paceline fetch lists.txt -o pages.jsonl --paginate link --limit 100/2s
  paceline fetch urls.txt -o out.jsonl --failed failed.txt --report report.html
\b
SOURCE: a file of URLs (one a line, # comments), JSON lines (url, and perhaps id method headers params json data
cost paginate), or CSV with a column url; also .gz and .zst; - for standard input.
OUT: one JSON object a line, each input exactly once, in order of completion:
  id url status attempts waited_s elapsed_s headers page paging json|text|base64 error
\b
Stopped or killed, the same command goes on where it was. Exit status: 0 all fetched, 1 some failed for good,
2 wrong usage, 74 an input or output failed, 75 stopped by --deadline or --max-wait (run again), 130 interrupted.
"""

_PROGRESS: Final = ("auto", "bar", "log", "none")


class _Seconds(click.FloatRange):
    """A number of seconds; NaN, which passes every comparison of a range, is none."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if seconds != seconds:
            self.fail(f"{value} is not a number of seconds", param, ctx)
        return seconds


def _defaults_from(path: str) -> dict[str, Any]:
    import tomllib

    try:
        content = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read --config {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"--config {path} is not TOML: {error}") from None
    table = content.get("fetch", {})
    known = {option.name: option for option in command.params if isinstance(option, click.Option)}
    by_flag = {flag.lstrip("-").replace("-", "_"): option for option in known.values() for flag in option.opts}
    values: dict[str, Any] = {}
    for name, value in table.items() if isinstance(table, dict) else ():
        option = by_flag.get(name.replace("-", "_"))
        if option is None or option.name == "config":
            raise InputError(
                f"--config {path} has an unknown option {name!r} under [fetch]; "
                f"write the options' names, like: limit = [\"100/2s\"]; known are {', '.join(sorted(set(by_flag) - {'config', 'o', 'h', 'help'}))}"
            )
        if option.multiple and not isinstance(value, list):
            value = [value]
        values[str(option.name)] = value
    if not isinstance(table, dict) or set(content) - {"fetch"}:
        raise InputError(f"--config {path} may only hold a table [fetch], like: [fetch] limit = [\"100/2s\"]")
    return values


def _read_config(context: click.Context, _parameter: click.Parameter, path: str | None) -> str | None:
    if path is not None:
        context.default_map = {**_defaults_from(path), **(context.default_map or {})}
    return path


@click.command(
    name="fetch",
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.argument("source", metavar="SOURCE")
@click.option("-o", "--out", required=True, metavar="OUT", help="Where the records go; its state stands beside it.")
@click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="LIMIT",
    help='A limit of the API, like 100/2s, "8 concurrent" or api.example.com=10/s; several hold together. '
    "Without any: as fast as --concurrency allows, learning from headers and refusals.",
)
@click.option(
    "--policy",
    "preset",
    metavar="NAME[:TIER][@SITE]",
    help="A provider's preset, see `paceline policies`: its limits by bucket, its own header for the token of --bearer-env, "
    "which then goes to its hosts alone. --limit replaces its limits, but for those of single buckets.",
)
@click.option("--concurrency", type=click.IntRange(1, 10_000), default=32, show_default=True, help="Most requests in flight.")
@click.option("--timeout", type=_Seconds(0.001), default=30.0, show_default=True, help="Seconds for one attempt.")
@click.option("--attempts", type=click.IntRange(1), default=6, show_default=True, help="Failures before an input is given up; refusals do not count.")
@click.option("--deadline", type=_Seconds(0), help="Seconds for the whole run.")
@click.option("--max-wait", type=_Seconds(0), default=900.0, show_default=True, help="The longest pause in seconds, asked by the server, that is sat out.")
@click.option("--max-body", type=click.IntRange(0), default=32 * 1024 * 1024, show_default=True, help="Most bytes of one body.")
@click.option("--header", "headers", multiple=True, metavar="K:V", help="A header for every request.")
@click.option("--header-env", "headers_env", multiple=True, metavar="K:VAR", help="A header with its value from the environment.")
@click.option("--bearer-env", metavar="VAR", help="A bearer token from the environment.")
@click.option("--bearer-command", metavar="COMMAND", help="A command that prints a bearer token; run again, once for all, after a 401.")
@click.option("--paginate", metavar="HOW", help='Each input is a list: fetch all its pages, a record each. HOW is link, or like "cursor next=meta.next_cursor param=cursor", "page last=meta.total_pages", "offset total=total items=data".')
@click.option("--proxy", metavar="URL", help="An HTTP proxy.")
@click.option("--ca-file", metavar="FILE", help="Certificates to trust instead of the system's.")
@click.option("--no-redirects", is_flag=True, help="Do not follow redirects: they are answers like any other.")
@click.option("--user-agent", metavar="TEXT", help="Instead of paceline/VERSION.")
@click.option("--store", default="memory:", show_default=True, metavar="URL", help="Where the limits' state lives, shared with all who name it: sqlite: (a file in your state folder), sqlite:///FILE, redis://HOST:PORT/0 or memory: (this process alone).")
@click.option("--on-store-loss", type=click.Choice(["share", "stop", "open"]), default="share", show_default=True, help="While the store cannot be reached: go on alone at a part of the limit, wait for it, or go on at the full limit.")
@click.option("--share", type=_Seconds(0.001), default=1.0, show_default=True, help="This job's weight against others of the same scope, like 0.3 for a backfill.")
@click.option("--scope", metavar="NAME", help="One name under which all requests share the limits; else by host, port and credential.")
@click.option("--failed", metavar="FILE", help="Where inputs that failed are listed, to be SOURCE again.")
@click.option("--fresh", is_flag=True, help="Begin anew: overwrite OUT and forget what was done.")
@click.option("--report", metavar="FILE", help="Write the account to FILE.json, or FILE.html with a chart.")
@click.option("--progress", type=click.Choice(_PROGRESS), default="auto", show_default=True, help="How to show progress.")
@click.option("--log-format", type=click.Choice(["console", "json"]), default="console", show_default=True, help="How events are written to standard error.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="warning", show_default=True, help="The least event that is written.")
@click.option("--client", type=click.Choice(["aiohttp", "httpx"]), default="aiohttp", show_default=True, help="The HTTP client to send with.")
@click.option("--engine", metavar="dask[=ADDRESS]", help="Who sends: this process (without it), Dask workers that the command starts on this machine (dask), or those of a scheduler (dask=tcp://HOST:8786). They share the limits in the store, which must be one that all of them reach.")
@click.option("--config", metavar="FILE", is_eager=True, callback=_read_config, help="A TOML file with these options under [fetch].")
@click.pass_context
def command(context: click.Context, /, **options: Any) -> None:
    """Fetch everything that SOURCE lists into OUT: at the full quota, never over it, losing nothing."""
    store_given = context.get_parameter_source("store") is not ParameterSource.DEFAULT
    ended = _run({**options, "store_given": store_given})
    _tell(ended, options["progress"], options["log_format"])
    context.exit(ended.status)


def _run(options: dict[str, Any]) -> Ended:
    from ..jobs.batch import Batch
    from ..paging import read_paging

    preset = options["preset"]
    token = None
    if preset is not None and options["bearer_env"] is not None:
        # The preset knows the provider's header and hosts; without one a token goes wherever SOURCE leads.
        token = _from_environment(options["bearer_env"], "--bearer-env")
        _check_bearer(options)
        options = {**options, "bearer_env": None}
    headers, bearer = _headers(options), None
    if options["bearer_command"] is not None:
        from ._bearer import bearer_of

        bearer = bearer_of(options["bearer_command"])
    crew = None
    if options["engine"] is not None:
        from ._engines import crew_of, shared_store

        options = {**options, "store": shared_store(options["engine"], options["store"], given=options["store_given"])}
        crew = crew_of(options["engine"])
    policy = _policy(options, token, headers)
    paging = read_paging(options["paginate"])
    asked = {"client": options["client"], "redirects": str(not options["no_redirects"])}
    batch = Batch(
        source=options["source"],
        out=options["out"],
        policy=policy,
        make_sender=_sender(options),
        headers=headers,
        concurrency=options["concurrency"],
        redirects=0 if options["no_redirects"] else 10,
        paging=paging,
        bearer=bearer,
        failed=options["failed"],
        fresh=options["fresh"],
        report=options["report"],
        deadline=options["deadline"],
        sinks=_sinks(options),
        progress=_progress(options),
        crew=crew,
        asked=asked,
        on_interrupt=lambda: _remark(
            "stopping: what is in flight may end; interrupt again to stop at once", "warning", options["log_format"]
        ),
    )
    return batch.run()


def _policy(options: dict[str, Any], token: str | None, headers: Mapping[str, str]) -> Policy:
    from tenacity import stop_after_attempt

    from ..limits import Limit
    from ..policy import Policy
    from ..retry import Retry

    everywhere: list[Limit] = []
    hosts: dict[str, list[Limit]] = {}
    for text in options["limits"]:
        host, equals, rest = text.partition("=")
        if equals and "/" not in host:
            if not host.strip():
                raise InputError(f"--limit {text!r} names no host before '='; write it like api.example.com=10/s")
            hosts.setdefault(host.strip().lower(), []).append(Limit.parse(rest))
        else:
            everywhere.append(Limit.parse(text))
    patience: dict[str, Any] = {"stop": stop_after_attempt(options["attempts"]), "max_wait": options["max_wait"]}
    if options["preset"] is not None:
        from ._presets import preset_of

        return preset_of(options, token, headers, everywhere, hosts, patience, _sharing(options))
    retry = Retry(**patience)
    return Policy(limits=everywhere, hosts=hosts, retry=retry, scope=options["scope"], **_sharing(options))


def _sharing(options: dict[str, Any]) -> dict[str, Any]:
    """Where the limits' state lives, and how this job shares it with others."""
    return {"store": _store(options), "share": options["share"], "on_store_loss": options["on_store_loss"]}


def _store(options: dict[str, Any]) -> str:
    """The store's URL, once it has been reached; `sqlite:` is the file in the user's state folder."""
    url: str = options["store"]
    if url == "memory:":
        return url
    from ..stores import in_full, open_store
    from ..stores.protocol import StoreUnavailable

    named = in_full(url)
    try:
        store = open_store(named)
        if store is not None:
            store.key()
    except StoreUnavailable as error:
        raise InputError(f"{error}; start it, or name another with --store") from None
    return named


def _headers(options: dict[str, Any]) -> Mapping[str, str]:
    from .. import __version__

    headers = {"User-Agent": f"paceline/{__version__}", "Accept": "*/*"}

    def add(name: str, value: str, option: str) -> None:
        name, value = name.strip(), value.strip()
        if not name or not name.isascii() or any(char in name for char in ' \t\r\n:()<>@,;\\"/[]?={}'):
            raise InputError(f"{option} has no usable name {name!r}; write it like Accept:application/json")
        if any((char < " " and char != "\t") or char == "\x7f" for char in value):
            raise InputError(f"the value of {option} {name} holds a line break or another control character, which no header may")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InputError(f"the value of {option} {name} is not valid UTF-8") from None
        for known in [known for known in headers if known.lower() == name.lower()]:
            del headers[known]
        headers[name] = value

    if options["user_agent"] is not None:
        add("User-Agent", options["user_agent"], "--user-agent")
    for text in options["headers"]:
        name, colon, value = text.partition(":")
        if not colon:
            raise InputError(f"--header {name!r} has no ':'; write it like Accept:application/json")
        add(name, value, "--header")
    for text in options["headers_env"]:
        name, colon, variable = text.partition(":")
        if not colon:
            raise InputError(f"--header-env {text!r} has no ':'; write it like X-Tenant:TENANT_ID")
        add(name, _from_environment(variable.strip(), "--header-env"), "--header-env")
    if options["bearer_env"] is not None:
        _check_bearer(options)
        add("Authorization", "Bearer " + _from_environment(options["bearer_env"], "--bearer-env"), "--bearer-env")
    return headers


def _check_bearer(options: dict[str, Any]) -> None:
    if options["bearer_command"] is not None:
        raise InputError("--bearer-env and --bearer-command exclude each other; use one of them")


def _from_environment(variable: str, option: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise InputError(f"the environment has no variable {variable!r} for {option}, or it is empty")
    return value


def _sender(options: dict[str, Any]) -> Callable[[Mapping[str, str]], Any]:
    from ..masking import mask_url

    proxy = options["proxy"]
    if proxy is not None and not _is_http_url(proxy):
        raise InputError(f"--proxy {mask_url(proxy)!r} is no HTTP proxy; write it like http://proxy.example.com:3128")
    ca_file = options["ca_file"]
    if ca_file is not None:
        _check_certificates(ca_file)
    if options["client"] == "httpx":
        from ..jobs.httpx_sender import HttpxSender as Chosen
    else:
        from ..jobs.sender import AiohttpSender as Chosen  # type: ignore[assignment]
    from ..jobs.sender import SenderOptions

    settings = SenderOptions(
        timeout=options["timeout"],
        max_body=options["max_body"],
        proxy=proxy,
        ca_file=ca_file,
        connections=options["concurrency"],
    )
    return partial(Chosen, settings)


def _check_certificates(path: str) -> None:
    import ssl

    # Read once more by the sender; here, nothing has been begun yet.
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"cannot read certificates from --ca-file {path}: {error.strerror or error}") from None


def _is_http_url(text: str) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _sinks(options: dict[str, Any]) -> tuple[Sink, ...]:
    from ..telemetry import console, json_lines

    make = json_lines if options["log_format"] == "json" else console
    return (make(None, options["log_level"]),)


def _progress(options: dict[str, Any]) -> Callable[[Callable[[], Any]], Any] | None:
    kind = options["progress"]
    if kind == "none":
        return None
    from ..jobs.progress import Progress
    from ..telemetry import json_lines

    # Progress is an event of its own when all that is written is JSON.
    sink = json_lines(None, "info") if options["log_format"] == "json" else None
    return lambda view: Progress(view, mode=kind, sink=sink)


def _tell(ended: Ended, progress: str, log_format: str) -> None:
    account = ended.account
    if ended.trouble is not None:
        _remark(str(ended.trouble), "error", log_format)
    elif not account.total:
        _remark("SOURCE holds no inputs, so there was nothing to fetch", "warning", log_format)
    if progress == "none" and not ended.status:
        return
    if log_format == "json":
        at = account.started if account.end is None else account.end
        facts = {name: value for name, value in account.as_dict().items() if name != "timeline"}
        _print_json(at, "info", "account", facts)
        return
    for line in account.summary_lines():
        print(line, file=sys.stderr)


def _remark(text: str, level: str, log_format: str) -> None:
    import time

    if log_format == "json":
        _print_json(time.time(), level, "remark", {"text": text})
    else:
        print(f"paceline: {text}", file=sys.stderr)


def _print_json(at: float, level: str, event: str, facts: Mapping[str, Any]) -> None:
    import json

    from ..telemetry.words import timestamp

    line = {"ts": timestamp(at), "level": level, "event": event, **facts}
    print(json.dumps(line, allow_nan=False), file=sys.stderr)
