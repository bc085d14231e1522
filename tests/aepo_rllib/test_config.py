"""What a configuration refuses before anything starts, and what it accepts."""

import json
import re

import pytest

from aepo_rllib import AEPOAuthorsConfig, AEPOConfig, GRPOConfig
from aepo_rllib.envs.prompts import get_template
from aepo_rllib.models.hf import context_length, load_tokenizer


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group_size": 1}, "group_size=1 must be a whole number of at least 2"),
        ({"batch_size": 2, "updates_per_batch": 3}, "updates_per_batch=3 exceeds batch_size=2"),
        (
            {"num_learners": 2, "learner_sharding": "fsdp", "grad_clip_by": "norm"},
            "grad_clip_by='norm' with learner_sharding='fsdp'",
        ),
        ({"target_entropy": -0.1}, "-0.1 is no entropy target"),
        ({"target_entropy": "half"}, "'half' is no entropy target"),
        ({"target_entropy": [[5, 0.5]]}, "start at 0"),
        (
            {"temperature_low": 1.2, "temperature_high": 1.2},
            "temperature_low=1.2 must be below",
        ),
        ({"tempered_share": 0}, "tempered_share=0"),
        ({"batch_size": 4, "updates_per_batch": 4}, "tempered_share=0.5 of batch_size=4 is 2 prompts, fewer than"),
        ({"controller": "pid"}, "unknown controller 'pid'; known: .*proportional, steady, switch"),
        ({"entropy_window": 0}, "entropy_window=0 must be"),
        (
            {"entropy_source": "update_surprisal"},
            "entropy_source='update_surprisal' must be one of exact_entropy, sampled",
        ),
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
        ({"engine_options": {"max_tokens_in_flight": "7"}}, "key 'max_tokens_in_flight': '7' is a str, not int"),
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
        ({"engine_options": {"max_tokens": 3}}, "key 'max_tokens'; did you mean max_tokens_in_flight?"),
    ],
)
def test_validation_names_the_option_its_value_and_the_cure(settings, message):
    with pytest.raises(ValueError, match=message):
        AEPOConfig().update_from_dict(settings).validate()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 2.0}, "alpha=2.0 does nothing here; replaced rows are main rows"),
        ({"entropy_lag": 1}, "entropy_lag=1 does nothing with entropy_source='update_surprisal'"),
        ({"skip_flat_rows": True, "aggregation": "token-mean", "micro_batch_size": None}, "skip_flat_rows=True clash"),
        ({"replace_rows": 0}, "replace_rows=0 must be a whole number of at least 1"),
        ({"initial_entropy": "x"}, "initial_entropy='x' must be a number at least 0, or None"),
    ],
)
def test_what_only_the_authors_code_has_is_validated_there(settings, message):
    with pytest.raises(ValueError, match=message):
        AEPOAuthorsConfig().update_from_dict({"max_new_tokens": 64, **settings}).validate()
    with pytest.raises(ValueError, match="unknown config key 'replace_rows'"):
        AEPOConfig().update_from_dict({"replace_rows": 4})


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("micro_batch_size", value) for value in ("4", -3, 2.5)],
        *[("dual_clip", value) for value in ("a", -1)],
        *[("num_epochs", value) for value in (0, 1.5)],
        *[("alpha", value) for value in (NAN, INF, -0.1)],
        *[("adam_betas", value) for value in ((2, 3), (0.9,), 0.9)],
        *[("lr", value) for value in (-1, NAN)],
        ("probe_rows", "x"),
        ("mismatch_tolerance", -1),
        ("max_unjudged_share", 7),
        ("weight_decay", -1),
        ("temperature_high", INF),
        ("entropy_window", True),
        ("seed", "a"),
        ("sample_timeout_s", -5),
    ],
    ids=str,
)
def test_values_that_an_option_cannot_have_are_named_with_it(option, value):
    with pytest.raises(ValueError, match=f"{option}={re.escape(repr(value))} must be "):
        AEPOConfig().update_from_dict({option: value}).validate()


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


