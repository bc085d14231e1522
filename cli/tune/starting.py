"""How a search begins, or goes on: from its plan to its trials and what proposes them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from aepo_rllib.cli.tune.ledger import Ledger
from aepo_rllib.cli.tune.optuna import Suggested
from aepo_rllib.cli.tune.plan import Plan
from aepo_rllib.cli.tune.population import Population
from aepo_rllib.cli.tune.proposals import Listed, Proposals, proposed
from aepo_rllib.cli.tune.search import Search

MOST_CHECKED = 200
"""Trials whose values are checked together before Ray starts; beyond, what does not fit is found when it begins."""


_PROPOSALS: dict[str, Callable[[Search, Ledger, Plan], Proposals]] = {"pbt": Population, "optuna": Suggested}
"""By scheduler, then by way of searching; others list what they will do."""


def known_trials(search: Search, plan: Plan) -> list[dict[str, Any]]:
    """Parameters of the trials that are known before any has begun, each checked as a whole.

    Raises:
        ValueError: values that do not fit together.
    """
    known = list(itertools.islice(proposed(search), MOST_CHECKED))
    for parameters in known:
        plan.bundles(parameters)
    return known


def begin(search: Search, plan: Plan) -> tuple[Ledger, Proposals, int]:
    """A search's trials, what proposes them, and how many there will be, as far as is known.

    Raises:
        ValueError: values that do not fit together, or a note in the folder is damaged.
    """
    known_trials(search, plan)
    ledger = Ledger(plan.root, search.steps, plan.evaluation)
    propose = _PROPOSALS.get(search.scheduler) or _PROPOSALS.get(search.search, Listed)
    proposals = propose(search, ledger, plan)
    return ledger, proposals, max(proposals.total, len(ledger.trials))
