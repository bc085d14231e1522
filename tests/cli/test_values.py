"""Every option has a kind and a range, and what does nothing is refused: before anything is loaded or started."""

from __future__ import annotations

import time

import numpy as np
import pytest
from ray import tune

from aepo_rllib import AEPOConfig, GRPOConfig
from aepo_rllib.cli.settings import RUN_OPTIONS, build, merge, parse_assignments
from aepo_rllib.support.yaml_input import parse_mapping, parse_yaml, read_mapping

BAD = """
lr=-1 | lr=-1 must be a number above 0
lr=.nan | lr=nan
lr= | lr=None
grad_clip=abc | grad_clip='abc'
grad_clip=0 | grad_clip=0
seed=abc | seed='abc'
seed=-1 | seed=-1
num_epochs=0 | num_epochs=0
num_epochs=1.5 | num_epochs=1.5
sample_timeout_s=-5 | sample_timeout_s=-5
num_learners=abc | num_learners='abc'
num_env_runners=-1 | num_env_runners=-1
num_gpus_per_learner=-1 | num_gpus_per_learner=-1
evaluation_duration=-3 | evaluation_duration=-3
evaluation_config=3 | evaluation_config=3 must be a mapping
max_env_runner_restarts_per_hour=-1 | max_env_runner_restarts_per_hour=-1
micro_batch_size='4' aggregation=micro-batch-token-mean | micro_batch_size='4'
micro_batch_size=-3 | micro_batch_size=-3
micro_batch_size=2.5 | micro_batch_size=2.5
dual_clip=a | dual_clip='a'
dual_clip=-1 | dual_clip=-1
probe_rows=x | probe_rows='x'
algo=aepo_authors initial_entropy=x | initial_entropy='x'
mismatch_tolerance=-1 | mismatch_tolerance=-1
ratio_tolerance=.inf | ratio_tolerance=inf
max_unjudged_share=7 | max_unjudged_share=7
algo=aepo_authors replace_rows=-2 | replace_rows=-2
algo=aepo_authors entropy_lag=2 | entropy_lag=2 must be a whole number of at least 0 and at most 1
alpha=.nan | alpha=nan
weight_decay=-1 | weight_decay=-1
adam_betas=[2,3] | adam_betas=[2, 3] must be two of
adam_betas=0.9 | adam_betas=0.9
temperature_high=.inf | temperature_high=inf
algo=aepo_constant temperature=true | temperature=True
algo=entropy_reg entropy_coefficient=-1 | entropy_coefficient=-1 must be a number at least 0
entropy_window=true | entropy_window=True
top_p=1.5 | top_p=1.5
top_k=-1 | top_k=-1
max_new_tokens=1e2 | max_new_tokens=100.0
dtype=int8 | dtype='int8'
engine=3 | engine=3
engine_options=3 | engine_options=3
engine_options.max_tokens_in_flight=0 | max_tokens_in_flight=0
env_config= | env_config=None
env_config.problems=3 | problems must be a file, a name, a dataset id or a mix of them, not 3
env_config.grader_workers=0 | grader_workers
env_config.grader_deadline_s=.nan | grader_deadline_s
env_config.split=foo | unknown split 'foo'
env_config.template=nope | unknown prompt template
env=3 | env=3 is no environment
env=nope | env='nope' is no environment
validation_problems=3 | validation_problems=3
algo=[a] | algo=['a'] must be a text
algo=nope | unknown algo 'nope'; known: adaptive_entropy, aepo, aepo_authors
steps=true | steps=True
samples_per_step=abc | samples_per_step='abc'
checkpoint_every=0 | checkpoint_every=0
__class__.x=1 | unknown config key '__class__'
__dict__=1 | unknown config key '__dict__'
_lr=1 | unknown config key '_lr'
algo_class=os.system | 'algo_class' cannot be set in YAML
callbacks_class=x | 'callbacks_class' cannot be set in YAML
observation_space=x | 'observation_space' cannot be set in YAML
policies=1 | 'policies' cannot be set in YAML
in_evaluation=true | 'in_evaluation' cannot be set in YAML
framework_str=abc | 'framework_str' cannot be set in YAML
batch_mode=abc | batch_mode='abc' is not used here
num_gpus=1 | num_gpus=1 is not used here
offline_sampling=true | 'offline_sampling' cannot be set in YAML
_is_frozen=true | '_is_frozen' cannot be set in YAML
lr=[1,2] | lr=[1, 2] must be
lr=[{},{}] | lr=[{}, {}] must be
lr=[[0,"x"],[10,0.1]] | must be a number above 0, or a list of [environment step, value]
lr=[[0,-1],[10,0.1]] | must be a number above 0, or a list of [environment step, value]
lr=[[5,0.1]] | must be a number above 0, or a list of [environment step, value]
seed=4294967296 | seed=4294967296
alpha=1e300 | alpha=1e+300
evaluation_config.max_new_tokns=3 | unknown config key 'max_new_tokns'; did you mean max_new_tokens?
evaluation_config.max_new_tokens=x | evaluation_config key max_new_tokens='x'
evaluation_config.num_env_runners=-4 | evaluation_config key num_env_runners=-4
log_level=3 | log_level=3
monitor=1 | 'monitor' cannot be set in YAML
target_entropy= | None is no target entropy
target_entropy=true | True is no entropy target
target_entropy=[[0]] | [[0]] is no target entropy
train_batch_size_per_learner=3 | train_batch_size_per_learner=3 is not used here: batch_size
train_batch_size=4000 | train_batch_size=4000 is not used here: batch_size
minibatch_size=8 | minibatch_size=8 is not used here: updates_per_batch
gamma=0.9 | gamma=0.9 is not used here
num_envs_per_env_runner=4 | num_envs_per_env_runner=4 is not used here: batch_size
explore=false | explore=False is not used here
algo=aepo_authors max_new_tokens=64 alpha=2 | alpha=2 does nothing here; replaced rows are main rows
algo=aepo_authors max_new_tokens=64 entropy_lag=1 | entropy_lag=1 does nothing with entropy_source='update_surprisal'
algo=aepo_authors max_new_tokens=64 skip_flat_rows=true | and skip_flat_rows=True clash: it is a mean over all rows
algo=aepo_constant target_entropy=0.4 | target_entropy=0.4 does nothing here
algo=aepo_constant temperature_low=0.7 | temperature_low=0.7 does nothing here
algo=aepo_constant temperature_high=1.3 | temperature_high=1.3 does nothing here
temperature=0.9 | unknown config key 'temperature'; here it is temperature_low and temperature_high
learning_rate=1 | unknown config key 'learning_rate'; here it is lr
model_path=./nomodel | there is no folder ./nomodel
halve_when_cold=true | unknown config key 'halve_when_cold'
replace_rows=4 | unknown config key 'replace_rows'
algo=grpo alpha=1 | unknown config key 'alpha'
algo=grpo target_entropy=0.4 | unknown config key 'target_entropy'
controller=pid | unknown controller 'pid'; known: heating_switch, proportional, steady, switch
algo=pkpo subset_size=8 subset_baseline=loo | subset_baseline='loo' and subset_size=8 clash
algo=aepo_authors max_new_tokens=64 entropy_source=exact_entropy initial_entropy=0.3 | initial_entropy=0.3 does nothing
algo=aepo_constant controller=proportional | controller='proportional' does nothing
algo=gspo dual_clip=3 | dual_clip=3 does nothing
controller=proportional controller_options.heat=true | unknown controller_options key 'heat'
controller=proportional controller_options.gain=much | controller_options key 'gain': 'much'
controller_options=3 | controller_options=3 must be a mapping
"""
CASES = [tuple(map(str.strip, line.split(" | "))) for line in BAD.strip().splitlines()]


