"""AEPO and GRPO as RLlib algorithms, on a real Ray: layouts, checkpoints, evaluation, refusals."""

import copy
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from ray import tune
from ray.rllib.algorithms.algorithm import Algorithm
from small_runs import small, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from aepo_rllib import AEPOAuthorsConfig, AEPOConfig, GRPOConfig, metrics
from aepo_rllib.control.monitor import ControlMonitor
from aepo_rllib.envs.prompts import get_template
from aepo_rllib.experience.groups import problem_of
from aepo_rllib.models.export import HF_FOLDER, INFO_FILE
from aepo_rllib.models.hf import context_length, load_tokenizer
from aepo_rllib.rollout import Prompt
from aepo_rllib.support.sealed_folder import MANIFEST, CheckpointError, verify
from aepo_rllib.training.checks import check_resources

STEPS = 2


def figures(result):
    """What a step computed, without wall times."""
    sections = (metrics.MAIN, metrics.TEMPERED, metrics.CONTROL)
    return {f"{s}/{k}": float(v) for s in sections for k, v in result.get(s, {}).items()}


@pytest.fixture(scope="module")
def reference(ray_cluster, tmp_path_factory):
    """An AEPO run in one process: its results, weights, checkpoint, and the step after the checkpoint."""
    algo = small(AEPOConfig(), entropy_window=2).build_algo()
    results = [algo.train() for _ in range(STEPS)]
    saved_weights, own_state = weights(algo), copy.deepcopy(algo.own_state())
    path = algo.save_to_path(str(tmp_path_factory.mktemp("run") / "checkpoint"))
    evaluation = algo.evaluate()["env_runners"]
    following = algo.train()
    yield {
        "algo": algo,
        "results": [figures(result) for result in results],
        "raw": results,
        "weights": saved_weights,
        "own_state": own_state,
        "path": path,
        "evaluation": evaluation,
        "following": figures(following),
    }
    algo.stop()


@pytest.mark.parametrize(("runners", "learners"), [(1, 0), (2, 0), (0, 2)])
def test_every_layout_computes_the_same(reference, runners, learners):
    algo = small(AEPOConfig(), entropy_window=2, num_env_runners=runners, num_learners=learners).build_algo()
    try:
        for expected in reference["results"]:
            assert figures(algo.train()) == pytest.approx(expected, rel=1e-4, abs=1e-6)
        for name, expected in reference["weights"].items():
            # Adam's first steps divide by tiny second moments, so rounding grows; signs of updates may not differ.
            np.testing.assert_allclose(weights(algo)[name], expected, atol=1e-4)
    finally:
        algo.stop()


@pytest.mark.parametrize("runners", [0, 2])
def test_a_restored_run_goes_on_as_if_nothing_had_happened(reference, runners):
    if runners == 0:
        algo = Algorithm.from_checkpoint(reference["path"])
    else:
        algo = small(AEPOConfig(), entropy_window=2, num_env_runners=runners).build_algo()
        algo.restore_from_path(reference["path"])
    try:
        assert algo.train_steps == STEPS
        assert algo.own_state() == reference["own_state"]
        assert len(reference["own_state"]["entropies"]) == STEPS
        for name, expected in reference["weights"].items():
            np.testing.assert_array_equal(weights(algo)[name], expected)
        exact = runners == 0
        assert figures(algo.train()) == pytest.approx(reference["following"], rel=0 if exact else 1e-4, abs=1e-6)
    finally:
        algo.stop()


def test_first_ratio_is_one_and_positives_are_learned_from(reference):
    for result in reference["raw"]:
        assert result[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-4
        assert result[metrics.UPDATE][metrics.TRAINED_ROWS] > 0
        learner = result["learners"]["default_policy"]
        assert learner[metrics.loss_of("tempered")] > 0  # minus the log-prob of positives
        assert result[metrics.CONTROL][metrics.TEMPERATURE] == 0.8  # the base model is above half its own entropy


def test_checkpoint_holds_a_hugging_face_directory_with_the_current_weights(reference):
    folder = Path(reference["path"]) / HF_FOLDER
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer("Make 7 from 1 2 4.")["input_ids"]) == "Make 7 from 1 2 4."
    for name, tensor in model.state_dict().items():
        np.testing.assert_array_equal(tensor.numpy(), reference["weights"][f"model.{name}"])
    info = json.loads((folder / INFO_FILE).read_text())
    assert info["step"] == STEPS
    assert 0.8 < info["base_entropy"] < 0.95


