"""`CausalLMLearner`: what the losses of a method are shown, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from aepo_rllib import GRPOConfig, metrics
from aepo_rllib.algorithms import ALGORITHMS
from aepo_rllib.columns import Columns
from aepo_rllib.envs.text_env import ACTION_SPACE, OBSERVATION_SPACE
from aepo_rllib.experience.dealing import Mean, deal
from aepo_rllib.experience.rows import Row, columns_of
from aepo_rllib.learning.batches import LIVE_COLUMNS
from aepo_rllib.learning.learner import CausalLMLearner
from aepo_rllib.objectives.advantages import group_normalised
from aepo_rllib.objectives.entropy import token_statistics
from aepo_rllib.objectives.losses import clipped, entropy, kl_to_reference, reinforce
from aepo_rllib.objectives.parts import MAIN, OPTIONAL, Method, Stream, Term, Tokens, reads
from aepo_rllib.training.config import TextRLConfig

NAN = float("nan")
VOCABULARY = 5
MAIN_TERM, BONUS, KL = Term(clipped), Term(entropy, coefficient=-0.2), Term(kl_to_reference, coefficient=0.5)


class NotingBigram(TorchRLModule):
    """The logits that follow a token are its row of a table. Notes what it is asked; padding is NaN."""

    def setup(self) -> None:
        self.table = torch.nn.Parameter(torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(0)))
        self.asked: list[set[str]] = []

    def _forward(self, batch: dict[str, torch.Tensor], *, reads: Any = (), **kwargs: Any) -> dict[str, torch.Tensor]:
        self.asked.append(set(reads))
        ids = torch.cat([batch[Columns.PROMPT_IDS], batch[Columns.COMPLETION_IDS]], dim=1)
        start = batch[Columns.PROMPT_IDS].shape[1]
        statistics = token_statistics(self.table[ids[:, start - 1 : -1]], batch[Columns.COMPLETION_IDS], LIVE_COLUMNS)
        figures = {Columns.POLICY_LOGP: statistics.logp, Columns.ENTROPY: statistics.entropy}
        figures[Columns.CORE_ENTROPY] = statistics.core_entropy
        figures[Columns.HEATED_LOGP] = statistics.logp  # every row is of T = 1 here
        # Added, so that a gradient of padding reaches the table.
        padding = torch.zeros_like(statistics.logp).masked_fill(~batch[Columns.COMPLETION_MASK], NAN)
        return {name: figures[name] + padding for name in (Columns.POLICY_LOGP, *reads)}


class KeepingLearner(CausalLMLearner):
    """Keeps the gradient of an update instead of taking the step."""

    def apply_gradients(self, gradients_dict: dict[str, torch.Tensor]) -> None:
        [self.gradient] = (gradient.clone() for gradient in gradients_dict.values())


def config_of(method: Method) -> GRPOConfig:
    """A config with any method."""

    class Config(GRPOConfig):
        def method(self) -> Method:
            return method

    return Config().training(grad_clip=None)


def method_of(**terms: Term) -> Method:
    return Method({MAIN: Stream(group_normalised)}, terms)


def learner_of(config: TextRLConfig, spec: RLModuleSpec | None = None) -> KeepingLearner:
    module = spec or RLModuleSpec(NotingBigram, OBSERVATION_SPACE, ACTION_SPACE)
    learner = KeepingLearner(config=config, module_spec=MultiRLModuleSpec(rl_module_specs={DEFAULT_MODULE_ID: module}))
    learner.build()
    return learner


def rows(advantages: Any = (0.5, -1.0, 0.0, 2.0)) -> list[Row]:
    """Rows of 1 to 4 tokens, each with its log-probs under a reference."""
    generator = np.random.default_rng(0)
    return [
        Row(
            [1],
            generator.integers(VOCABULARY, size=n + 1),
            -generator.random(n + 1),
            advantage,
            ref_logp=-generator.random(n + 1),
        )
        for n, advantage in enumerate(advantages)
    ]


def update(
    learner: KeepingLearner, given: list[Row], *, spoil: Callable[[dict[str, np.ndarray]], None] | None = None
) -> dict[str, float]:
    """The figures of one optimizer step on the rows."""
    columns = columns_of(given)
    if spoil is not None:
        spoil(columns)
    batch = MultiAgentBatch({DEFAULT_MODULE_ID: SampleBatch(columns)}, env_steps=max(len(given), 1))
    figures = learner.update(training_data=TrainingData(batch=batch))[DEFAULT_MODULE_ID]
    return {name: float(value.peek()) for name, value in figures.items()}


def step(method: Method, given: list[Row], **options: Any) -> tuple[dict[str, float], torch.Tensor]:
    """Figures and gradient of one optimizer step on the rows, dealt first."""
    learner = learner_of(config_of(method))
    [[dealt]] = deal({MAIN: [given]}, method, Mean("token-mean", 4), updates=1, learners=1, **options)
    return update(learner, dealt), learner.gradient


# --- One pass for all terms ---------------------------------------------------------------------------------------


def test_several_terms_over_a_stream_read_one_forward_pass() -> None:
    shown: list[Tokens] = []

    @reads("entropy")
    def looking(t: Tokens) -> torch.Tensor:
        shown.append(t)
        return t.logp

    terms = {"a": Term(looking), "b": Term(looking), "bonus": BONUS}
    method = method_of(**terms)
    learner = learner_of(config_of(method))
    [[dealt]] = deal({MAIN: [rows()]}, method, Mean("token-mean", 4), updates=1, learners=1)
    update(learner, dealt)
    assert learner.module[DEFAULT_MODULE_ID].asked == [{Columns.ENTROPY}]
    first, second = shown
    assert first.logp is second.logp
    assert first.entropy is second.entropy


def test_the_gradient_of_several_terms_is_the_sum_of_theirs() -> None:
    alone = {name: step(method_of(**{name: term}), rows()) for name, term in (("a", MAIN_TERM), ("b", BONUS))}
    figures, gradient = step(method_of(a=MAIN_TERM, b=BONUS), rows())
    torch.testing.assert_close(gradient, alone["a"][1] + alone["b"][1])
    for name, (own, _) in alone.items():
        assert figures[metrics.loss_of(name)] == pytest.approx(own[metrics.loss_of(name)], rel=1e-6)
    assert figures["total_loss"] == pytest.approx(sum(own["total_loss"] for own, _ in alone.values()), rel=1e-6)


def test_a_terms_metric_has_its_coefficient_in_it() -> None:
    method = method_of(main=MAIN_TERM, bonus=BONUS)
    (once, _), (thrice, _) = (step(method, rows(), coefficients={"bonus": c}) for c in (-0.2, -0.6))
    name = metrics.loss_of("bonus")
    assert once[name] < 0
    assert thrice[name] == pytest.approx(3 * once[name], rel=1e-6)
    assert thrice[metrics.loss_of(MAIN)] == once[metrics.loss_of(MAIN)]


# --- What is shown ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "asked", "there"),
    [
        ((), set(), set()),
        (("old_logp",), set(), {"old_logp"}),
        (("entropy",), {Columns.ENTROPY}, {"entropy"}),
        (("ref_logp",), set(), {"ref_logp"}),
        (("ref_logp", "entropy"), {Columns.ENTROPY}, {"ref_logp", "entropy"}),
    ],
)
def test_a_loss_is_shown_what_it_reads_and_nothing_else(
    fields: tuple[str, ...], asked: set[str], there: set[str]
) -> None:
    shown: list[Tokens] = []

    @reads(*fields)
    def looking(t: Tokens) -> torch.Tensor:
        shown.append(t)
        return t.logp

    method = method_of(main=Term(looking))
    learner = learner_of(config_of(method))
    [[dealt]] = deal({MAIN: [rows()]}, method, Mean("token-mean", 4), updates=1, learners=1)
    update(learner, dealt)
    [t] = shown
    assert learner.module[DEFAULT_MODULE_ID].asked == [asked]
    assert {name for name in OPTIONAL if getattr(t, name) is not None} == there
    assert t.logp.requires_grad
    assert not t.advantage.requires_grad
    assert t.old_logp is None or not t.old_logp.requires_grad


def test_an_advantage_for_every_token_reaches_the_loss_as_it_is() -> None:
    """REINFORCE by hand: the gradient on the table is minus the weighted advantages times the scores."""
    advantages = [np.array([0.5]), np.array([-1.0, 2.0]), np.array([0.0, 0.0, 1.0])]
    given = rows(advantages)
    _, gradient_VV = step(method_of(main=Term(reinforce)), given)
    table_VV = torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(0))
    expected_VV = torch.zeros(VOCABULARY, VOCABULARY)
    for row in given:
        contexts = [row.prompt_ids[-1], *row.completion_ids[:-1]]
        for context, token, advantage in zip(contexts, row.completion_ids, row.advantage, strict=True):
            score_V = torch.eye(VOCABULARY)[int(token)] - table_VV[int(context)].softmax(-1)
            expected_VV[int(context)] -= float(advantage) / 6 * score_V
    torch.testing.assert_close(gradient_VV, expected_VV)


def test_padding_may_hold_anything() -> None:
    """What the model gives there is NaN; now the batch's columns are, too."""

    def spoil(columns: dict[str, np.ndarray]) -> None:
        for name in (Columns.OLD_LOGP, Columns.POLICY_LOGP, Columns.ADVANTAGE, Columns.REF_LOGP):
            columns[name] = np.where(columns[Columns.COMPLETION_MASK], columns[name], np.float32(NAN))
        mask_N1T = columns[Columns.COMPLETION_MASK][:, None]
        columns[Columns.FACTOR] = np.where(mask_N1T, np.ones((1, 3, 1), np.float32), np.float32(NAN))

    method = method_of(main=MAIN_TERM, bonus=BONUS, kl=KL)
    [[dealt]] = deal({MAIN: [rows()]}, method, Mean("token-mean", 4), updates=1, learners=1)
    learner = learner_of(config_of(method))
    clean, gradient = update(learner, dealt), learner.gradient
    spoilt = update(learner, dealt, spoil=spoil)
    assert torch.isfinite(gradient).all()
    assert torch.equal(learner.gradient, gradient)
    assert spoilt[metrics.SURPRISAL] == clean[metrics.SURPRISAL] > 0
    for name in ("main", "bonus", "kl"):
        assert spoilt[metrics.loss_of(name)] == clean[metrics.loss_of(name)] != 0


# --- A learner without rows ---------------------------------------------------------------------------------------


class WithKLConfig(GRPOConfig):
    def method(self) -> Method:
        return replace(super().method(), terms={**super().method().terms, "kl": KL})


@pytest.mark.parametrize("kind", [*ALGORITHMS.values(), WithKLConfig], ids=lambda kind: kind.__name__)
def test_a_learner_without_rows_takes_part_in_every_method(kind: type[TextRLConfig]) -> None:
    """Or the other learners would wait for its gradient."""
    config = kind().training(grad_clip=None)
    learner = learner_of(config)
    figures = update(learner, [])
    assert torch.equal(learner.gradient, torch.zeros(VOCABULARY, VOCABULARY))
    assert [figures[metrics.loss_of(name)] for name in config.method().terms] == [0.0] * len(config.method().terms)
    assert (figures[metrics.SURPRISAL], figures[metrics.TRAINED_TOKENS]) == (0, 0)