@pytest.mark.parametrize(("assignments", "complaint"), CASES)
def test_a_value_that_does_not_fit_is_refused_by_name(assignments, complaint):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is looked at below
        build(parse_assignments(assignments.split()))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tune_and_python_meet_the_same_checks():
    with pytest.raises(ValueError, match="lr=-1 must be a number above 0"):
        AEPOConfig().update_from_dict({"lr": -1})
    config = GRPOConfig().training(lr=-1)
    with pytest.raises(ValueError, match="lr=-1 must be a number above 0"):
        config.validate()
    with pytest.raises(ValueError, match=r"gamma=0\.9 is not used here"):
        GRPOConfig().training(gamma=0.9).validate()


def test_numbers_without_end_are_refused():
    with pytest.raises(ValueError, match="batch_size=1000"):
        build({"batch_size": 10**400})


def test_numbers_of_numpy_are_numbers():
    config = GRPOConfig().training(lr=np.logspace(-6, -4, 3)[0], batch_size=np.int64(16))
    config.update_from_dict({"share_prompts": np.bool_(True)}).validate()
    with pytest.raises(ValueError, match="lr="):
        GRPOConfig().training(lr=np.float64("nan")).validate()


def test_a_schedule_of_the_learning_rate_is_one():
    assert build(parse_assignments(["lr=[[0,1e-3],[100,1e-4]]"]))[1].lr == [[0, 1e-3], [100, 1e-4]]