def test_evaluation_uses_validation_problems_and_leaves_the_training_order_alone(reference):
    assert reference["evaluation"][metrics.PASS_AT_1] == reference["evaluation"]["episode_return_mean"]
    assert reference["evaluation"]["num_episodes"] == 24
    algo = reference["algo"]
    env = algo.eval_env_runner.env
    assert env.problems[0].id != algo.env_runner.env.problems[0].id
    train_ids = {problem.id for problem in algo.env_runner.env.problems}
    assert not train_ids & {problem.id for problem in env.problems}


def test_engine_samples_from_the_learners_weights_after_an_update(reference):
    algo = reference["algo"]
    engine = algo.env_runner.engine
    prompt = algo.env_runner.encoder.encode("Make 7 from 1 2 4.")
    [[completion]] = engine.generate([Prompt(prompt, [(1,)])], max_new_tokens=32, stop_ids=algo.env_runner.stop_ids)
    model = AutoModelForCausalLM.from_pretrained(reference["path"] + f"/{HF_FOLDER}")
    current = {name.removeprefix("model."): torch.as_tensor(value) for name, value in weights(algo).items()}
    model.load_state_dict(current)
    ids = torch.tensor([[*prompt, *completion.token_ids]])
    logp = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    expected = logp.gather(-1, ids[0, len(prompt) :, None]).squeeze(-1).detach().numpy()
    np.testing.assert_allclose(completion.policy_logp, expected, atol=1e-4)


def test_grpo_has_no_tempered_stream(ray_cluster):
    algo = small(GRPOConfig()).build_algo()
    try:
        result = algo.train()
    finally:
        algo.stop()
    assert metrics.TEMPERED not in result
    assert set(result[metrics.CONTROL]) == {metrics.BASE_ENTROPY}
    assert result["learners"]["default_policy"][metrics.loss_of("main")] is not None


def test_a_dial_at_its_stop_says_so(ray_cluster, caplog):
    """A target far above the policy's entropy: always hot, and never there."""
    algo = small(AEPOConfig(), target_entropy="3x").build_algo()
    algo.monitor = ControlMonitor(0.8, 1.2, window=4)
    try:
        results = [algo.train() for _ in range(4)]
    finally:
        algo.stop()
    assert [result[metrics.CONTROL][metrics.HOT_SHARE] for result in results] == [1.0] * 4
    assert [result[metrics.CONTROL][metrics.STUCK] for result in results] == [0, 0, 0, 1]
    [warning] = [record.getMessage() for record in caplog.records if "at its stop" in record.getMessage()]
    assert warning.startswith("step 4: ")
    assert "raise alpha or temperature_high" in warning


def test_the_authors_settings_run(ray_cluster):
    """Hot before anything is measured, then by the surprisal of the update; replaced rows are main rows."""
    config = (
        AEPOAuthorsConfig()
        .debugging(seed=3)
        .training(batch_size=8, group_size=4, lr=6e-4)
        .sampling(max_new_tokens=64)
        .tempered_term(replace_rows=4)
        .evaluation(evaluation_interval=None)
    )
    algo = config.build_algo()
    take_step, surprisals = algo._take_step, []

    def watched(shares, *, first):
        """The surprisal of each optimizer step, from the engine's log-probs and the learner's weights before it."""
        sequences = [(row.prompt_ids, row.completion_ids) for row in shares[0]]
        algo.sync_weights()
        logps = algo.env_runner.engine.log_probs([(list(p), c.tolist()) for p, c in sequences])
        surprisals.append(-sum(row.weight * logp.sum() for row, logp in zip(shares[0], logps, strict=True)))
        return take_step(shares, first=first)

    algo._take_step = watched
    try:
        first, second = algo.train(), algo.train()
    finally:
        algo.stop()
    assert len(surprisals) == 8
    assert first[metrics.UPDATE][metrics.SURPRISAL] == pytest.approx(np.mean(surprisals[:4]), rel=1e-4)
    assert (first[metrics.CONTROL][metrics.ENTROPY], first[metrics.CONTROL][metrics.TEMPERATURE]) == (0.0, 1.2)
    assert second[metrics.CONTROL][metrics.ENTROPY] == first[metrics.UPDATE][metrics.SURPRISAL]
    assert second[metrics.CONTROL][metrics.TEMPERATURE] == 0.8
    assert first[metrics.UPDATE][metrics.TRAINED_ROWS] == 8 * 4  # flat rows too
    assert first["learners"]["default_policy"][metrics.loss_of("tempered")] == 0


