"""What users of RLlib reach for works as RLlib has it: callbacks, modules, weights, evaluation, options."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from aepo_rllib import AEPOConfig, GRPOConfig, metrics
from aepo_rllib.columns import Columns
from aepo_rllib.models.state_names import PREFIX
from aepo_rllib.rollout import RolloutRequest
from aepo_rllib.rollout.request import BASE_ENTROPY, MAIN_STREAM, purpose_of
from aepo_rllib.sampling.env_runner import TextEnvRunner
from tests.support import own_envs
from tests.support.small_runs import small, weights


class Recorder(RLlibCallback):
    """Keeps what it is called with."""

    calls: list = []  # noqa: RUF012 - one list for all instances

    def on_environment_created(self, **kwargs):
        self.calls.append(("on_environment_created", kwargs))

    def on_episode_created(self, **kwargs):
        self.calls.append(("on_episode_created", kwargs))

    def on_episode_start(self, **kwargs):
        self.calls.append(("on_episode_start", kwargs))

    def on_episode_step(self, **kwargs):
        self.calls.append(("on_episode_step", kwargs))

    def on_episode_end(self, **kwargs):
        self.calls.append(("on_episode_end", kwargs))

    def on_sample_end(self, **kwargs):
        self.calls.append(("on_sample_end", kwargs))


class Counting(RLlibCallback):
    def on_episode_end(self, *, episode, metrics_logger, **kwargs):
        metrics_logger.log_value("words", len(episode.get_actions(-1).split()), reduce="mean", window=1)
        metrics_logger.log_value("ends_of_a_class", 1, reduce="sum")
        episode.custom_data["seen"] = True


def count_ends(*, metrics_logger, **kwargs):
    metrics_logger.log_value("ends_of_a_function", 1, reduce="sum")


@pytest.fixture
def calls():
    Recorder.calls.clear()
    yield Recorder.calls
    Recorder.calls.clear()


def runner_of(config):
    config.validate()
    return TextEnvRunner(config=config, worker_index=0)


class CountdownOfMapping(own_envs.Countdown):
    def __init__(self, env_config):
        super().__init__(**env_config)


def test_callbacks_get_what_rllibs_own_runner_gives_them(calls):
    """The same names, arguments and order, episode by episode, with episodes of several turns."""
    peer_config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=0).callbacks(Recorder)
    peer = SingleAgentEnvRunner(config=peer_config, worker_index=0)
    peer.sample(num_episodes=1)
    peer.stop()
    expected = list(calls)
    calls.clear()
    config = small(GRPOConfig()).environment(CountdownOfMapping).callbacks(Recorder)
    runner = runner_of(config.evaluation(evaluation_interval=None))
    episodes = runner.rollout(RolloutRequest(MAIN_STREAM, 0, 0, (0, 1), (7, 8), 2))
    try:
        assert {(name, *sorted(kwargs)) for name, kwargs in calls} == {
            (name, *sorted(kwargs)) for name, kwargs in expected
        }
        for row, episode in enumerate(episodes):
            mine = [(name, kwargs) for name, kwargs in calls if kwargs.get("episode") is episode]
            order = [name for name, _ in mine]
            steps = ["on_episode_step"] * len(episode)
            assert order == ["on_episode_created", "on_episode_start", *steps, "on_episode_end"]
            assert {kwargs["env_index"] for _, kwargs in mine} == {row}
            for _, kwargs in mine:
                assert kwargs["env"].envs[row].unwrapped.left == 0
                assert kwargs["env_runner"] is runner
                assert isinstance(kwargs["rl_module"], RLModule)
        [(_, sampled)] = [call for call in calls if call[0] == "on_sample_end"]
        assert sampled["samples"] == episodes
        assert episodes[0].get_infos(0)["stream"] == "main"
    finally:
        runner.stop()


def test_module_of_a_runner_is_its_engines_model_without_a_copy():
    runner = runner_of(small(GRPOConfig()))
    try:
        assert runner.held.asleep is None  # nothing is loaded before it is needed
        theirs = dict(runner.module.model.named_parameters())
        for name, parameter in runner.engine.model.named_parameters():
            assert theirs[name].data_ptr() == parameter.data_ptr()
        assert runner.module is runner.module
    finally:
        runner.stop()


@pytest.fixture(scope="module")
def trained(ray_cluster):
    """One step with callbacks of two classes and a function, and what it left."""
    config = small(AEPOConfig()).callbacks([Counting, RLlibCallback], on_episode_end=count_ends)
    algo = config.build_algo()
    groups = {}
    algo.on_episodes = groups.__setitem__
    yield algo, algo.train(), groups
    algo.stop()


def test_what_callbacks_log_is_in_the_result(trained):
    """Of both streams, and of none that belongs to no training step."""
    _, result, groups = trained
    sampled = [
        episode
        for stream in (MAIN_STREAM, purpose_of("tempered", ("main", "tempered")))
        for episode in groups[stream].episodes
    ]
    assert result["env_runners"]["ends_of_a_class"] == len(sampled) == 2 * 6 * 4
    assert result["env_runners"]["ends_of_a_function"] == len(sampled)
    assert 1 < result["env_runners"]["words"] < 64
    assert all(episode.custom_data["seen"] for episode in sampled)
    assert not any(episode.custom_data for episode in groups[BASE_ENTROPY].episodes)


def test_get_module_has_the_learners_weights(trained):
    algo, *_ = trained
    module = algo.get_module()
    assert isinstance(module, RLModule)
    for name, value in weights(algo).items():
        np.testing.assert_array_equal(module.state_dict()[name].numpy(), value)
    learner = algo.learner_group._learner.module["default_policy"]
    assert not {p.data_ptr() for p in module.parameters()} & {p.data_ptr() for p in learner.parameters()}
    algo.train()
    assert algo.get_module() is module
    for name, value in weights(algo).items():
        np.testing.assert_array_equal(module.state_dict()[name].numpy(), value)
    assert algo.get_module("another") is None


def test_set_weights_reaches_learner_and_env_runners(trained):
    algo, *_ = trained
    before = algo.get_weights()
    other = {"default_policy": {name: 0.5 * value for name, value in before["default_policy"].items()}}
    algo.set_weights(other)
    for name, value in other["default_policy"].items():
        np.testing.assert_array_equal(weights(algo)[name], value)
        engine = algo.env_runner.engine.model.state_dict()[name.removeprefix(PREFIX)]
        np.testing.assert_array_equal(engine.numpy(), value)
    assert algo.train()[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-3
    algo.set_weights(before)
    for name, value in before["default_policy"].items():
        np.testing.assert_array_equal(weights(algo)[name], value)
    with pytest.raises(ValueError, match=r"\['policy_1'\] were given; there is one module, 'default_policy'"):
        algo.set_weights({"policy_1": before["default_policy"]})


def test_a_state_in_memory_is_gone_back_to(trained):
    algo, *_ = trained
    state, step = algo.get_state(), algo.train_steps
    kept = {name: np.array(value) for name, value in weights(algo).items()}
    first = algo.train()
    assert (algo.train_steps, algo.training_iteration) == (step + 1, algo.iteration)
    algo.set_state(state)
    assert algo.train_steps == step
    for name, value in kept.items():
        np.testing.assert_array_equal(weights(algo)[name], value)
    again = algo.train()
    assert again[metrics.MAIN] == first[metrics.MAIN]


def evaluated(calls, **settings):
    """Episodes of an evaluation, and its result, of an algorithm whose tempered stream is always hot."""
    config = small(AEPOConfig(), temperature_low=2.0, temperature_high=3.0, **settings).callbacks(Recorder)
    algo = config.build_algo()
    try:
        algo.train()
        calls.clear()
        result = algo.evaluate()["env_runners"]
    finally:
        algo.stop()
    [samples] = [kwargs["samples"] for name, kwargs in calls if name == "on_sample_end"]
    return samples, result


def test_evaluation_samples_at_t_1_whatever_the_tempered_stream_does(ray_cluster, calls):
    samples, result = evaluated(calls)
    assert len(samples) == result["num_episodes"] == 25
    assert samples[0].get_infos(0)["stream"] == "evaluation"
    for episode in samples:
        policy, drawn_from = (
            episode.get_extra_model_outputs(name, 0) for name in (Columns.POLICY_LOGP, Columns.BEHAVIOR_LOGP)
        )
        np.testing.assert_allclose(drawn_from, policy, atol=1e-5)


def test_evaluation_config_is_heeded(ray_cluster, calls):
    """Shorter, and the likeliest token each time."""
    samples, _ = evaluated(calls, evaluation_config={"max_new_tokens": 8, "top_k": 1})
    assert {len(episode.get_extra_model_outputs(Columns.COMPLETION_IDS, 0)) for episode in samples} == {8}
    for episode in samples:
        torch.testing.assert_close(
            torch.as_tensor(episode.get_extra_model_outputs(Columns.BEHAVIOR_LOGP, 0)), torch.zeros(8)
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.training(train_batch_size_per_learner=64), "train_batch_size_per_learner=64 is not used here"),
        (lambda c: c.training(minibatch_size=8), "minibatch_size=8 is not used here: updates_per_batch"),
        (lambda c: c.training(model={"fcnet_hiddens": [3]}), "model=.* is not used here: model_path"),
        (lambda c: c.training(optimizer={"type": "adam"}), "weight_decay and adam_betas are ours"),
        (lambda c: c.training(learner_connector=lambda *_: None), "without connectors"),
        (lambda c: c.env_runners(env_to_module_connector=lambda *_: None), "without connectors"),
        (lambda c: c.env_runners(rollout_fragment_length=8), "rollout_fragment_length=8 is not used here"),
        (lambda c: c.env_runners(batch_mode="complete_episodes"), "batch_mode='complete_episodes' is not used here"),
        (lambda c: c.env_runners(explore=False), "explore=False is not used here"),
        (lambda c: c.env_runners(gym_env_vectorize_mode="async"), "raise num_env_runners"),
        (lambda c: c.env_runners(create_local_env_runner=False), "create_local_env_runner=False is not used here"),
        (lambda c: c.environment(render_env=True), "render_env=True is not used here"),
        (lambda c: c.rl_module(model_config={"head_fcnet_hiddens": [3]}), "model_config=.* is not used here"),
        (lambda c: c.resources(num_gpus=1), "num_gpus=1 is not used here: num_gpus_per_learner"),
        (lambda c: c.multi_agent(policies={"a", "b"}, policy_mapping_fn=str), "there is one policy"),
        (lambda c: c.offline_data(input_="episodes"), "input='episodes' is not used here"),
        (lambda c: c.reporting(metrics_num_episodes_for_smoothing=4), "are not smoothed"),
        (lambda c: c.fault_tolerance(restart_failed_sub_environments=True), "ends the run, and is told"),
        (lambda c: c.evaluation(evaluation_config={"explore": False}), "explore=False is not .* top_k=1"),
        (
            lambda c: c.evaluation(evaluation_config={"temperature_low": 0.6}),
            "changes nothing in an evaluation.* T = 1",
        ),
        (lambda c: c.evaluation(evaluation_config={"lr": 1e-3}), "changes nothing in an evaluation"),
    ],
)
def test_options_that_change_nothing_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        change(AEPOConfig()).validate()


def test_an_evaluation_without_runners_of_its_own_is_refused(ray_cluster):
    """They would sample training problems."""
    algo = small(GRPOConfig()).evaluation(evaluation_interval=None).build_algo()
    try:
        with pytest.raises(ValueError, match="set evaluation\\(evaluation_interval="):
            algo.evaluate()
    finally:
        algo.stop()
