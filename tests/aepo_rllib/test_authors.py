"""`aepo_authors` against numbers of the authors' own code: their `fit()` and their `update_policy()`.

Their trainer was driven with scripted rewards and entropies, their actor with a bigram table for a model. Here a real
`AEPO` takes the same steps with scripted completions, and a real `CausalLMLearner` updates the same table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from aepo_rllib import AEPOAuthorsConfig, metrics
from aepo_rllib.algorithms.aepo import TEMPERED
from aepo_rllib.algorithms.entropy_reg import EntropyRegConfig
from aepo_rllib.columns import Columns
from aepo_rllib.envs.text_env import ACTION_SPACE, OBSERVATION_SPACE
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.experience.dealing import Mean, deal
from aepo_rllib.experience.groups import Groups
from aepo_rllib.experience.rows import Row, RowGroups, columns_of
from aepo_rllib.learning.learner import CausalLMLearner
from aepo_rllib.objectives.entropy import token_statistics
from aepo_rllib.objectives.parts import MAIN
from aepo_rllib.rollout import RolloutRequest
from tests.support.goldens import golden_cases, tensor

# --- fit() --------------------------------------------------------------------------------------------------------


def scripted_episode(response_id: int, row: int, reward: float) -> SingleAgentEpisode:
    """A completion as the authors' stub worker group answered it: its first token is its id."""
    length = row % 4 + 1
    outputs = {
        Columns.PROMPT_IDS: [1],
        Columns.COMPLETION_IDS: np.full(length, response_id),
        Columns.POLICY_LOGP: np.full(length, -(response_id % 7 + 1) / 10, dtype=np.float32),
        Columns.BEHAVIOR_LOGP: None,
        Columns.ENTROPY: None,
        Columns.FINISH_REASON: "eos",
    }
    episode = SingleAgentEpisode()
    episode.add_env_reset("", {})
    info = {"verdict": (Verdict.CORRECT if reward > 0 else Verdict.WRONG).value}
    episode.add_env_step("", "", reward, info, terminated=True, extra_model_outputs=outputs)
    return episode


def scripted_groups(first_id: int, rewards: list[float], group_size: int) -> Groups:
    episodes = [scripted_episode(first_id + row, row, reward) for row, reward in enumerate(rewards)]
    return Groups([episodes[start : start + group_size] for start in range(0, len(episodes), group_size)])


def run_fit(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, RowGroups]]:
    """(temperature, rows handed to the learner) of every step of a real AEPO with scripted completions."""
    args, inputs = case["args"], case["inputs"]
    config = (
        AEPOAuthorsConfig()
        .sampling(max_new_tokens=64)
        .training(batch_size=args["n_prompts"], group_size=args["rollout_n"])
        .tempered_term(replace_rows=args["reinforce_sample_num"])
        .entropy_control(
            target_entropy=args["entropy_base"],
            temperature_high=args["temperature_high"],
            temperature_low=args["temperature_low"],
        )
        .evaluation(evaluation_interval=None)
    )
    algo = config.build_algo()
    algo.base_entropy = 1.0
    seen: list[tuple[float, RowGroups]] = []

    def sample(*requests: RolloutRequest) -> list[Groups]:
        main, tempered = requests
        step = algo.train_steps
        assert (main.purpose.name, main.temperature, tempered.purpose.name) == (MAIN, 1.0, TEMPERED)
        assert len(tempered.problems) == args["n_prompts"] // 4
        seen.append((tempered.temperature, []))
        return [
            scripted_groups(1000 * (step + 1), inputs["main_rewards"][step], args["rollout_n"]),
            scripted_groups(1000 * (step + 1) + 500, inputs["tempered_rewards"][step], args["rollout_n"]),
        ]

    def learn_rows(streams: dict[str, RowGroups]) -> None:
        seen[-1][1].extend(streams[MAIN])
        assert len(streams) == 1
        algo.update_surprisal = inputs["entropy_after_step"][algo.train_steps]

    monkeypatch.setattr(algo, "_sample", sample)
    monkeypatch.setattr(algo, "learn_rows", learn_rows)
    try:
        for _ in inputs["main_rewards"]:
            algo.train()
    finally:
        algo.stop()
    return seen


