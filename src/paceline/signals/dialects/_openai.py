"""OpenAI: a bucket each for requests and kinds of tokens, resets as durations, a spent balance under 429."""

from __future__ import annotations

from .._dialect import Dialect

OPENAI = Dialect(
    name="openai",
    title="OpenAI",
    docs=(
        "https://platform.openai.com/docs/guides/rate-limits",
        "https://platform.openai.com/docs/guides/error-codes",
    ),
    hosts=("api.openai.com",),
    headers=("openai-organization", "openai-version", "openai-processing-ms"),
    bodies=(b"platform.openai.com",),
)
