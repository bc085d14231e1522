"""How environments are asked for problems and stepped, and what is refused of them; no Ray, no model."""

from __future__ import annotations

import gymnasium
import pytest
from ray.rllib.env.env_context import EnvContext
from ray.tune.registry import register_env

from aepo_rllib.sampling import vector_envs
from aepo_rllib.sampling.env_sources import CreatedEnv, find_env
from aepo_rllib.sampling.expecting import listener
from aepo_rllib.sampling.vector_envs import VectorEnvs
from tests.support import own_envs


def envs_of(env, **kwargs):
    source = CreatedEnv(env) if callable(env) and not isinstance(env, type) else find_env(env)
    return VectorEnvs(source, EnvContext(kwargs, worker_index=0))


def made(single):
    return lambda context: single(**context)


def test_a_seed_is_a_problem_whoever_is_asked():
    """Gymnasium's own vector, given the same seeds, shows the same."""
    seeds = [7, 7, 8, 2**20, 7]
    peer = gymnasium.vector.SyncVectorEnv([own_envs.Sums for _ in seeds])
    expected, _ = peer.reset(seed=seeds)
    gymnasium.register("own/Sums-v0", entry_point=own_envs.Sums)
    gymnasium.register("own/SumsVector-v0", vector_entry_point=own_envs.SumsVector)
    for env in (made(own_envs.Sums), "own/Sums-v0", "own/SumsVector-v0", "tests.support.own_envs:own/Sums-v0"):
        envs = envs_of(env)
        observations, infos = vector_envs.reset(envs.of_size(5), seeds)
        assert tuple(observations) == tuple(expected)
        assert [info["problem_id"] for info in infos] == [f"seed-{seed}" for seed in seeds]
    assert len(set(expected)) == 3


def test_listed_problems_are_asked_for_by_their_index():
    gymnasium.register("own/Listed-v0", entry_point=own_envs.Listed)
    for env in (made(own_envs.Listed), "own/Listed-v0"):
        vector = envs_of(env).of_size(3)
        assert vector_envs.problem_count(vector) == 3
        observations, infos = vector_envs.reset(vector, [2, 0, 2])
        assert list(observations) == [own_envs.Listed.problems[index] for index in (2, 0, 2)]
        assert [info["problem_id"] for info in infos] == ["problem-2", "problem-0", "problem-2"]


def test_an_environment_rests_when_its_episode_is_over():
    vector = envs_of(made(own_envs.Countdown)).of_size(3)
    vector_envs.reset(vector, [0, 1, 2])  # of 1, 2 and 3 turns
    ends, actions = [], ["a", "b", "c"]
    for _ in range(3):
        _, _, terminated, _, infos = vector_envs.step(vector, actions)
        rows = [row for row, action in enumerate(actions) if action is not None]
        ends += [(row, infos[row]["said"]) for row in rows if terminated[row]]
        actions = [None if terminated[row] or action is None else action for row, action in enumerate(actions)]
    assert ends == [(0, ("a",)), (1, ("b", "b")), (2, ("c", "c", "c"))]


class Expecting(own_envs.Sums):
    def expect(self, action):
        self.expected = action


class Odd(own_envs.Sums):
    expect = "42"


class Shouting(gymnasium.ActionWrapper):
    def action(self, action):
        return action.upper()


def test_an_environment_is_told_of_its_next_action_where_it_asks_and_the_action_is_that():
    vector = envs_of(made(lambda **_: gymnasium.wrappers.TimeLimit(Expecting(), 5))).of_size(2)
    listener(vector)(1, "next")
    assert [getattr(env.unwrapped, "expected", None) for env in vector.envs] == [None, "next"]
    for other in (own_envs.Sums, Odd, lambda **_: Shouting(Expecting())):
        assert listener(envs_of(made(other)).of_size(2)) is None
    assert listener(own_envs.SumsVector(num_envs=2)) is None


