"""MailerLite: limit and remaining, and Retry-After when refused."""

from __future__ import annotations

from .._dialect import Dialect

MAILERLITE = Dialect(
    name="mailerlite",
    title="MailerLite",
    docs=("https://developers.mailerlite.com/docs/#rate-limits",),
    hosts=("connect.mailerlite.com", "api.mailerlite.com"),
)
