"""GitLab: the names of the IETF draft, but RateLimit-Reset is an epoch, beside it a date."""

from __future__ import annotations

from .._dialect import Dialect

GITLAB = Dialect(
    name="gitlab",
    title="GitLab",
    docs=("https://docs.gitlab.com/security/rate_limits/",),
    hosts=("gitlab.com",),
)
