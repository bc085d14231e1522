import functools
import json

import pytest
import torch
from ray.rllib.utils import force_list

from aepo_rllib import AEPO, AEPOConfig
from aepo_rllib.eval.callback import EvaluateSuites
from aepo_rllib.eval.run import evaluate_model
from tests.support.small_runs import small, weights

SUITE = "aepo_arithmetic"


pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_scores_stand_in_every_second_result_and_training_is_untouched(tmp_path):
    callback = functools.partial(EvaluateSuites, every=2, n=4, limit=6, output=tmp_path / "suites")
    watched = small(AEPOConfig()).callbacks(callback).build_algo()
    alone = small(AEPOConfig()).build_algo()
    results = [watched.train() for _ in range(4)]
    for _ in range(4):
        alone.train()
    assert ["suites" in result for result in results] == [False, True, False, True]
    assert set(results[1]["suites"][SUITE]) == {"pass@1", "pass@2", "pass@4"}
    ours, theirs = weights(watched), weights(alone)
    assert all(torch.equal(torch.as_tensor(ours[name]), torch.as_tensor(theirs[name])) for name in theirs)
    # The scores are those of the weights at that time, as `aepo eval` finds them.
    watched.export_huggingface(tmp_path / "model")
    again = evaluate_model(str(tmp_path / "model"), n=4, limit=6)
    assert results[3]["suites"][SUITE]["pass@4"] == again["suites"][SUITE]["k"]["4"]["mean"]
    first, second = sorted((tmp_path / "suites").iterdir())
    assert (first.name, second.name) == ("iteration_000002", "iteration_000004")
    identities = [json.loads((f / "evaluation.json").read_text())["identity"]["model"] for f in (first, second)]
    assert identities[0] != identities[1]
    watched.save_to_path(tmp_path / "checkpoint")
    restored = AEPO.from_checkpoint(str(tmp_path / "checkpoint"))
    (callback,) = force_list(restored.callbacks)
    assert (callback.every, callback.plan.n) == (2, 4)
    for algo in (watched, alone, restored):
        algo.stop()


def test_unusable_settings_are_refused_when_the_algorithm_is_built():
    for options, message in (
        ({"suites": ["aepo_aritmetic"]}, "did you mean"),
        ({"n": 4, "ks": [8]}, "pass@8"),
        ({"every": 0}, "at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            EvaluateSuites(**options)
