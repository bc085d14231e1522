"""Who shares an engine, and who closes it."""

from __future__ import annotations

import pytest

from aepo_rllib.rollout import acquire_engine, release_engine
from aepo_rllib.rollout.transformers import TransformersEngine


class Lonely(TransformersEngine):
    """A real engine that a process can hold one of."""

    one_per_process = True
    closed = 0

    def close(self) -> None:
        type(self).closed += 1


def test_an_engine_that_may_stand_beside_others_is_nobody_elses() -> None:
    one, other = (acquire_engine(TransformersEngine, "embedded", dtype="float32") for _ in range(2))
    assert one is not other
    release_engine(one)
    release_engine(other)


def test_a_single_engine_is_shared_until_its_last_user_lets_go() -> None:
    one, other = (acquire_engine(Lonely, "embedded", dtype="float32") for _ in range(2))
    assert one is other
    with pytest.raises(RuntimeError, match="another model or with other options"):
        acquire_engine(Lonely, "embedded", dtype="float64")
    release_engine(one)
    assert Lonely.closed == 0
    release_engine(other)
    assert Lonely.closed == 1
    again = acquire_engine(Lonely, "embedded", dtype="float64")
    assert again is not one
    release_engine(again)
