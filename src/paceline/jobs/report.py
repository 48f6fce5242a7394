"""The report of a run as a file: `.json` for programs, `.html` for people."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..errors import InputError, OutputError
from .page import page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .account import Account

__all__ = ["check_report_path", "write_report"]

_KINDS: Final = (".html", ".json")


def check_report_path(path: str | Path) -> Path:
    """The path, if a report can be written there; asked before anything begins.

    Raises InputError for an unknown extension, a folder, or a file in a folder that is missing or not writable.

    >>> check_report_path("report.pdf")
    Traceback (most recent call last):
    ...
    paceline.errors.InputError: cannot write a report to 'report.pdf': its name must end in .html or .json
    """
    target = Path(path)
    wrong = f"cannot write a report to {str(path)!r}: "
    if target.suffix.lower() not in _KINDS:
        raise InputError(f"{wrong}its name must end in {' or '.join(_KINDS)}")
    if target.is_dir():
        raise InputError(f"{wrong}it is a folder")
    if not target.parent.is_dir():
        raise InputError(f"{wrong}there is no folder {str(target.parent)!r}")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"{wrong}the folder {str(target.parent)!r} is not writable")
    return target


def write_report(path: str | Path, account: Account, meta: Mapping[str, str] | None = None) -> None:
    """Writes the report of `account`: all of it or nothing, and a report that stood there stays until then.

    meta: more facts for the head, name and text (`source`, `output`, `version`), without credentials.
    Raises InputError as `check_report_path`, OutputError where writing fails.
    """
    target = check_report_path(path)
    told = account.as_dict()
    facts = dict(meta or {})
    if target.suffix.lower() == ".json":
        text = json.dumps({**told, "meta": facts}, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    else:
        text = page(told, facts)
    # Lone surrogates stand for bytes of a file name that are no UTF-8.
    data = text.encode("utf-8", "replace")
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        try:
            aside.write_bytes(data)
            aside.replace(target)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write the report to {str(path)!r}: {error.strerror or error}") from error
