"""Checkpoints hold the whole run: it goes on as if nothing had happened, and damage is found."""

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from ray import tune
from ray.rllib.algorithms.algorithm import Algorithm
from transformers import AutoModelForCausalLM, AutoTokenizer

from aepo_rllib import AEPOConfig, GRPOConfig
from aepo_rllib.experience.groups import problem_of
from aepo_rllib.learning.optimizer_step import ask_all
from aepo_rllib.models.export import HF_FOLDER, INFO_FILE
from aepo_rllib.models.state_names import PREFIX
from aepo_rllib.support.hashing import HashedStream
from aepo_rllib.support.sealed_folder import MANIFEST, CheckpointError, verify
from tests.support.small_runs import STEPS, figures, small, weights


def test_a_restored_run_goes_on_as_if_nothing_had_happened(reference):
    """In other layouts too: test_remote_runner.py and test_layouts.py."""
    algo = Algorithm.from_checkpoint(reference.path)
    try:
        assert algo.train_steps == STEPS
        assert algo.own_state() == reference.own_state
        for name, expected in reference.weights.items():
            np.testing.assert_array_equal(weights(algo)[name], expected)
        assert figures(algo.train()) == reference.following
    finally:
        algo.stop()


def test_resuming_at_the_end_of_an_epoch_skips_and_repeats_no_problem(ray_cluster, tmp_path):
    """48 problems, 16 a step: interrupted exactly where an epoch ends, and one step into the third."""
    file = tmp_path / "sums.jsonl"
    rows = [{"problem": f"Add {a} {b} 7.", "answer": a + b + 7} for a in range(2, 8) for b in range(2, 10)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    config = GRPOConfig().debugging(seed=7).problems(problems=str(file)).training(batch_size=16, group_size=2)
    config = config.sampling(max_new_tokens=16).evaluation(evaluation_interval=None)

    def run(steps, start=None):
        """Problem ids of every step, the weights at the end, and a checkpoint of them."""
        ids, algo = [], config.copy(copy_frozen=False).build_algo()
        algo.on_episodes = lambda stream, groups: ids.append([problem_of(group[0]) for group in groups.episodes_PG])
        try:
            if start is not None:
                algo.restore_from_path(start)
            while algo.train_steps < steps:
                algo.train()
            return ids, weights(algo), algo.save_to_path(str(tmp_path / f"{steps}-{start is None}"))
        finally:
            algo.stop()

    whole, whole_weights, _ = run(7)
    first, _, checkpoint = run(3)
    second, _, checkpoint = run(6, checkpoint)
    third, last_weights, _ = run(7, checkpoint)
    measured = 1  # the base entropy's problems come before step 1, and once
    assert [*first, *second, *third] == whole
    epoch = [identifier for step in whole[measured : measured + 3] for identifier in step]
    assert len(epoch) == len(set(epoch)) == 48
    for name, tensor in whole_weights.items():
        np.testing.assert_array_equal(last_weights[name], tensor)


def test_checkpoint_holds_a_hugging_face_directory_with_the_current_weights(reference):
    folder = Path(reference.path) / HF_FOLDER
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("Make 7 from 1 2 4.")["input_ids"]) == "Make 7 from 1 2 4."
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), reference.weights[PREFIX + name])
    info = json.loads((folder / INFO_FILE).read_text())
    assert info["step"] == STEPS
    assert 0.8 < info["base_entropy"] < 0.95


def file_by_file(folder):
    return [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]


def damage(file, how):
    content = file.read_bytes()
    if how == "missing":
        file.unlink()
    elif how == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        place = len(content) // 3
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


@pytest.mark.parametrize("how", ["missing", "cut", "one bit flipped"])
def test_every_damaged_file_of_a_checkpoint_is_refused_by_name(reference, tmp_path, how):
    whole = Path(reference.path)
    verify(whole)
    names = file_by_file(whole)
    assert len(names) > 10
    for name in names:
        copy_ = tmp_path / "copy"
        shutil.copytree(whole, copy_)
        damage(copy_ / name, how)
        with pytest.raises(CheckpointError) as error:
            verify(copy_)
        assert name.name in str(error.value) or name.name == MANIFEST  # a digest of another file may have changed
        shutil.rmtree(copy_)