def test_search_spaces_are_let_through():
    for space in (tune.grid_search([1e-4, 3e-4]), tune.loguniform(1e-5, 1e-3), tune.choice([1e-4])):
        assert AEPOConfig().update_from_dict({"lr": space}).lr is space


def test_settings_of_a_run_are_declared_with_it():
    settings, _ = build({})
    assert vars(settings).keys() == RUN_OPTIONS.keys()


# --- One loader ---

BROKEN = [
    "!!python/object/apply:os.system ['touch hacked']",
    "[1",
    "{a: 1",
    "'",
    "[" * 1_000,
    "2026-99-99",
    "? [a]\n: b",
    "!!int ''",
    "!!timestamp x",
    "!!bool x",
]


@pytest.mark.parametrize("text", BROKEN)
def test_broken_yaml_is_one_kind_of_error_wherever_it_stands(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "x.yaml"
    file.write_text(text)
    readers = (
        lambda: parse_yaml(text, "--fields"),
        lambda: parse_assignments([f"lr={text}"]),
        lambda: read_mapping(file),
    )
    for read in readers:
        with pytest.raises(ValueError, match=r"broken YAML|expected a mapping") as caught:
            read()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("text", ["abc", "3", "[a]", "1: 2", "a: &a [*a]\n2: 3"])
def test_a_mapping_is_asked_for(text):
    with pytest.raises(ValueError, match="--fields"):
        parse_mapping(text, "--fields")


@pytest.mark.parametrize("assignment", ["lr", "=1", ".x=1", "a..b=1", "a.=1"])
def test_an_assignment_needs_a_key(assignment):
    with pytest.raises(ValueError, match="expected key=value"):
        parse_assignments([assignment])


def test_a_key_has_a_value_or_parts():
    with pytest.raises(ValueError, match=r"'lr\.x=2': lr has been given a value"):
        parse_assignments(["lr=1", "lr.x=2"])


def test_many_keys_take_no_more_than_their_number():
    started = time.process_time()
    assert len(parse_mapping("".join(f"k{n}: 1\n" for n in range(2_000)), "x")) == 2_000
    few = time.process_time() - started
    started = time.process_time()
    parse_mapping("".join(f"k{n}: 1\n" for n in range(16_000)), "x")
    assert time.process_time() - started < 40 * few  # of their square it would be 64


def test_a_mix_of_problems_replaces_another_and_other_mappings_are_merged():
    file = {"env_config": {"problems": {"countdown3": 2, "chain": 1}, "fields": {"answer": "a"}, "template": "boxed"}}
    over = {"env_config": {"problems": {"sum3": 1}, "fields": {"problem": "q"}}}
    assert merge(file, over) == {
        "env_config": {"problems": {"sum3": 1}, "fields": {"answer": "a", "problem": "q"}, "template": "boxed"}
    }
