"""Groq: OpenAI's header names, but requests are counted by the day and tokens by the minute."""

from __future__ import annotations

from .._dialect import Dialect

GROQ = Dialect(
    name="groq",
    title="Groq",
    docs=("https://console.groq.com/docs/rate-limits",),
    hosts=("api.groq.com",),
    headers=("x-groq-*",),
    bodies=(b"console.groq.com",),
)