def test_epochs_repeat_the_batch(ray_cluster):
    results = {}
    for epochs in (1, 2):
        algo = small(GRPOConfig()).training(num_epochs=epochs).build_algo()
        try:
            results[epochs] = algo.train()
        finally:
            algo.stop()
    rows = {epochs: result[metrics.UPDATE][metrics.TRAINED_ROWS] for epochs, result in results.items()}
    assert rows[2] == 2 * rows[1]
    moved = {epochs: result["learners"]["default_policy"][metrics.KL_OLD_TO_NEW] for epochs, result in results.items()}
    assert moved[2] > moved[1]


def test_replacing_rows_and_a_lagged_controller(ray_cluster):
    config = small(AEPOConfig(), composition="replace", replace_rows=5, entropy_lag=1, positive_rule="advantage")
    algo = config.build_algo()
    try:
        first, second = algo.train(), algo.train()
    finally:
        algo.stop()
    assert first[metrics.CONTROL][metrics.TEMPERATURE] == 1.0  # nothing measured yet
    assert metrics.ENTROPY not in first[metrics.CONTROL]
    assert second[metrics.CONTROL][metrics.ENTROPY] == first[metrics.MAIN][metrics.EXACT_ENTROPY]
    assert second[metrics.CONTROL][metrics.TEMPERATURE] == 0.8
    assert first["learners"]["default_policy"][metrics.loss_of("tempered")] == 0  # its rows are main rows now


def test_a_step_without_any_positive_is_a_plain_grpo_step(ray_cluster):
    """With four tokens nothing gets solved: no stream has a gradient, and the step still ends."""
    algo = small(AEPOConfig(), max_new_tokens=4).build_algo()
    try:
        result = algo.train()
    finally:
        algo.stop()
    assert result[metrics.TEMPERED][metrics.POSITIVES] == 0
    assert result[metrics.UPDATE][metrics.TRAINED_ROWS] == 0
    assert result[metrics.MAIN][metrics.TRUNCATED_SHARE] == 1.0
    assert result["learners"]["default_policy"]["total_loss"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group_size": 1}, "group_size=1 must be a whole number of at least 2"),
        ({"batch_size": 2, "updates_per_batch": 3}, "updates_per_batch=3 exceeds batch_size=2"),
        ({"target_entropy": -0.1}, "-0.1 is no entropy target"),
        ({"target_entropy": "half"}, "'half' is no entropy target"),
        ({"target_entropy": [[5, 0.5]]}, "start at 0"),
        (
            {"temperature_low": 1.2, "temperature_high": 1.2},
            "temperature_low=1.2 must be below",
        ),
        ({"tempered_share": 0}, "tempered_share=0"),
        ({"composition": "replace"}, "composition='replace' and replace_rows=0 clash"),
        (
            {"composition": "replace", "replace_rows": 4, "positive_rule": "signed"},
            "composition='replace' clashes with positive_rule='signed'",
        ),
        ({"batch_size": 4, "updates_per_batch": 4}, "tempered_share=0.5 of batch_size=4 is 2 prompts, fewer than"),
        ({"controller": "pid"}, "controller='pid' must be one of switch, proportional, constant"),
        ({"temperature": 0}, "temperature=0 must be a number above 0"),
        ({"entropy_window": 0}, "entropy_window=0 must be"),
        ({"entropy_source": "update_surprisal"}, "skip_flat_rows=True clash"),
        ({"aggregation": "micro-batch-token-mean"}, "micro_batch_size=None clash"),
        ({"micro_batch_size": 4}, "aggregation='token-mean' and micro_batch_size=4 clash"),
        ({"max_new_tokens": 512}, "max_new_tokens=512 leaves no room for a prompt in the context of model 'embedded'"),
        ({"top_p": 0.99}, "ignore_filters_in_ratio"),
        ({"engine": "sglang"}, "unknown rollout engine 'sglang'"),
        ({"num_env_runners": 64}, "need 64 CPUs, but there are"),
        ({"num_env_runners": 1, "num_gpus_per_env_runner": 77}, "need 77 GPUs, but there are"),
        ({"num_gpus_per_env_runner": 77, "num_gpus_per_learner": 50}, "need 77 GPUs, but there are"),
        ({"importance_cap": 0.5}, "importance_cap=0.5 must be a number at least 1"),
        ({"importance_cap": float("nan")}, "importance_cap=nan must be a number at least 1"),
        ({"importance_cap": "2"}, "importance_cap='2' must be a number at least 1"),
        ({"ratio_tolerance": "0.5"}, "ratio_tolerance='0.5' must be a number at least 0"),
        ({"engine_options": {"dtype": "float16"}}, "unknown engine_options key 'dtype'"),
        ({"engine_options": {"max_rows": "7"}}, "engine_options key 'max_rows': '7' is a str, not int"),
        (
            {"engine": "vllm", "engine_options": {"max_model_len": 70}},
            r"problems leave no room .* engine_options\.max_model_len, 70",
        ),
        (
            {"engine": "vllm", "engine_options": {"max_model_len": 60}},
            r"leaves no room for a prompt in engine_options\.max_model_len",
        ),
        (
            {"engine": "vllm", "num_env_runners": 1, "num_gpus_per_env_runner": 1},
            "would start a second vllm on a GPU, in the algorithm's own process",
        ),
        ({"num_learners": 9, "batch_size": 16}, "num_learners=9 exceeds the 8 groups"),
        ({"env_config": {"problems": "nowhere"}}, "no problems called 'nowhere'"),
        ({"env_config": {"template": "nope"}}, "unknown prompt template 'nope'"),
        ({"model_path": "/nowhere/at/all"}, "cannot read"),
        ({"dtype": "int8"}, "dtype='int8'"),
        ({"clip_low": "abc"}, "clip_low='abc' must be a number above 0"),
        ({"alpha": None}, "alpha=None must be a number at least 0"),
        ({"group_size": True}, "group_size=True must be a whole number"),
        ({"skip_flat_rows": 1}, "skip_flat_rows=1 must be true or false"),
        ({"env_config": {"templat": "plain"}}, "unknown env_config key 'templat'; did you mean template?"),
        ({"engine_options": {"max_row": 3}}, "unknown engine_options key 'max_row'; did you mean max_rows?"),
    ],
)
def test_validation_names_the_option_its_value_and_the_cure(settings, message):
    with pytest.raises(ValueError, match=message):
        AEPOConfig().update_from_dict(settings).validate()


