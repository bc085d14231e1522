"""Environments of the user's train, end to end: registered or not, single or vector, of one turn or several."""

from __future__ import annotations

import sys
from pathlib import Path

import gymnasium
import pytest
import ray
from ray.tune.registry import register_env

from aepo_rllib import AEPOConfig, GRPOConfig, metrics
from aepo_rllib.cli.settings import RunSettings, build, resolved
from aepo_rllib.columns import Columns
from aepo_rllib.experience.groups import problem_of
from aepo_rllib.experience.problem_order import EVALUATION_SEEDS, evaluation_problem, problems_of_step
from aepo_rllib.models.hf import load_model, load_tokenizer
from aepo_rllib.rollout import RolloutRequest
from aepo_rllib.rollout.request import MAIN_STREAM, purpose_of
from aepo_rllib.sampling.env_runner import TextEnvRunner
from tests.support import own_envs
from tests.support.small_runs import small

ray.cloudpickle.register_pickle_by_value(own_envs)  # actors cannot import it
EXAMPLES = Path(__file__).parents[2] / "examples"
REQUEST = RolloutRequest(MAIN_STREAM, seed=0, step=0, slots=(0, 1, 2), problems=(6, 7, 8), group_size=2)


def runner_of(env, **env_config):
    config = small(GRPOConfig()).environment(env, env_config=env_config).evaluation(evaluation_interval=None)
    config.validate()
    return TextEnvRunner(config=config, worker_index=0)


def as_class(env):
    """A class as RLlib calls it: with one mapping."""
    return type(env.__name__, (env,), {"__init__": lambda self, env_config: env.__init__(self, **env_config)})


def seen_by(algo):
    """Problems of every group that is sampled from now on, by stream."""
    seen = []

    def note(stream, groups):
        for group in groups.episodes_PG:
            [problem] = {problem_of(episode) for episode in group}
            seen.append((stream, int(problem.removeprefix("seed-"))))

    algo.on_episodes = note
    return seen


@pytest.mark.parametrize("runners", [0, 1])
def test_an_environment_of_gymnasiums_registry_is_asked_by_seeds(ray_cluster, runners):
    """Its name is known to this process alone, and it takes none of our arguments."""
    gymnasium.register("own/Sums-v1", entry_point=own_envs.Sums)
    algo = (
        small(AEPOConfig(), num_env_runners=runners)
        .environment("own/Sums-v1", env_config={"largest": 5})
        .evaluation(evaluation_interval=1, evaluation_duration=5)
        .build_algo()
    )
    seen = seen_by(algo)
    try:
        expected = algo.next_problems()
        result = algo.train()
        assert [seed for stream, seed in seen if stream == MAIN_STREAM] == expected
        assert [seed for stream, seed in seen if stream == purpose_of("tempered", ("main", "tempered"))] == expected
        assert min(seed for _, seed in seen) >= EVALUATION_SEEDS
        assert not set(algo.next_problems()) & set(expected)
        assert result["evaluation"]["env_runners"]["num_episodes"] == 5
        assert 0 < result[metrics.MAIN][metrics.REWARD_MEAN] < 1
        assert result[metrics.UPDATE][metrics.TRAINED_ROWS] > 0
    finally:
        algo.stop()


def test_seeds_never_end_and_never_meet_those_of_evaluation():
    drawn = [
        seed for step in range(200) for seed in problems_of_step(step, batch_size=64, problem_count=None, seed=step % 3)
    ]
    assert len(set(drawn)) > 0.999 * len(drawn)
    assert all(type(seed) is int and EVALUATION_SEEDS <= seed < 2**31 for seed in drawn)
    assert [evaluation_problem(place, None) for place in range(9)] == list(range(9))
    assert [evaluation_problem(place, 4) for place in range(6)] == [0, 1, 2, 3, 0, 1]
    once, again = (problems_of_step(7, batch_size=5, problem_count=None, seed=1) for _ in range(2))
    assert once == again != problems_of_step(8, batch_size=5, problem_count=None, seed=1)


def test_episodes_of_one_to_three_turns():
    """Of a strict single environment, and of a vector that resets by itself: both bring the very same."""
    register_env("own-countdown", lambda context: own_envs.Countdown(**context))
    gymnasium.register(
        "own/Countdowns-v0",
        vector_entry_point=lambda num_envs, **kwargs: own_envs.SumsVector(num_envs, own_envs.Countdown, **kwargs),
    )
    told = []
    for env in ("own-countdown", "own/Countdowns-v0"):
        runner = runner_of(env, largest=6)
        try:
            episodes = runner.rollout(REQUEST)
        finally:
            runner.stop()
        assert [len(episode) for episode in episodes] == [1, 1, 2, 2, 3, 3]
        assert [episode.get_return() for episode in episodes] == [0.25, 0.25, 0.5, 0.5, 0.75, 0.75]
        assert {problem_of(episode) for episode in episodes[-2:]} == {"seed-8"}
        told.append([list(map(str, [*episode.observations, *episode.actions])) for episode in episodes])
    assert told[0] == told[1]


