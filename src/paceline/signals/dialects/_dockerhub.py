"""Docker Hub: the window stands beside limit and remaining, there is no reset."""

from __future__ import annotations

from .._dialect import Dialect

DOCKERHUB = Dialect(
    name="dockerhub",
    title="Docker Hub",
    docs=("https://docs.docker.com/docker-hub/usage/pulls/",),
    hosts=("hub.docker.com", "docker.io"),
    headers=("docker-ratelimit-source",),
)
