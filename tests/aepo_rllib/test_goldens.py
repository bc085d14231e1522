"""No number of a peer lies unused: every stored case is asked for by a test, and what is not covered has a reason."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import pytest

from tests.support.goldens import ASKED, FOLDER

NOT_OFFERED = "a method that is not offered: "
NOT_COVERED = {
    ("verl", "loss_geo_mean_token-mean_10"): NOT_OFFERED + "GMPO",
    ("verl", "loss_dro_token-mean_11"): NOT_OFFERED + "DRO",
    ("verl", "adaptive_kl_controller"): "the coefficient of the KL term is constant",
    ("verl", "agg_token-sum"): "a sum over all tokens grows with the batch; means are offered alone",
    ("trl", "loss_vespo"): NOT_OFFERED + "VESPO",
    ("trl", "loss_dapo_off_policy_mask"): "completions are as old as their batch; there is nothing to mask",
    ("kwai_klear", "erc_grpo_0.95_1.05"): NOT_OFFERED + "ERC",
    ("kwai_klear", "erc_grpo_0.8_1.2"): NOT_OFFERED + "ERC",
}
"""Peer and case of numbers that there are and that no test computes, and why; they are not stored."""
OURS = {"stored_batches", "procedural", "plan"}
"""Files of numbers of our own."""


def stored() -> set[tuple[str, str]]:
    """Peer and name of every stored case."""
    found = set()
    for path in FOLDER.glob("*.json"):
        content = json.loads(path.read_text())
        if path.stem not in OURS and "cases" in content:
            found |= {(path.stem, case["name"]) for case in content["cases"]}
    return found


@pytest.fixture(scope="module")
def asked() -> set[tuple[str, str]]:
    """What the tests ask for: all files of tests that do are imported."""
    tests = Path(__file__).parents[1]
    for path in tests.rglob("test_*.py"):
        if re.search(r"\bgolden_cases\(", path.read_text()):
            importlib.import_module(".".join(("tests", *path.relative_to(tests).with_suffix("").parts)))
    return set(ASKED)


def test_every_stored_case_is_asked_for_by_a_test(asked: set[tuple[str, str]]) -> None:
    assert len(stored()) > 140
    assert not stored() - asked


def test_what_is_not_covered_has_a_reason_and_is_not_stored(asked: set[tuple[str, str]]) -> None:
    assert not NOT_COVERED.keys() & (stored() | asked)
    assert all(len(reason) > 20 for reason in NOT_COVERED.values())


def test_every_file_of_a_peer_says_whose_numbers_they_are_and_of_which_version() -> None:
    for peer in {peer for peer, _ in stored()}:
        content = json.loads((FOLDER / f"{peer}.json").read_text())
        assert content["peer"]
        assert content["version"]
        assert all(case["function"] for case in content["cases"])