@pytest.mark.parametrize(
    "case",
    [*golden_cases("aepo_official", "fit_aepo_composition"), *golden_cases("aepo_official", "fit_aepo_sample_cap")],
)
def test_every_step_is_the_authors(ray_cluster: None, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    steps = run_fit(case, monkeypatch)
    assert len(steps) == len(case["outputs"]["steps"])
    for (temperature, groups), expected in zip(steps, case["outputs"]["steps"], strict=True):
        rows = [row for group in groups for row in group]
        assert temperature == expected["temperature"]
        assert [int(row.completion_ids[0]) for row in rows] == expected["response_ids"]
        assert [len(row.completion_ids) for row in rows] == expected["lengths"]
        assert [row.advantage for row in rows] == pytest.approx(expected["advantages"], abs=1e-4)
        assert [float(row.policy_logp[0]) for row in rows] == pytest.approx(expected["old_log_prob"])
        replaced = [response_id % 1000 >= 500 for response_id in expected["response_ids"]]
        assert [(row.stream, row.tempered) for row in rows] == [(0, tempered) for tempered in replaced]


@pytest.mark.parametrize("case", golden_cases("aepo_official", "fit_aepo_no_positive"))
def test_without_a_positive_the_authors_crash_and_we_take_a_plain_grpo_step(
    case: dict[str, Any], ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "NoneType" in case["outputs"]["error"]
    [(_, groups)] = run_fit(case, monkeypatch)
    assert [int(row.completion_ids[0]) for group in groups for row in group] == list(range(1000, 1024))


# --- update_policy() ----------------------------------------------------------------------------------------------


class BigramModule(TorchRLModule):
    """The logits that follow a token are its row of a table."""

    def setup(self) -> None:
        self.table = torch.nn.Parameter(torch.tensor(self.model_config["logits"]))

    def _forward(self, batch: dict[str, torch.Tensor], **kwargs: Any) -> dict[str, torch.Tensor]:
        ids = torch.cat([batch[Columns.PROMPT_IDS], batch[Columns.COMPLETION_IDS]], dim=1)
        start = batch[Columns.PROMPT_IDS].shape[1]
        statistics = token_statistics(self.table[ids[:, start - 1 : -1]], batch[Columns.COMPLETION_IDS])
        return {Columns.POLICY_LOGP: statistics.logp, Columns.ENTROPY: statistics.entropy}


class SGDLearner(CausalLMLearner):
    """The learner with the optimizer of the golden runs."""

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        parameters = self.get_parameters(self._module[module_id])
        self.register_optimizer(
            module_id=module_id,
            optimizer=torch.optim.SGD(parameters),
            params=parameters,
            lr_or_lr_schedule=config.lr,
        )


class WithSampledEntropyLoss(EntropyRegConfig, AEPOAuthorsConfig):
    """The authors' `use_entropy_loss`: minus a coefficient times the mean surprisal, Entropy-Reg's sampled form."""

    entropy_coefficient, entropy_estimator = 0.03, "sampled"


def golden_rows(case: dict[str, Any]) -> RowGroups:
    inputs, start = case["inputs"], case["inputs"]["prompt_len"]
    rows = []
    for ids, mask, advantage, old_logp in zip(
        inputs["input_ids"],
        inputs["attention_mask"],
        inputs["advantages"],
        case["outputs"]["old_log_prob"],
        strict=True,
    ):
        length = sum(mask) - start
        completion = np.array(ids[start : start + length])
        rows.append([Row(ids[:start], completion, np.array(old_logp[:length], np.float32), advantage)])
    return rows


@pytest.mark.parametrize("case", golden_cases("aepo_official", "update_policy"))
def test_the_learner_updates_a_table_as_the_authors_actor_does(case: dict[str, Any]) -> None:
    args, main = case["args"], golden_rows(case)
    config = (WithSampledEntropyLoss if args["use_entropy_loss"] else AEPOAuthorsConfig)().training(
        lr=args["lr"],
        grad_clip=args["max_grad_norm"],
        clip_low=args["clip_ratio_low"],
        clip_high=args["clip_ratio_high"],
        dual_clip=args["clip_ratio_dual"],
        micro_batch_size=args["micro_batch"],
        updates_per_batch=len(main) // args["mini_batch"],
        num_epochs=args["ppo_epochs"],
    )
    module = RLModuleSpec(
        BigramModule, OBSERVATION_SPACE, ACTION_SPACE, model_config={"logits": case["inputs"]["bigram_logits"]}
    )
    learner = SGDLearner(config=config, module_spec=MultiRLModuleSpec(rl_module_specs={DEFAULT_MODULE_ID: module}))
    learner.build()
    mean = Mean(config.aggregation, 4, config.micro_batch_size)
    steps = deal(
        {MAIN: main},
        config.method(),
        mean,
        updates=config.updates_per_batch,
        learners=1,
        skip_flat_rows=config.skip_flat_rows,
    )
    expected = {name: np.array(values) for name, values in case["outputs"]["metrics"].items()}
    micro_batches = args["mini_batch"] // args["micro_batch"]
    for update, [rows] in enumerate(steps * config.num_epochs):
        batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns_of(rows))}, env_steps=len(rows))
        figures = learner.update(training_data=TrainingData(batch=batch))[DEFAULT_MODULE_ID]
        own = slice(update * micro_batches, (update + 1) * micro_batches)
        loss = expected["actor/pg_loss"][own].mean()  # with the entropy term where there is one
        assert figures["total_loss"].peek() == pytest.approx(loss, abs=1e-5)
        surprisal = expected["actor/entropy_loss"][own].mean()
        assert figures[metrics.SURPRISAL].peek() == pytest.approx(surprisal, abs=1e-5)
        norm = figures["gradients_default_optimizer_global_norm"].peek()
        assert norm == pytest.approx(expected["actor/grad_norm"][update], abs=1e-5)
    table = learner.module[DEFAULT_MODULE_ID].table.detach().double()
    torch.testing.assert_close(table, tensor(case, "bigram_logits_after"), atol=1e-5, rtol=0)
