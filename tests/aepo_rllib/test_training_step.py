"""What one training step does, in the algorithm's own process: streams, epochs, dials, precision."""

import copy
import sys

import numpy as np
import pytest
import ray
import torch
from transformers import AutoModelForCausalLM

from aepo_rllib import AEPOAuthorsConfig, AEPOConfig, GRPOConfig, metrics
from aepo_rllib.algorithms.aepo import AEPO
from aepo_rllib.algorithms.aepo_authors import AEPOAuthors
from aepo_rllib.algorithms.aepo_constant import AEPOConstantConfig
from aepo_rllib.columns import Columns
from aepo_rllib.control.monitor import ControlMonitor
from aepo_rllib.models.export import HF_FOLDER
from aepo_rllib.models.state_names import PREFIX
from aepo_rllib.rollout import Prompt
from tests.support.small_runs import figures, small, weights

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes cannot import a test file
TOKENS = (Columns.PROMPT_IDS, Columns.PROMPT_MASK, Columns.COMPLETION_IDS, Columns.COMPLETION_MASK)


def test_first_ratio_is_one_and_positives_are_learned_from(reference):
    for result in reference.results:
        assert result[metrics.UPDATE][metrics.FIRST_RATIO_MAX_DEVIATION] < 1e-4
        assert result[metrics.UPDATE][metrics.TRAINED_ROWS] > 0
        learner = result["learners"]["default_policy"]
        assert learner[metrics.loss_of("tempered")] > 0  # minus the log-prob of positives
        assert result[metrics.CONTROL][metrics.TEMPERATURE] == 0.8  # the base model is above half its own entropy


def test_engine_samples_from_the_learners_weights_after_an_update(reference):
    algo = reference.algo
    engine = algo.env_runner.engine
    prompt = algo.env_runner.encoder.encode("Make 7 from 1 2 4.")
    [[completion]] = engine.generate([Prompt(prompt, [(1,)])], max_new_tokens=32, stop_ids=algo.env_runner.stop_ids)
    model = AutoModelForCausalLM.from_pretrained(reference.path + f"/{HF_FOLDER}")
    current = {name.removeprefix(PREFIX): torch.as_tensor(value) for name, value in weights(algo).items()}
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
    learner = result["learners"]["default_policy"]
    assert learner[metrics.loss_of("main")] != 0
    assert metrics.loss_of("tempered") not in learner


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


def test_a_dial_at_its_stop_says_so(ray_cluster, caplog):
    """A target far above the policy's entropy: always hot, and never there."""
    algo = small(AEPOConfig(), target_entropy="3x").build_algo()
    algo.dial_loop.monitor = ControlMonitor(window=4)
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
    update, surprisals = algo.learner_group.update, []

    def watched(*, training_data, **kwargs):
        """The surprisal of each optimizer step, from the engine's log-probs and the learner's weights before it."""
        columns = training_data.batch.policy_batches["default_policy"]
        sequences = [
            (prompt[prompt_mask].tolist(), completion[mask].tolist())
            for prompt, prompt_mask, completion, mask in zip(*(columns[name] for name in TOKENS), strict=True)
        ]
        algo.sync_weights()
        sums = [logp.sum() for logp in algo.env_runner.engine.log_probs(sequences)]
        surprisals.append(-np.dot(columns[Columns.MEAN_WEIGHT], sums))
        return update(training_data=training_data, **kwargs)

    algo.learner_group.update = watched
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
    assert metrics.loss_of("tempered") not in first["learners"]["default_policy"]


def test_the_authors_dial_can_read_the_previous_batch(ray_cluster):
    config = small(AEPOAuthorsConfig(), entropy_source=metrics.EXACT_ENTROPY, entropy_lag=1, initial_entropy=None)
    config = config.update_from_dict({"target_entropy": "0.5x", "max_new_tokens": 64, "updates_per_batch": 2})
    algo = config.build_algo()
    try:
        first, second = algo.train(), algo.train()
    finally:
        algo.stop()
    assert first[metrics.CONTROL][metrics.TEMPERATURE] == 1.0  # nothing measured yet
    assert metrics.ENTROPY not in first[metrics.CONTROL]
    assert second[metrics.CONTROL][metrics.ENTROPY] == first[metrics.MAIN][metrics.EXACT_ENTROPY]
    assert second[metrics.CONTROL][metrics.TEMPERATURE] == 0.8


class TwoRequestsConfig(AEPOAuthorsConfig):
    """Of the box below."""


class TwoRequests(AEPOAuthors):
    """The same box, one stream after the other."""

    Config = TwoRequestsConfig

    def training_step(self):
        with self.step_frame():
            problems = self.next_problems()
            main = self.rollout("main", problems)
            measured = {metrics.EXACT_ENTROPY: main.entropy(metrics.EXACT_ENTROPY)}
            measured[metrics.UPDATE_SURPRISAL] = self.update_surprisal
            temperature = self.turn_dial(measured[self.config.entropy_source])
            tempered = self.rollout("tempered", self.share_of(problems, "tempered"), temperature=temperature)
            rows = self.rows({"main": main, "tempered": tempered})
            self.learn_rows({"main": self.replaced(rows["main"], rows["tempered"], temperature)})
            self.sync_weights()


class OneSettingConfig(AEPOConstantConfig):
    """Of the box below."""


