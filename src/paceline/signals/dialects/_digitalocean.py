"""DigitalOcean: epoch resets on the API, S3's SlowDown on Spaces."""

from __future__ import annotations

from .._dialect import Dialect

DIGITALOCEAN = Dialect(
    name="digitalocean",
    title="DigitalOcean",
    docs=(
        "https://docs.digitalocean.com/reference/api/api-reference/",
        "https://docs.digitalocean.com/products/spaces/details/limits/",
    ),
    hosts=("api.digitalocean.com", "digitaloceanspaces.com"),
)
