"""A preset: all that one provider documents of its limits, from which a ready policy is made."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import InputError
from ..limits import Limit
from ..policy import Policy
from ..retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ..events import Sink
    from ..policy import CostOf, SettleOf
    from ..stores.shared import OnStoreLoss

__all__ = ["Preset", "Source", "Tier"]

Limits: TypeAlias = "Iterable[str | Limit] | str | Limit"


@dataclass(frozen=True, slots=True)
class Source:
    """A page of the provider's documentation, and the day it was read.

    read: the day; None where the page was not at hand, so that the figures are what is commonly known of it.
    figures: they stood in what was read, all of them.

    >>> Source("https://docs.stripe.com/rate-limits", "2026-11-24").verified
    True
    """

    url: str
    read: str | None
    figures: bool = True

    @property
    def verified(self) -> bool:
        """Whether the preset's figures were read on this page."""
        return self.read is not None and self.figures


@dataclass(frozen=True, slots=True)
class Tier:
    """The limits of one plan: those of all requests of a scope, and others for single buckets.

    >>> Tier(["60/hour"], {"search": ["10/min"]}).buckets["search"]
    ['10/min']
    """

    limits: Iterable[str]
    buckets: Mapping[str, Iterable[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """What one provider documents; called, it makes a `Policy`.

    name: its key in `PRESETS`. title: the provider, for people. dialect: how it writes its signals.
    tiers: limits by plan; the first is the default. sources: where they are from.
    shares: what shares a limit, in words. refused: what a refused request costs, in words.
    credential: the header that carries the token, `Authorization: Bearer {token}`; None: no header does.
    hosts: the only hosts that the token is sent to; `site`: an example of the host that each customer has of its own.
    contact: the form of the User-Agent that tells the provider whom to ask; contact_needed: it refuses others.
    idempotency: the header that makes a write safe to repeat, None where there is none.
    statuses: answers that are tried again on idempotent methods, where they are not the usual ones.
    cost_of, settle_of: see `Policy`. notes: what to know before the figures are used.
    """

    name: str
    title: str
    dialect: str
    tiers: Mapping[str, Tier]
    sources: tuple[Source, ...]
    shares: str
    refused: str
    credential: str | None = "Authorization: Bearer {token}"
    hosts: tuple[str, ...] = ()
    site: str | None = None
    contact: str | None = None
    contact_needed: bool = False
    idempotency: str | None = None
    statuses: frozenset[int] | None = None
    cost_of: CostOf | None = field(default=None, repr=False)
    settle_of: SettleOf | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    def __call__(
        self,
        token: str | None = None,
        *,
        tier: str | None = None,
        site: str | None = None,
        contact: str | None = None,
        limits: Limits | None = None,
        buckets: Mapping[str, Limits] | None = None,
        headers: Mapping[str, str] | None = None,
        retry: Retry | None = None,
        hosts: Mapping[str, Limits] | None = None,
        scope: str | None = None,
        store: str = "memory:",
        share: float = 1.0,
        on_store_loss: OnStoreLoss = "share",
        events: Sink | None = None,
        refresh: Callable[[], Any] | None = None,
    ) -> Policy:
        """A policy with the provider's documented limits.

        token: the credential; kept out of reprs, and sent to the provider's own hosts alone. Where the provider takes
        a user name beside it, write `name:token`.
        tier: the plan, a key of `tiers`. site: your own host there (`your-shop.myshopify.com`), where it gives each
        customer one. contact: whom the provider may ask (a name and an e-mail address), for its User-Agent.
        limits: instead of the tier's; buckets: beside or instead of its own for single buckets.
        The other arguments are those of `Policy`.

        Raises InputError for what cannot be used; LimitSyntaxError for limits.

        >>> import paceline.policies
        >>> policy = paceline.policies.github(token="ghp_secret")
        >>> policy.limits_of(policy.scope_of("https://api.github.com/search/issues?q=x"))[0].quota, "secret" in repr(policy)
        (30, False)
        """
        chosen = self._tier(tier)
        if limits is not None and isinstance(limits, str | Limit):
            limits = [limits]
        return Policy(
            limits=chosen.limits if limits is None else limits,
            buckets={
                **(buckets or {}),
                **{n: b for n, b in chosen.buckets.items() if n not in (buckets or {})},
            },
            retry=self.retry() if retry is None else retry,
            hosts=hosts or {},
            scope=scope,
            store=store,
            share=share,
            on_store_loss=on_store_loss,
            events=events,
            refresh=refresh,
            dialect=self.dialect,
            headers=self._headers(token, contact, headers),
            send_to=self._sites(token, site),
            cost_of=self.cost_of,
            settle_of=self.settle_of,
        )

    def _tier(self, name: str | None) -> Tier:
        if name is None:
            return next(iter(self.tiers.values()))
        found = self.tiers.get(name)
        if found is None:
            near = get_close_matches(name, self.tiers, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"the tiers are {', '.join(self.tiers)}"
            raise InputError(f"{self.name} has no tier {name!r}: {hint}")
        return found

    def retry(self, **changes: Any) -> Retry:
        """When requests to the provider are sent again; `changes`: other arguments of `Retry`.

        >>> from paceline.policies import stripe
        >>> stripe.retry(max_wait=60).idempotency_header
        'Idempotency-Key'
        """
        usual = Retry()
        known = {
            "statuses": usual.statuses if self.statuses is None else self.statuses,
            "idempotency_header": usual.idempotency_header if self.idempotency is None else self.idempotency,
        }
        return Retry(**{**known, **changes})

    def _sites(self, token: str | None, site: str | None) -> tuple[str, ...]:
        if site is not None:
            return (site,)
        if self.site is not None and token is not None:
            raise InputError(
                f"{self.title} gives each customer a host of its own, and the token goes to no other: "
                f"name yours, like site={self.site!r}"
            )
        return self.hosts

    def _headers(
        self, token: str | None, contact: str | None, headers: Mapping[str, str] | None
    ) -> dict[str, str]:
        made: dict[str, str] = {}
        if token is not None:
            if self.credential is None:
                raise InputError(
                    f"{self.title} takes no token in a header: {' '.join(self.notes)}".rstrip(": ")
                )
            if not token or not token.isascii() or not token.isprintable():
                raise InputError(f"the token for {self.title} must be printable ASCII text, and not empty")
            name, _, form = self.credential.partition(": ")
            if ":" in token and form == "Bearer {token}":
                made[name] = "Basic " + base64.b64encode(token.encode()).decode()
            else:
                made[name] = form.replace("{token}", token)
        if contact is not None:
            if self.contact is None:
                raise InputError(f"{self.title} asks for no contact: leave it out")
            if not contact.strip() or not contact.isprintable():
                raise InputError(
                    "contact must be a name and an e-mail address, like 'Example Co admin@example.com'"
                )
            made["User-Agent"] = self.contact.replace("{contact}", contact.strip())
        given = {name.lower() for name in headers or {}}
        return {
            **{name: value for name, value in made.items() if name.lower() not in given},
            **(headers or {}),
        }