def test_infos_of_any_kind_come_back_as_they_were():
    """None beside a text, tuples and dicts, keys that only some have: gymnasium's arrays hold few of them."""
    vector = envs_of(made(own_envs.Countdown)).of_size(2)
    _, infos = vector_envs.reset(vector, [0, 1])
    assert [(info["mixed"], info["deep"]) for info in infos] == [(None, {"n": 1}), ("text", {"n": 2})]
    peer = gymnasium.vector.SyncVectorEnv([own_envs.Sums])
    nested = peer._add_info({}, {"deep": {"n": 1, "m": {"k": 2}}, "plain": 3}, 0)
    assert vector_envs._split_infos(nested, 1) == [{"deep": {"n": 1, "m": {"k": 2}}, "plain": 3}]


def test_single_environments_are_shared_between_sizes():
    made_ones = []

    def make(context):
        made_ones.append(own_envs.Sums())
        return made_ones[-1]

    envs = envs_of(make)
    for size in (4, 2, 6, 1):
        assert envs.of_size(size).num_envs == size
    assert len(made_ones) == 6


def test_a_creator_of_vectors_is_told_the_number():
    def create(context):
        return own_envs.SumsVector(context.get("num_envs", 1))

    register_env("own-sums-vector", lambda context: own_envs.SumsVector(context["num_envs"]))
    declared = find_env("own-sums-vector", "vector_entry_point")
    for source in (CreatedEnv(create), declared, find_env(VectorOfMapping)):
        env = VectorEnvs(source, EnvContext({}, worker_index=0)).of_size(4)
        assert isinstance(env, own_envs.SumsVector)
        assert env.num_envs == 4
    with pytest.raises(ValueError, match=r"asked for num_envs=4 and is a SumsVector of 1 environments"):
        envs_of(lambda context: own_envs.SumsVector(1)).of_size(4)


class VectorOfMapping(own_envs.SumsVector):
    def __init__(self, context):
        super().__init__(context["num_envs"])


def play(env):
    """One group of two, one step."""
    vector = envs_of(env).of_size(2)
    observations, infos = vector_envs.reset(vector, [5, 5])
    vector_envs.check_groups([0, 0], observations, infos)
    vector_envs.step(vector, ["x", "y"])


class NoSpace(gymnasium.Env):
    pass


class SameStep(VectorOfMapping):
    metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}  # noqa: RUF012


class Empty(own_envs.Listed):
    problems = ()


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (made(own_envs.Forgetful), r"one group different problems for seed-5: 'Add \d+ 1 1\.' and .*super\(\)\.reset"),
        (made(own_envs.Numbers), r"observation is of type ndarray, array\(\[.*it must be a text"),
        (made(own_envs.LateNumbers), r"observation is of type int, 7; it must be a text"),
        (made(own_envs.OwnVerdict), r"info\['verdict'\] is 'splendid'; it must be one of correct, wrong"),
        (made(own_envs.BadTurns), r"info\['turns'\] must be pairs of texts"),
        (lambda _: own_envs.Sums(reward="much"), r"a reward that is no number: \['much', 'much'\]"),
        (lambda _: own_envs.Sums(reward=[]), r"a reward that is no number"),
        (made(own_envs.Spaceless), r"its observation space is Box.*AnyText\(\)"),
        (made(Empty), r"list `problems` is empty"),
        (lambda _: NoSpace(), r"NoSpace has no observation_space; set it to .*AnyText\(\)"),
        (lambda _: 3, r"is of type int, neither a gymnasium.Env nor a VectorEnv"),
        ("CartPole-v1", r"its observation space is Box"),
        (SameStep, r"whose last info is lost"),
        ("nowhere", r"env='nowhere' is no environment here: register it"),
        ("no_such_module:Env", r"cannot import 'no_such_module'"),
        ("tests.support.own_envs:NoSuchEnv", r"env='tests.support.own_envs:NoSuchEnv' is no environment here"),
        (None, r"env=None is no environment here"),
        (NoSpace(), r"env=<.*NoSpace.*> is no environment here"),
        (own_envs.Lonely, r"is called with one argument, the mapping env_config .*gymnasium.register"),
    ],
)
def test_what_an_environment_does_wrong_is_said(env, message):
    with pytest.raises(ValueError, match=message):
        play(env)
