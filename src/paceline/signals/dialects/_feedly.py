"""Feedly: the count of calls used and seconds to the reset; the limit is not told."""

from __future__ import annotations

from .._dialect import Dialect

FEEDLY = Dialect(
    name="feedly",
    title="Feedly",
    docs=("https://developer.feedly.com",),
    hosts=("cloud.feedly.com", "api.feedly.com"),
)