def test_unknown_keys_are_refused_with_a_suggestion():
    with pytest.raises(ValueError, match="unknown config key 'target_entrpy'; did you mean target_entropy"):
        AEPOConfig().update_from_dict({"target_entrpy": 0.4})
    with pytest.raises(ValueError, match="unknown config key 'entropy_control'"):  # a method, not a setting
        AEPOConfig().update_from_dict({"entropy_control": 0.4})


def test_filters_can_be_accepted_by_name():
    AEPOConfig().sampling(top_p=0.99, ignore_filters_in_ratio=True).validate()


def test_a_file_has_no_validation_problems_of_its_own(tmp_path):
    """Else `evaluate` would measure the training problems without a word."""
    file = tmp_path / "mine.jsonl"
    file.write_text('{"problem": "1+1?", "answer": "2"}\n')
    config = GRPOConfig().problems(problems=str(file)).training(validation_share=0)
    with pytest.raises(ValueError, match="evaluation_interval=20 needs validation problems"):
        config.validate()
    with pytest.raises(
        ValueError, match=r"held_out=0\.05 \(validation_share of a run\) leaves no validation problem of 1"
    ):
        GRPOConfig().problems(problems=str(file)).validate()
    config.problems(problems=str(file), validation_problems=str(file)).validate()


def test_a_share_of_a_file_is_held_out_of_training_and_evaluated(tmp_path):
    file = tmp_path / "mine.jsonl"
    rows = [json.dumps({"problem": f"1+{number}?", "answer": str(1 + number)}) for number in range(400)]
    file.write_text("\n".join(rows))
    config = GRPOConfig().problems(problems=str(file)).training(validation_share=0.25)
    config.validate()
    trained, held = (
        {problem.text for problem in config.load_problems(split=split)} for split in ("train", "validation")
    )
    assert len(trained | held) == 400
    assert not trained & held
    assert 75 <= len(held) <= 125  # three standard deviations of 400 draws
    evaluating = config.get_evaluation_config_object() or config.copy(copy_frozen=False)
    evaluating.in_evaluation = True
    assert {problem.text for problem in evaluating.load_problems()} == held
    # What is told by a hash stays where it is when the file grows, or is read in another order.
    file.write_text("\n".join([*reversed(rows), json.dumps({"problem": "new", "answer": "1"})]))
    assert {problem.text for problem in config.load_problems(split="validation")} - {"new"} == held
    config.evaluation(evaluation_interval=None)
    assert len(config.load_problems()) == 401


def test_relative_paths_are_made_absolute(tmp_path, monkeypatch):
    """Ray's processes run elsewhere."""
    (tmp_path / "mine.jsonl").write_text('{"problem": "1+1?", "answer": "2"}\n')
    monkeypatch.chdir(tmp_path)
    config = GRPOConfig().problems(problems="mine.jsonl").evaluation(evaluation_interval=None)
    config.validate()
    assert config.env_config["problems"] == str(tmp_path / "mine.jsonl")
    assert config.model_path == "embedded"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, r"curriculum_steps=10 needs problems of several levels, and these have none"),
        ({"env_config": {"problems": "chain2"}}, r"these have level 2 alone"),
        ({"env": "CartPole-v1"}, r"CartPole"),
        ({"curriculum_steps": 0}, r"curriculum_steps=0 must be a whole number of at least 1"),
    ],
)
def test_a_curriculum_needs_levels(settings, words):
    with pytest.raises(ValueError, match=words):
        GRPOConfig().update_from_dict({"curriculum_steps": 10, **settings}).validate()


def test_a_curriculum_over_a_mix_begins_with_what_is_easy():
    config = GRPOConfig().update_from_dict({"curriculum_steps": 10, "env_config": {"problems": "chain=1,countdown3=1"}})
    config.max_new_tokens = 112
    config.validate()
    levels = [problem.level for problem in config.load_problems()]
    [first, middle] = (config.curriculum().stage(step).problems for step in (0, 5))
    assert {levels[index] for index in first} == {None, 1}
    assert {levels[index] for index in middle} == {None, 1, 2}
    assert len(config.curriculum().stage(10).problems) == len(levels)
