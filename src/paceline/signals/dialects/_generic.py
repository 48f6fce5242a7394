"""The general rules alone: RFC 9110, RFC 6585 and the families of header names that most servers share."""

from __future__ import annotations

from .._dialect import Dialect

GENERIC = Dialect(
    name="generic",
    title="any server",
    docs=(
        "https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3",
        "https://www.rfc-editor.org/rfc/rfc6585#section-4",
    ),
)