def test_prompts_that_are_too_long_are_found_before_anything_starts(tmp_path):
    """The embedded model reads digits one by one."""
    file = tmp_path / "mine.jsonl"
    rows = [{"id": f"p{digits}", "problem": "1" * digits, "answer": "1"} for digits in (3, 100, 200, 220)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    config = GRPOConfig().problems(problems=str(file)).evaluation(evaluation_interval=None)
    [longest, shorter] = [
        len(load_tokenizer("embedded").encode(get_template("plain").render(row["problem"]))) for row in rows[:1:-1]
    ]
    context = context_length("embedded")
    config.sampling(max_new_tokens=context - longest).validate()
    with pytest.raises(ValueError, match=rf"1 of 4 problems leave no room .* prompt has {longest} tokens \(p220\)"):
        config.sampling(max_new_tokens=context - longest + 1).validate()
    with pytest.raises(ValueError, match="2 of 4 problems leave no room"):
        config.sampling(max_new_tokens=context - shorter + 1).validate()
    file.write_text(f"{json.dumps(rows[0])}\n")
    validation = tmp_path / "validation.jsonl"
    validation.write_text(f"{json.dumps(rows[-1])}\n")
    config.problems(validation_problems=str(validation)).validate()
    with pytest.raises(ValueError, match=r"1 of 2 problems leave no room .* \(p220\)"):
        config.evaluation(evaluation_interval=5).validate()


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


LAYOUT = {"num_env_runners": 0, "evaluation_num_env_runners": 0, "num_learners": 0}
ONE_GPU = {"num_gpus_per_env_runner": 1, "num_gpus_per_learner": 1}


@pytest.mark.parametrize(
    ("layout", "cpus", "gpus"),
    [
        ({"num_env_runners": 2}, 2, 0),
        ({"evaluation_num_env_runners": 2}, 2, 0),
        ({"num_env_runners": 1, "num_learners": 2}, 3, 0),
        ({"num_env_runners": 1, "num_learners": 2, "num_gpus_per_learner": 1}, 1, 2),  # such learners take no CPU
        (ONE_GPU, 0, 1),  # all in the algorithm's process
        ({"num_env_runners": 1, **ONE_GPU}, 1, 1),  # the learner's GPU is the process's own, not Ray's to give
        ({"num_env_runners": 1, "num_learners": 1, **ONE_GPU}, 1, 2),
        ({"num_env_runners": 3, "num_gpus_per_env_runner": 0.6}, 3, 3),  # two of them do not fit one
        ({"num_env_runners": 10, "num_gpus_per_env_runner": 0.1}, 10, 1),
        (
            {
                "num_env_runners": 1,
                "num_gpus_per_env_runner": 1,
                "evaluation_num_env_runners": 2,
                "evaluation_config": {"num_gpus_per_env_runner": 0},
            },
            3,
            1,
        ),
        ({"num_env_runners": 1, "num_learners": 1, "num_gpus_per_env_runner": 0.5, "num_gpus_per_learner": 0.5}, 1, 1),
    ],
    ids=str,
)
def test_a_layout_needs_just_what_ray_will_be_asked_for(monkeypatch, layout, cpus, gpus):
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    cluster = {"CPU": cpus, "GPU": gpus}
    monkeypatch.setattr("ray.cluster_resources", lambda: cluster)
    config = AEPOConfig().update_from_dict(LAYOUT | layout)
    check_resources(config)
    check_resources(config.get_evaluation_config_object())  # which RLlib validates too
    for resource in [name for name, count in cluster.items() if count]:
        cluster[resource] -= 1
        with pytest.raises(ValueError, match=rf"need .* {resource}s, but there are"):
            check_resources(config)
        cluster[resource] += 1


def test_unknown_keys_are_refused_with_a_suggestion():
    with pytest.raises(ValueError, match="unknown config key 'target_entrpy'; did you mean target_entropy"):
        AEPOConfig().update_from_dict({"target_entrpy": 0.4})
    with pytest.raises(ValueError, match="unknown config key 'entropy_control'"):  # a method, not a setting
        AEPOConfig().update_from_dict({"entropy_control": 0.4})


def test_filters_can_be_accepted_by_name():
    AEPOConfig().sampling(top_p=0.99, ignore_filters_in_ratio=True).validate()


def test_the_metrics_page_is_up_to_date():
    """That it lists exactly what a run logs is tested on a real run, in tests/cli/test_train.py."""
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert page.read_text(encoding="utf-8") == metrics.as_markdown()


def test_a_file_has_no_validation_problems_of_its_own(tmp_path):
    """Else `evaluate` would measure the training problems without a word."""
    file = tmp_path / "mine.jsonl"
    file.write_text('{"problem": "1+1?", "answer": "2"}\n')
    config = GRPOConfig().problems(problems=str(file))
    with pytest.raises(ValueError, match="evaluation_interval=20 needs validation problems"):
        config.validate()
    config.problems(problems=str(file), validation_problems=str(file)).validate()


def test_sixteen_bits_compute_and_thirty_two_are_kept(ray_cluster, tmp_path):
    algo = small(AEPOConfig(), dtype="bfloat16", lr=1e-6).build_algo()
    try:
        before = copy.deepcopy(weights(algo))
        result = algo.train()
        after = weights(algo)
        algo.export_huggingface(tmp_path / "model")
        assert algo.learner_group._learner.module["default_policy"].share_prompts
        assert algo.env_runner.engine.model.dtype == torch.bfloat16
    finally:
        algo.stop()
    assert result[metrics.UPDATE][metrics.TRAINED_ROWS] > 0
    assert all(value.dtype == np.float32 for value in after.values())
    moved = np.concatenate([(after[name] != before[name]).ravel() for name in before])
    assert moved.mean() > 0.9  # in 16 bits a step of 1e-6 would leave nearly all as they are
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").dtype == torch.bfloat16


def test_relative_paths_are_made_absolute(tmp_path, monkeypatch):
    """Ray's processes run elsewhere."""
    (tmp_path / "mine.jsonl").write_text('{"problem": "1+1?", "answer": "2"}\n')
    monkeypatch.chdir(tmp_path)
    config = GRPOConfig().problems(problems="mine.jsonl").evaluation(evaluation_interval=None)
    config.validate()
    assert config.env_config["problems"] == str(tmp_path / "mine.jsonl")
    assert config.model_path == "embedded"


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
    whole = Path(reference["path"])
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
    shutil.copytree(reference["path"], tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "learner_group")
    with pytest.raises(CheckpointError, match=r"learner_group.* is missing"):
        Algorithm.from_checkpoint(str(tmp_path / "copy"))
    with pytest.raises(CheckpointError, match=r"learner_group.* is missing"):
        reference["algo"].restore_from_path(tmp_path / "copy")


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


def test_saving_twice_in_one_place_keeps_the_newer_one(reference, tmp_path):
    algo = reference["algo"]
    for _ in range(2):
        assert algo.save_to_path(tmp_path / "checkpoint") == str(tmp_path / "checkpoint")
        verify(tmp_path / "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    assert (Path(algo.save_to_path()) / HF_FOLDER).is_dir()