def test_later_turns_show_the_observation_alone(ray_cluster):
    algo = small(GRPOConfig()).environment(as_class(own_envs.Countdown)).build_algo()
    groups = []
    algo.on_episodes = lambda stream, sampled: groups.append(sampled)
    try:
        result = algo.train()
        encode = algo.env_runner.encoder.encode
    finally:
        algo.stop()
    episodes = list(groups[-1].episodes)
    assert len(set(map(len, episodes))) > 1
    for episode in episodes:
        prompts = episode.get_extra_model_outputs(Columns.PROMPT_IDS)
        assert [list(ids) for ids in prompts] == [encode(text) for text in episode.observations[: len(episode)]]
    assert result["env_runners"]["episode_len_max"] == max(map(len, episodes))
    assert result["env_runners"]["num_env_steps_sampled"] == sum(map(len, episodes))


def test_an_episode_that_never_ends_is_named(monkeypatch):
    monkeypatch.setattr("aepo_rllib.sampling.episodes.MAX_TURNS", 3)
    runner = runner_of(as_class(own_envs.Endless))
    try:
        with pytest.raises(ValueError, match=r"has not ended seed-6 in 3 turns; .* max_episode_steps"):
            runner.rollout(REQUEST)
    finally:
        runner.stop()
    gymnasium.register("own/Endless-v0", entry_point=own_envs.Endless, max_episode_steps=2)
    runner = runner_of("own/Endless-v0")
    try:
        assert [(len(e), e.is_truncated) for e in runner.rollout(REQUEST)] == [(2, True)] * 6
    finally:
        runner.stop()


class Chatting(own_envs.Sums):
    """Says with every observation what was said before it."""

    def reset(self, *, seed=None, options=None):
        text, _ = super().reset(seed=seed)
        self.turns, self.text = [("system", "Add."), ("user", "Add 1 1."), ("assistant", "2")], text
        return text, {"turns": self.turns}

    def step(self, action):
        self.turns = [*self.turns, ("user", self.text), ("assistant", action.strip())]
        return "Add 2 2.", 0.0, len(self.turns) > 5, False, {"turns": self.turns}


@pytest.mark.process
def test_turns_come_before_the_observation_as_transformers_writes_them(tmp_path):
    tokenizer = load_tokenizer("embedded")
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.role }} {{ message.content }}<eos>{% endfor %}"
        "{% if add_generation_prompt %}assistant {% endif %}"
    )
    tokenizer.save_pretrained(tmp_path)
    load_model("embedded").save_pretrained(tmp_path)
    config = small(GRPOConfig(), model_path=str(tmp_path)).environment(
        as_class(Chatting), env_config={"template": "aepo-think"}
    )
    runner = TextEnvRunner(config=config, worker_index=0)
    try:
        episodes = runner.rollout(REQUEST.only((0,)))
    finally:
        runner.stop()
    assert [len(episode) for episode in episodes] == [2, 2]
    for episode in episodes:
        for turn in range(len(episode)):
            chat = [*episode.get_infos(turn)["turns"], ("user", episode.get_observations(turn))]
            expected = tokenizer.apply_chat_template(
                [{"role": role, "content": content} for role, content in chat],
                add_generation_prompt=True,
                return_dict=False,
            )
            assert list(episode.get_extra_model_outputs(Columns.PROMPT_IDS)[turn]) == expected


def test_an_environment_can_be_named_by_its_module(ray_cluster, monkeypatch):
    """As `aepo train --set env=...` does; with the example."""
    monkeypatch.syspath_prepend(EXAMPLES)
    values = {"env": "own_environment:make_second_try", "env_config": {"largest": 9}, "algo": "grpo", "seed": 3}
    values |= {"batch_size": 6, "group_size": 4, "evaluation_interval": None}
    settings, config = build(values)
    assert resolved(*build(resolved(settings, config))) == resolved(settings, config)
    assert resolved(RunSettings(), config)["env_config"] == {"largest": 9}
    algo = config.build_algo()
    try:
        result = algo.train()
        assert algo.env_runner.env.envs[0].largest == 9
    finally:
        algo.stop()
        sys.modules.pop("own_environment", None)
    assert 1 < result["env_runners"]["episode_len_mean"] < 2
    assert result["env_runners"]["episode_return_max"] == 1


def test_a_list_of_problems_is_gone_through_and_its_use_in_evaluation_is_said(ray_cluster, caplog):
    config = small(GRPOConfig()).environment(as_class(own_envs.Listed)).training(batch_size=3, updates_per_batch=1)
    algo = config.build_algo()
    seen = []
    algo.on_episodes = lambda stream, groups: seen.append([problem_of(group[0]) for group in groups.episodes_PG])
    try:
        algo.train()
        assert sorted(seen[-1]) == ["problem-0", "problem-1", "problem-2"]
        assert algo.evaluate()["env_runners"]["num_episodes"] == 25
    finally:
        algo.stop()
    [warning] = [record.getMessage() for record in caplog.records if "is trained on" in record.getMessage()]
    assert "evaluation_config={'env_config': {...}}" in warning


@pytest.mark.parametrize("reward", [20.0, float("nan")])
def test_a_reward_outside_the_range_names_its_seed(ray_cluster, reward):
    algo = small(GRPOConfig()).environment(as_class(own_envs.Sums), env_config={"reward": reward}).build_algo()
    try:
        with pytest.raises(ValueError, match=r"gave reward \S+ for problem seed-\d+; rewards must lie between"):
            algo.train()
    finally:
        algo.stop()


def test_options_of_the_maths_environment_are_not_ignored_beside_another():
    config = GRPOConfig().environment(as_class(own_envs.Sums)).problems(validation_problems="arithmetic")
    with pytest.raises(ValueError, match=r"validation_problems='arithmetic' does nothing with env=.*evaluation_config"):
        config.validate()
