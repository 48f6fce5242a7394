"""Presets: policies with the limits that providers document, one provider a file; the table is written out."""

from __future__ import annotations

from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ..errors import InputError
from ._airtable import airtable
from ._anthropic import anthropic
from ._azure import azure
from ._crossref import crossref
from ._discord import discord
from ._github import github
from ._gitlab import gitlab
from ._google import google
from ._hubspot import hubspot
from ._jira import jira
from ._ncbi import ncbi
from ._notion import notion
from ._okta import okta
from ._openai import openai
from ._preset import Preset, Source, Tier
from ._reddit import reddit
from ._salesforce import salesforce
from ._sec import sec
from ._shopify import shopify
from ._slack import slack
from ._stripe import stripe
from ._wikimedia import wikimedia
from ._xero import xero
from ._zendesk import zendesk

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "PRESETS",
    "Preset",
    "Source",
    "Tier",
    "airtable",
    "anthropic",
    "azure",
    "crossref",
    "discord",
    "find_preset",
    "github",
    "gitlab",
    "google",
    "hubspot",
    "jira",
    "ncbi",
    "notion",
    "okta",
    "openai",
    "reddit",
    "salesforce",
    "sec",
    "shopify",
    "slack",
    "stripe",
    "wikimedia",
    "xero",
    "zendesk",
]

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "airtable": airtable,
        "anthropic": anthropic,
        "azure": azure,
        "crossref": crossref,
        "discord": discord,
        "github": github,
        "gitlab": gitlab,
        "google": google,
        "hubspot": hubspot,
        "jira": jira,
        "ncbi": ncbi,
        "notion": notion,
        "okta": okta,
        "openai": openai,
        "reddit": reddit,
        "salesforce": salesforce,
        "sec": sec,
        "shopify": shopify,
        "slack": slack,
        "stripe": stripe,
        "wikimedia": wikimedia,
        "xero": xero,
        "zendesk": zendesk,
    }
)


def find_preset(name: str) -> Preset:
    """The preset of that name, in any case; raises InputError that lists near ones.

    >>> find_preset("GitHub").title
    'GitHub'
    >>> find_preset("githup")
    Traceback (most recent call last):
    ...
    paceline.errors.InputError: there is no preset 'githup': did you mean github?
    """
    found = PRESETS.get(name.strip().lower())
    if found is None:
        near = get_close_matches(name.strip().lower(), PRESETS, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"the presets are {', '.join(PRESETS)}"
        raise InputError(f"there is no preset {name!r}: {hint}")
    return found
