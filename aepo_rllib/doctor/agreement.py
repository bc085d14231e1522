"""Checks of the user's own model: does it train here as the method assumes?

Real completions of a few problems go through the real engine and the real learner, in this process and without Ray's
cluster. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec

from aepo_rllib import metrics
from aepo_rllib.algorithms.aepo import AEPOConfig
from aepo_rllib.envs.problems import load_problems
from aepo_rllib.envs.prompts import get_template
from aepo_rllib.experience.dealing import Mean, deal
from aepo_rllib.experience.passes import PassLimit, passes_of
from aepo_rllib.experience.rows import Row, RowGroups
from aepo_rllib.learning.importance import scored
from aepo_rllib.learning.learner import CausalLMLearner
from aepo_rllib.learning.optimizer_step import train_batch
from aepo_rllib.learning.selecting import selected
from aepo_rllib.models.hf import load_tokenizer, stop_ids
from aepo_rllib.models.prompting import PromptEncoder
from aepo_rllib.objectives.parts import Term
from aepo_rllib.rollout import Prompt, make_engine
from aepo_rllib.training.config import TextRLConfig

GROUPS, GROUP_SIZE = 6, 4
LEARNERS, PASSES = (1, 2, 3), (1, 2, 3)
RATIO_BOUND = {"float32": 1e-3, "float64": 1e-3}
GRADIENT_BOUND = {"float32": 1e-4, "float64": 1e-5}
SIXTEEN_BIT_BOUND = 0.5


class Finding(NamedTuple):
    """One checked figure.

    Attributes:
        check: What was looked at.
        figure: What came out.
        bound: Largest figure that is fine.
    """

    check: str
    figure: float
    bound: float

    @property
    def fine(self) -> bool:
        """Whether the figure is within its bound; NaN is not."""
        return self.figure <= self.bound


class _Probe(CausalLMLearner):
    """A learner that keeps its gradient instead of taking the step."""

    def apply_gradients(self, gradients_dict: dict[str, torch.Tensor]) -> None:
        self.gradient = torch.cat([gradient.flatten() for gradient in gradients_dict.values()]).double()


def examine(
    model: str,
    *,
    dtype: str = "float32",
    problems: str = "arithmetic",
    template: str = "plain",
    max_new_tokens: int = 64,
    method: type[TextRLConfig] = AEPOConfig,
) -> Iterator[Finding]:
    """Check a model, finding by finding.

    The first is the largest |pi/pi_old - 1| of freshly sampled tokens. The others are the relative difference between
    the gradient of one padded pass and that of so many learners: the worst over 1 to 3 passes, padded rows and shared
    prompts, and two orders of groups and rows.

    Args:
        model: Hugging Face folder or id, or "embedded".
        dtype: As `AEPOConfig.language_model` takes it.
        problems: Source of the problems to complete.
        template: Name of the prompt template.
        max_new_tokens: Longest completion.
        method: Config class of the method whose loss it is.

    Raises:
        aepo_rllib.models.hf.ModelError: the model cannot be read.
        ValueError: unknown problems, template or dtype.
    """
    config = method().language_model(model_path=model, dtype=dtype)
    config.problems(problems=problems, template=template)
    config.sampling(max_new_tokens=max_new_tokens).training(grad_clip=None).evaluation(evaluation_interval=None)
    config.validate()
    streams = _sampled_rows(config, problems, template)
    shared, padded = _learner(config, share_prompts=True), _learner(config, share_prompts=False)
    streams = {name: _scored(rows, config.method().terms_of(name), padded) for name, rows in streams.items()}
    whole, deviation = _gradient(padded, streams, learners=1, passes=1)
    yield Finding("log-probs, engine against learner", deviation, RATIO_BOUND.get(dtype, SIXTEEN_BIT_BOUND))
    bound = GRADIENT_BOUND.get(dtype, SIXTEEN_BIT_BOUND)
    for learners in LEARNERS:
        errors = []
        for passes, learner, given in product(PASSES, (shared, padded), (streams, _reversed(streams))):
            gradient, _ = _gradient(learner, given, learners=learners, passes=passes)
            errors.append(float((gradient - whole).norm() / whole.norm()))
        yield Finding(f"gradient, {learners} learner{'s' * (learners > 1)}", max(errors), bound)


def _sampled_rows(config: TextRLConfig, source: str, template: str) -> dict[str, RowGroups]:
    """Completions as rows of the method's streams, with advantages drawn at random."""
    tokenizer = load_tokenizer(config.model_path)
    encoder = PromptEncoder(tokenizer, get_template(template))
    engine = make_engine(config.engine, config.model_path, dtype=config.dtype)
    chosen = list(load_problems(source))[: 2 * GROUPS]
    prompts = [
        Prompt(
            encoder.encode(get_template(template).render(problem.text), problem.turns),
            [(0, slot, n) for n in range(GROUP_SIZE)],
        )
        for slot, problem in enumerate(chosen)
    ]
    groups = engine.generate(
        prompts,
        max_new_tokens=config.max_new_tokens,
        stop_ids=stop_ids(config.model_path, tokenizer),
    )
    generator = np.random.default_rng(0)
    streams = config.method().streams
    dealt: dict[str, RowGroups] = {name: [] for name in streams}
    for slot, (prompt, completions) in enumerate(zip(prompts, groups, strict=True)):
        place = slot % len(streams)
        name, stream = list(streams.items())[place]
        draws = generator.integers(2, size=len(completions)) if stream.tempered else generator.normal(size=GROUP_SIZE)
        dealt[name].append(
            [
                Row(prompt.token_ids, completion.token_ids, completion.policy_logp, float(advantage), place)
                for completion, advantage in zip(completions, draws, strict=True)
            ]
        )
    return dealt


def _scored(groups: RowGroups, terms: Mapping[str, Term], learner: _Probe) -> RowGroups:
    """The rows with what their terms read of other policies than the one that learns."""
    return scored(groups, terms.values(), learner, cap=None, temperature=1.0)


def _reversed(streams: Mapping[str, RowGroups]) -> dict[str, RowGroups]:
    return {name: [group[::-1] for group in groups[::-1]] for name, groups in streams.items()}


def _learner(config: TextRLConfig, *, share_prompts: bool) -> _Probe:
    own = config.copy(copy_frozen=False).language_model(share_prompts=share_prompts)
    spec = MultiRLModuleSpec(rl_module_specs={DEFAULT_MODULE_ID: own.get_default_rl_module_spec()})
    learner = _Probe(config=own, module_spec=spec)
    learner.build()
    return learner


def _gradient(
    learner: _Probe, streams: Mapping[str, RowGroups], *, learners: int, passes: int
) -> tuple[torch.Tensor, float]:
    """The gradient that so many learners would average to, and the largest deviation of a ratio from 1."""
    [shares] = deal(
        streams,
        learner.config.method(),
        Mean(learner.config.aggregation, learner.config.max_new_tokens, learner.config.micro_batch_size),
        updates=1,
        learners=learners,
    )
    shares = selected(shares, learner.config.method(), learner, torch.Generator().manual_seed(0))
    gradients, deviations = [], []
    for rows in shares:
        [parts] = passes_of([rows], PassLimit(rows=max(-(-len(rows) // passes), 1)))
        results = learner.update(training_data=TrainingData(batch=train_batch(parts)))
        gradients.append(learner.gradient)
        deviations.append(float(results[DEFAULT_MODULE_ID][metrics.RATIO_MAX_DEVIATION].peek()))
    return torch.stack(gradients).mean(0), max(deviations)