class OneSetting(AEPO):
    """AEPO's box at one temperature, likewise."""

    Config = OneSettingConfig

    def training_step(self):
        with self.step_frame():
            problems = self.next_problems()
            main = self.rollout("main", problems)
            temperature = self.turn_dial(main.entropy(metrics.EXACT_ENTROPY))
            tempered = self.rollout("tempered", self.share_of(problems, "tempered"), temperature=temperature)
            self.learn({"main": main, "tempered": tempered})
            self.sync_weights()


def noting_requests(algo):
    """What env runners are asked for from now on, request by request: streams and temperatures."""
    sample, requests = algo.samplers.sample, []

    def watched(*asked, **options):
        requests.append([(request.purpose.name, request.temperature) for request in asked])
        return sample(*asked, **options)

    algo.samplers.sample = watched
    return requests


LATE = {"max_new_tokens": 64, "updates_per_batch": 2, "replace_rows": 4, "target_entropy": "0.9x", "lr": 6e-4}
BY_LAG = LATE | {"entropy_source": metrics.EXACT_ENTROPY, "entropy_lag": 1, "entropy_window": 2}


@pytest.mark.parametrize("runners", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("config", "apart", "settings"),
    [
        (AEPOAuthorsConfig, TwoRequests, LATE),
        (AEPOAuthorsConfig, TwoRequests, BY_LAG | {"initial_entropy": None}),
        (AEPOConstantConfig, OneSetting, {"temperature": 1.3}),
    ],
    ids=["update surprisal", "lag", "constant"],
)
def test_where_the_temperature_is_known_both_streams_are_one_request_and_the_step_is_the_same(
    ray_cluster, config, apart, settings, runners
):
    ran = {}
    for of in (config, apart.Config):
        algo = small(of(), num_env_runners=runners, evaluation_interval=None, **settings).build_algo()
        requests = noting_requests(algo)
        try:
            results = [algo.train() for _ in range(3)]
            ran[of] = [figures(result) for result in results], weights(algo), requests[1:], algo.own_state()
        finally:
            algo.stop()
    (together, reached, once, state), (one_by_one, expected, twice, other) = ran.values()
    assert [len(asked) for asked in once] == [2] * 3
    assert [[each] for asked in once for each in asked] == twice
    assert len({temperature for _, (_, temperature) in once}) == (1 if "temperature" in settings else 2)
    for left, right in zip(together, one_by_one, strict=True):
        assert left.keys() == right.keys()
        assert left == pytest.approx(right, rel=1e-4, abs=1e-6)
    for name, value in expected.items():
        np.testing.assert_allclose(reached[name], value, atol=1e-4)
    assert state["dial"]["entropies"] == pytest.approx(other["dial"]["entropies"], rel=1e-5)
    assert state["dial"]["monitor"]["quiet_for"] == other["dial"]["monitor"]["quiet_for"]


@pytest.mark.slow
def test_a_batch_in_pieces_is_the_same_step(ray_cluster):
    """Eight pieces of each stream go to whoever of two env runners is free; RLlib's counts are right, too."""
    counted, ran = ("num_env_steps_sampled_lifetime", "num_episodes_lifetime", "num_episodes"), []
    for runners, options in ((0, {}), (2, {"max_tokens_in_flight": 100})):
        config = small(AEPOConfig(), num_env_runners=runners, engine_options=options, evaluation_interval=None)
        algo = config.training(batch_size=12).build_algo()
        try:
            results = [algo.train() for _ in range(2)]
            ran.append(([figures(each) for each in results], weights(algo)))
        finally:
            algo.stop()
        expected = [[48, 48, 48], [96, 96, 48]]
        found = [[int(each["env_runners"][name]) for name in counted] for each in results]
        assert found == expected, runners
    (whole, reached), (pieces, other) = ran
    for left, right in zip(whole, pieces, strict=True):
        assert left == pytest.approx(right, rel=1e-4, abs=1e-6)
    for name, value in reached.items():
        np.testing.assert_allclose(other[name], value, atol=1e-4)


def test_where_the_temperature_follows_from_this_batch_main_is_sampled_first(ray_cluster):
    """The paper's order: two requests, the second at the temperature that the first one's entropy asks for."""
    algo = small(AEPOConfig(), evaluation_interval=None).build_algo()
    requests = noting_requests(algo)
    try:
        result = algo.train()
    finally:
        algo.stop()
    temperature = result[metrics.CONTROL][metrics.TEMPERATURE]
    assert requests == [[("base_entropy", 1.0)], [("main", 1.0)], [("tempered", temperature)]]
    assert temperature == 0.8


def test_sixteen_bits_compute_and_thirty_two_are_kept(ray_cluster, tmp_path):
    algo = small(AEPOConfig(), dtype="bfloat16", lr=1e-6).build_algo()
    try:
        before = copy.deepcopy(weights(algo))
        result = algo.train()
        after = weights(algo)
        algo.export_huggingface(tmp_path / "model")
        assert algo.learner_group._learner.module["default_policy"].scorer.share_prompts
        assert algo.env_runner.engine.model.dtype == torch.bfloat16
    finally:
        algo.stop()
    assert result[metrics.UPDATE][metrics.TRAINED_ROWS] > 0
    assert all(value.dtype == np.float32 for value in after.values())
    moved = np.concatenate([(after[name] != before[name]).ravel() for name in before])
    assert moved.mean() > 0.9  # in 16 bits a step of 1e-6 would leave nearly all as they are
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").dtype == torch.bfloat16
