"""Every layout of processes is one algorithm. Each is built once: compared, looked into, disturbed, hurt in the end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from aepo_rllib import metrics
from aepo_rllib.columns import Columns
from aepo_rllib.learning.learner_side import LearnerSide
from aepo_rllib.learning.optimizer_step import LearnerLost, NonFiniteError
from aepo_rllib.rollout import make_engine
from aepo_rllib.support import sealed_folder
from aepo_rllib.support.sealed_folder import sha256, verify
from tests.support.layouts import POLICY, Built, build, columns_of, rows_of
from tests.support.small_runs import STEPS, figures, weights

LOCAL, RUNNERS, LEARNERS, SHARED = (0, 0, "none"), (2, 0, "none"), (0, 2, "none"), (2, 2, "fsdp")
"""Remote env runners, remote learners, and what these share; without any, all is in one process."""
SLOW = {RUNNERS}
"""What they do is done by others here; and by one runner in test_remote_runner.py."""
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes cannot import a test file


@pytest.fixture(scope="module")
def local(ray_cluster: None) -> Iterator[Built]:
    """All in one process: what the others are compared with."""
    with build(*LOCAL) as built:
        yield built


@pytest.fixture(scope="module")
def layout(request: pytest.FixtureRequest, local: Built) -> Iterator[Built]:
    """A layout after its first steps."""
    if request.param == LOCAL:
        yield local
    else:
        with build(*request.param) as built:
            yield built


def of(*layouts: tuple[int, int, str]) -> Callable[[Any], Any]:
    """The layouts that a test is about."""
    params = [pytest.param(layout, marks=[pytest.mark.slow] * (layout in SLOW)) for layout in layouts]
    return pytest.mark.parametrize("layout", params, indirect=True, ids=lambda layout: "{}+{} {}".format(*layout))


@of(RUNNERS, LEARNERS, SHARED)
def test_every_layout_computes_the_same(local: Built, layout: Built) -> None:
    for result, expected in zip(layout.results, local.results, strict=True):
        assert figures(result) == pytest.approx(figures(expected), rel=1e-4, abs=1e-6)
    for name, expected in local.weights.items():
        # Adam's first steps divide by tiny second moments, so rounding grows; signs of updates may not differ.
        np.testing.assert_allclose(layout.weights[name], expected, atol=1e-4)


@of(LOCAL, RUNNERS, LEARNERS, SHARED)
def test_the_probe_is_asked_after_every_update(layout: Built) -> None:
    for result in layout.results:
        update = result[metrics.UPDATE]
        assert update[metrics.PROBE_LARGEST_GAP] < 1e-4
        assert update[metrics.MISMATCH_GAP] <= update[metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3
        assert 0 <= update[metrics.MISMATCH_KL] < 1e-6


@of(LOCAL, RUNNERS, LEARNERS, SHARED)
def test_engines_sleep_while_the_learner_works(layout: Built) -> None:
    """Evaluation's too, from its first time on: an engine for every runner that samples, and one more."""
    engines = max(layout.algo.config.num_env_runners, 1)
    # A scoring pass, two optimizer steps, memory given back, weights that wake the engines that are sampled by, their
    # probe; and weights for evaluation.
    assert [update for update, _ in layout.asleep] == [False, True, True, *[False] * 4] * STEPS
    asleep = [states for _, states in layout.asleep]
    assert asleep[:7] == [[True] * engines] * 5 + [[False] * engines] * 2
    assert asleep[7:] == [[True] * (engines + 1)] * 5 + [[False] * engines + [True]] * 2
    assert layout.sleepers() == [False] * (engines + 1)
    assert all(0 < result["evaluation"]["env_runners"][metrics.PASS_AT_1] < 1 for result in layout.results)


def without_gradients(learner: Any) -> bool:
    return all(parameter.grad is None for parameter in learner.module[POLICY].parameters())


@of(LOCAL, LEARNERS, SHARED)
def test_learners_give_their_gradients_memory_back(layout: Built) -> None:
    assert all(answer.get() for answer in layout.algo.learner_group.foreach_learner(without_gradients))