def test_a_checkpoint_without_its_learner_is_not_restored(reference, tmp_path):
    """RLlib alone restores this one without a word, with the weights of the start."""
    shutil.copytree(reference.path, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "learner_group")
    with pytest.raises(CheckpointError, match=r"learner_group.* is missing"):
        Algorithm.from_checkpoint(str(tmp_path / "copy"))
    with pytest.raises(CheckpointError, match=r"learner_group.* is missing"):
        reference.algo.restore_from_path(tmp_path / "copy")


def test_tunes_checkpoints_are_sealed_too(ray_cluster, tmp_path):
    config = small(AEPOConfig()).evaluation(evaluation_interval=None)
    results = tune.Tuner(
        "AEPO",
        param_space=config,
        run_config=tune.RunConfig(
            storage_path=str(tmp_path),
            stop={"training_iteration": 1},
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True),
            verbose=0,
        ),
    ).fit()
    checkpoint = Path(results[0].checkpoint.path)
    verify(checkpoint)
    assert AutoModelForCausalLM.from_pretrained(checkpoint / HF_FOLDER).num_parameters() > 300_000
    algo = Algorithm.from_checkpoint(str(checkpoint))
    try:
        assert algo.train_steps == 1
    finally:
        algo.stop()


def test_a_checkpoint_that_cannot_be_written_leaves_nothing_behind_and_the_next_one_can(
    reference, tmp_path, monkeypatch
):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    algo = reference.algo
    with monkeypatch.context() as patch:
        patch.setattr(HashedStream, "write", full)
        failing = algo.begin_checkpoint(tmp_path / "failing")
        with pytest.raises(OSError, match="No space left on device"):
            failing.wait()
    assert not failing.poll()
    assert not [*tmp_path.iterdir()]
    algo.export_huggingface(tmp_path / "model")
    assert (tmp_path / "model" / "model.safetensors").is_file()
    algo.save_to_path(tmp_path / "next")
    verify(tmp_path / "next")


def test_saving_twice_in_one_place_keeps_the_newer_one(reference, tmp_path):
    algo = reference.algo
    for _ in range(2):
        assert algo.save_to_path(tmp_path / "checkpoint") == str(tmp_path / "checkpoint")
        verify(tmp_path / "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert (Path(algo.save_to_path()) / HF_FOLDER).is_dir()


def test_a_learning_rate_that_changes_goes_on_from_where_it_was(ray_cluster, tmp_path):
    """RLlib sets the next rate after a step: the first step of a resumed run has the last one."""
    config = small(GRPOConfig()).training(lr=[[0, 1e-3], [200, 1e-5]])
    algo, resumed = config.copy(copy_frozen=False).build_algo(), config.copy(copy_frozen=False).build_algo()
    try:
        algo.train()
        resumed.restore_from_path(algo.save_to_path(tmp_path / "checkpoint"))
        [rates], [others] = (ask_all(each.learner_group, lambda learner: learner.rates) for each in (algo, resumed))
        assert others == rates != [1e-3]
        for one in (algo, resumed):
            one.train()
        for name, expected in weights(algo).items():
            np.testing.assert_array_equal(weights(resumed)[name], expected)
    finally:
        algo.stop()
        resumed.stop()


def test_a_checkpoint_on_another_file_system_comes_back(reference, tmp_path):
    """As in a bucket: RLlib hands the file system down."""
    path = reference.algo.save_to_path(tmp_path / "bucket" / "checkpoint")
    elsewhere = SubTreeFileSystem(str(tmp_path / "bucket"), LocalFileSystem())
    before = weights(reference.algo)
    reference.algo.learner_group.restore_from_path("checkpoint/learner_group", filesystem=elsewhere)
    for name, expected in before.items():
        np.testing.assert_array_equal(weights(reference.algo)[name], expected)
    assert path
    with pytest.raises(ValueError, match="learners are restored as a whole"):
        reference.algo.learner_group.restore_from_path(Path(path) / "learner_group", component="learner/rl_module")
