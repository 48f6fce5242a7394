"""Persona: the classic RateLimit fields, the reset in seconds."""

from __future__ import annotations

from .._dialect import Dialect

PERSONA = Dialect(
    name="persona",
    title="Persona",
    docs=("https://docs.withpersona.com/rate-limiting",),
    hosts=("api.withpersona.com", "withpersona.com"),
)
