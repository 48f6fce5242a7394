"""Responses of providers that no dialect is written for, and answers that only look like refusals, read by the general rules.

`tests/data/signals/unseen.json` was written down from what is known of each provider's pages before the rules were looked
at, and is not what a page was read for: `source` names the page, a figure of it may have changed. What the rules do not
read is counted, not hidden: each part has the share that must be right.
"""

from __future__ import annotations

import json
from typing import Any

from tests.conformance.test_dialects import DATA, faults, read

UNSEEN: list[dict[str, Any]] = json.loads((DATA / "unseen.json").read_text("utf-8"))


def test_providers_without_a_dialect_are_read_right() -> None:
    """Refused, wait and end are right in 96 of 100 cases, quotas in 93."""
    found = {case["id"]: faults(case, read(case)) for case in UNSEEN}
    words = {name: [one for one in wrong if not one.startswith("limits")] for name, wrong in found.items()}
    quotas = {name: [one for one in wrong if one.startswith("limits")] for name, wrong in found.items()}
    for part, least in ((words, 0.96), (quotas, 0.93)):
        wrong = {name: said for name, said in part.items() if said}
        assert len(wrong) <= (1 - least) * len(UNSEEN), wrong


def test_what_only_speaks_of_limits_is_no_refusal() -> None:
    """No answer that is none is taken for a refusal: a false one would pause all that work on a scope."""
    for case in UNSEEN:
        if not case["expect"]["limited"] and True not in case.get("also_accept_limited", []):
            assert (case["id"], read(case).refused) == (case["id"], False)


def test_each_case_has_its_own_id_and_a_source() -> None:
    """Each case names the page it is after, and ids are unique."""
    assert len({case["id"] for case in UNSEEN}) == len(UNSEEN)
    assert all(case["source"].startswith("https://") for case in UNSEEN)