@of(LOCAL, LEARNERS, SHARED)
def test_several_learners_score_as_one(layout: Built) -> None:
    """Any number of sequences, more and fewer than learners and than rows of a pass, in their order."""
    generator = np.random.default_rng(2)
    sequences = [
        (generator.integers(5, 30, size=3 + place).tolist(), generator.integers(5, 30, size=7 - place).tolist())
        for place in range(5)
    ]
    side, engine = LearnerSide(layout.algo.learner_group, layout.algo.config), layout.engine()
    for part in (sequences, sequences[:1]):
        for scored, expected in zip(side.log_probs(part), engine.log_probs(part), strict=True):
            np.testing.assert_allclose(scored, expected, atol=1e-5)


@of(LOCAL, LEARNERS, SHARED)
def test_rows_are_scored_under_the_weights_that_sampled(layout: Built) -> None:
    """In the second optimizer step too, where the weights have moved."""
    engine = make_engine("transformers", "embedded")
    for step in layout.batches[:2]:
        rows = [row for columns in step for row in rows_of(columns)]
        assert rows
        expected = engine.log_probs([(prompt, completion) for prompt, completion, _ in rows])
        for (_, _, old_logp), logp in zip(rows, expected, strict=True):
            np.testing.assert_allclose(old_logp, logp, atol=1e-4)


