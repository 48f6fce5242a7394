"""All dialects, one a file; the table is written out, so that it can be read."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ._airtable import AIRTABLE
from ._akamai import AKAMAI
from ._amazon_sp import AMAZON_SP
from ._anthropic import ANTHROPIC
from ._asaas import ASAAS
from ._asana import ASANA
from ._atlassian import ATLASSIAN
from ._aws import AWS
from ._azure import AZURE
from ._binance import BINANCE
from ._bluesky import BLUESKY
from ._brave import BRAVE
from ._brevo import BREVO
from ._bybit import BYBIT
from ._cloudflare import CLOUDFLARE
from ._contentful import CONTENTFUL
from ._crossref import CROSSREF
from ._digitalocean import DIGITALOCEAN
from ._discord import DISCORD
from ._dockerhub import DOCKERHUB
from ._feedly import FEEDLY
from ._generic import GENERIC
from ._github import GITHUB
from ._gitlab import GITLAB
from ._google import GOOGLE
from ._gorgias import GORGIAS
from ._groq import GROQ
from ._hubspot import HUBSPOT
from ._ietf import IETF
from ._intercom import INTERCOM
from ._linear import LINEAR
from ._mailerlite import MAILERLITE
from ._marketingcloud import MARKETINGCLOUD
from ._meta import META
from ._ncbi import NCBI
from ._notion import NOTION
from ._okta import OKTA
from ._openai import OPENAI
from ._overpass import OVERPASS
from ._persona import PERSONA
from ._pipedrive import PIPEDRIVE
from ._reddit import REDDIT
from ._rocketlane import ROCKETLANE
from ._salesforce import SALESFORCE
from ._sec import SEC
from ._sellercloud import SELLERCLOUD
from ._sentry import SENTRY
from ._shopify import SHOPIFY
from ._slack import SLACK
from ._spotify import SPOTIFY
from ._stackexchange import STACKEXCHANGE
from ._strava import STRAVA
from ._stripe import STRIPE
from ._syntage import SYNTAGE
from ._telegram import TELEGRAM
from ._tomorrowio import TOMORROWIO
from ._twilio import TWILIO
from ._twitch import TWITCH
from ._vercel import VERCEL
from ._whoop import WHOOP
from ._wikimedia import WIKIMEDIA
from ._x import X
from ._xero import XERO
from ._zendesk import ZENDESK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .._dialect import Dialect

__all__ = ["DIALECTS"]

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType(
    {
        "generic": GENERIC,
        "ietf": IETF,
        "airtable": AIRTABLE,
        "akamai": AKAMAI,
        "amazon_sp": AMAZON_SP,
        "anthropic": ANTHROPIC,
        "asaas": ASAAS,
        "asana": ASANA,
        "atlassian": ATLASSIAN,
        "aws": AWS,
        "azure": AZURE,
        "binance": BINANCE,
        "bluesky": BLUESKY,
        "brave": BRAVE,
        "brevo": BREVO,
        "bybit": BYBIT,
        "cloudflare": CLOUDFLARE,
        "contentful": CONTENTFUL,
        "crossref": CROSSREF,
        "digitalocean": DIGITALOCEAN,
        "discord": DISCORD,
        "dockerhub": DOCKERHUB,
        "feedly": FEEDLY,
        "github": GITHUB,
        "gitlab": GITLAB,
        "google": GOOGLE,
        "gorgias": GORGIAS,
        "groq": GROQ,
        "hubspot": HUBSPOT,
        "intercom": INTERCOM,
        "linear": LINEAR,
        "mailerlite": MAILERLITE,
        "marketingcloud": MARKETINGCLOUD,
        "meta": META,
        "ncbi": NCBI,
        "notion": NOTION,
        "okta": OKTA,
        "openai": OPENAI,
        "overpass": OVERPASS,
        "persona": PERSONA,
        "pipedrive": PIPEDRIVE,
        "reddit": REDDIT,
        "rocketlane": ROCKETLANE,
        "salesforce": SALESFORCE,
        "sec": SEC,
        "sellercloud": SELLERCLOUD,
        "sentry": SENTRY,
        "shopify": SHOPIFY,
        "slack": SLACK,
        "spotify": SPOTIFY,
        "stackexchange": STACKEXCHANGE,
        "strava": STRAVA,
        "stripe": STRIPE,
        "syntage": SYNTAGE,
        "telegram": TELEGRAM,
        "tomorrowio": TOMORROWIO,
        "twilio": TWILIO,
        "twitch": TWITCH,
        "vercel": VERCEL,
        "whoop": WHOOP,
        "wikimedia": WIKIMEDIA,
        "x": X,
        "xero": XERO,
        "zendesk": ZENDESK,
    }
)