@of(LOCAL, LEARNERS, SHARED)
def test_a_step_with_nan_is_refused_before_the_optimizer_and_the_next_one_is_taken(
    layout: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    algo, group = layout.algo, layout.algo.learner_group
    update, before = group.update, weights(algo)

    def poisoned(*, training_data: Any, **kwargs: Any) -> Any:
        columns_of(training_data)[-1][Columns.ADVANTAGE][:] = float("nan")
        return update(training_data=training_data, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(group, "update", poisoned)
        with pytest.raises(
            NonFiniteError, match=rf"step {algo.train_steps + 1} was refused .* not finite; its problems: \S+"
        ):
            algo.train()
    assert not algo.updating
    for name, value in weights(algo).items():
        np.testing.assert_array_equal(value, before[name])
    assert algo.train()[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3


@of(LOCAL, RUNNERS, LEARNERS, SHARED)
def test_engines_wake_after_an_error_of_the_learner(layout: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(layout.algo.learner_group, "update", failing)
        with pytest.raises(RuntimeError, match="out of memory"):
            layout.algo.train()
    assert all(layout.sleepers())
    assert layout.algo.train()[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3


@of(RUNNERS, SHARED)
def test_a_run_is_restored_in_a_layout_that_samples_in_other_waves(local: Built, layout: Built, tmp_path: Path) -> None:
    algo, other = local.algo, layout.algo
    algo.save_to_path(tmp_path / "checkpoint")
    state, step, saved = algo.own_state(), algo.train_steps, weights(algo)
    expected = figures(algo.train())
    other.restore_from_path(tmp_path / "checkpoint")
    assert (other.train_steps, other.own_state()) == (step, state)
    for name, tensor in saved.items():
        np.testing.assert_array_equal(weights(other)[name], tensor)
    assert figures(other.train()) == pytest.approx(expected, rel=1e-4, abs=1e-6)


@of(LOCAL, SHARED)
def test_a_checkpoint_holds_the_step_it_was_begun_at_whatever_is_trained_while_it_is_written(
    layout: Built, tmp_path: Path
) -> None:
    algo = layout.algo
    pending = algo.begin_checkpoint(tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()
    expected = [figures(algo.train()) for _ in range(2)]
    reached = weights(algo)
    pending.wait()
    verify(tmp_path / "checkpoint")
    algo.restore_from_path(tmp_path / "checkpoint")
    assert [figures(algo.train()) for _ in range(2)] == expected
    for name, tensor in reached.items():
        np.testing.assert_array_equal(weights(algo)[name], tensor)


@of(LOCAL, SHARED)
def test_learners_write_one_checkpoint_after_the_other(layout: Built, tmp_path: Path) -> None:
    algo = layout.algo
    first = algo.begin_checkpoint(tmp_path / "first")
    algo.train()
    second = algo.begin_checkpoint(tmp_path / "second")
    assert first.poll()
    verify(tmp_path / "first")
    second.wait()
    verify(tmp_path / "second")


@of(LOCAL, SHARED)
def test_the_digests_in_a_manifest_were_taken_while_its_files_were_written(
    layout: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only small files are read for theirs, and those of the export."""
    read: list[str] = []
    monkeypatch.setattr(sealed_folder, "sha256", lambda file: read.append(file.as_posix()) or sha256(file))
    layout.algo.save_to_path(tmp_path / "checkpoint")
    monkeypatch.undo()
    assert read
    assert not [name for name in read if "distcp" in name]
    assert len([*(tmp_path / "checkpoint").rglob("*.distcp")]) == max(layout.algo.config.num_learners, 1)
    verify(tmp_path / "checkpoint")


def pids_of(algo: Any) -> list[int]:
    return algo.env_runner_group.foreach_env_runner(lambda runner: os.getpid(), local_env_runner=False)


@of(RUNNERS, SHARED)
def test_a_killed_env_runner_comes_back_with_the_current_weights(
    layout: Built, caplog: pytest.LogCaptureFixture
) -> None:
    algo = layout.algo
    assert algo.train()[metrics.THROUGHPUT][metrics.HEALTHY_ENV_RUNNERS] == 2
    [pid, _] = pids_of(algo)
    os.kill(pid, signal.SIGKILL)
    pids, healthy, deadline = [], [], time.monotonic() + 120
    while len(pids) < 2 and time.monotonic() < deadline:
        result = algo.train()  # with weights of the start the first ratio is far off 1, and the run stops
        assert result[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3
        healthy.append(result[metrics.THROUGHPUT][metrics.HEALTHY_ENV_RUNNERS])
        pids = pids_of(algo)
    assert len(set(pids)) == 2
    assert pid not in pids
    assert healthy[0] == 1
    told = [record.message.partition(": ")[2] for record in caplog.records if "env runners are" in record.message]
    assert (
        told
        == [
            "1 of 2 env runners are left; sampling takes longer until the others are back",
            "2 of 2 env runners are there again",
        ][: 1 + (healthy[-1] == 2)]
    )
    assert algo.train()[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3
    current = layout.named_as_hugging_face_does()
    for state in algo.env_runner_group.foreach_env_runner(
        lambda runner: {k: v.numpy() for k, v in runner.engine.model.state_dict().items()}, local_env_runner=False
    ):
        for name in current.keys() & state.keys():
            np.testing.assert_array_equal(state[name], current[name].numpy())


@of(LEARNERS, SHARED)
def test_a_killed_learner_ends_the_step_with_an_error_and_no_checkpoint_appears_without_its_part(
    layout: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between sampling and learning; the other learner waits for its gradients. No later test has this layout."""
    algo, steps = layout.algo, layout.algo.train_steps
    [pid, _] = [answer.get() for answer in algo.learner_group.foreach_learner(lambda learner: os.getpid())]
    learn = algo.learn

    def losing_a_learner(*args: Any, **kwargs: Any) -> None:
        os.kill(pid, signal.SIGKILL)
        learn(*args, **kwargs)

    pending = algo.begin_checkpoint(tmp_path / "pending")
    monkeypatch.setattr(algo, "learn", losing_a_learner)
    started = time.monotonic()
    with pytest.raises(RuntimeError, match="learner"):
        algo.train()
    assert time.monotonic() - started < 60
    assert algo.train_steps == steps
    with pytest.raises(LearnerLost):
        pending.wait()
    assert not (tmp_path / "pending").exists()
    for asked in (algo.get_weights, algo.get_module):
        with pytest.raises(LearnerLost, match="of 2 was killed"):
            asked()
