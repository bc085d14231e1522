"""Samples of a base model at several temperatures, and their sums: what `forecast` is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from aepo_rllib.algorithms.aepo import AEPOConfig
from aepo_rllib.doctor.forecast import Level, Sums
from aepo_rllib.envs.grading import Grader
from aepo_rllib.envs.problems import Problem
from aepo_rllib.envs.prompts import form_of, get_template
from aepo_rllib.models.hf import load_tokenizer, stop_ids
from aepo_rllib.models.prompting import PromptEncoder
from aepo_rllib.objectives.advantages import Advantage, Graded, group_normalised, positive_reward
from aepo_rllib.objectives.entropy_pull import Kinds, entropy_pull, kinds_of_tokens
from aepo_rllib.rollout import Completion, Prompt
from aepo_rllib.rollout.transformers import TransformersEngine

TAUS = (0.5, 0.7, 1.0, 1.3, 1.7)
"""Temperatures at which the base model stands in for what training may make of it."""
LOGITS_AT_ONCE = 2**23
FEWEST = 2
"""Problems that a bootstrap needs."""


@dataclass(frozen=True)
class Sampled:
    """Levels, and what is known of the base model's kinds of tokens.

    Attributes:
        levels: By temperature.
        kinds: At tau = 1.
        names: The tokens, by id.
        correct: Share of correct completions at tau = 1.
        length: Mean tokens of a completion there.
    """

    levels: list[Level]
    kinds: Kinds
    names: list[str]
    correct: float
    length: float


def sample_levels(
    config: AEPOConfig, *, count: int = 64, seed: int = 0, on_level: Callable[[float], None] | None = None
) -> Sampled:
    """Sample a model at every level, with GRPO's stream and the tempered ones of a config.

    Nothing is trained: completions are sampled by the Transformers engine, graded, and read once more by the model.

    Args:
        config: Its model, problems, template, group size, length and temperatures.
        count: Problems; all of them where there are fewer.
        seed: Of their choice and of the completions.
        on_level: Called with every temperature that is begun.

    Raises:
        aepo_rllib.models.hf.ModelError: the model cannot be read.
        ValueError: settings that do not fit the model, or fewer than two problems.
    """
    config.validate()
    bench = _Bench(config, count, seed)
    levels, base = [], None
    with bench.grader:
        for place, tau in enumerate(TAUS):
            if on_level:
                on_level(tau)
            streams = {
                "main": bench.stream(tau, tau, group_normalised, (seed, place, 0), kinds=tau == 1),
                "hot": bench.stream(tau, tau * config.temperature_high, positive_reward, (seed, place, 1)),
                "cold": bench.stream(tau, tau * config.temperature_low, positive_reward, (seed, place, 2)),
            }
            levels.append(Level(tau, **{name: stream.sums for name, stream in streams.items()}))
            base = streams["main"] if tau == 1 else base
    assert base is not None
    assert base.kinds is not None
    names = [str(bench.tokenizer.decode([token])) for token in range(len(base.kinds.z))]
    correct, tokens = base.sums.correct, base.sums.tokens
    return Sampled(levels, base.kinds, names, float(correct.mean()), float(tokens.mean()) / config.group_size)


@dataclass(frozen=True)
class _Stream:
    sums: Sums
    kinds: Kinds | None


class _Bench:
    """Everything that completions are sampled, graded and scored with."""

    def __init__(self, config: AEPOConfig, count: int, seed: int) -> None:
        path, template = config.model_path, config.env_config.get("template", "plain")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.config, self.template = config, get_template(template)
        self.form = form_of(template, config.env_config.get("answer_form"))
        self.tokenizer = load_tokenizer(path)
        self.encoder = PromptEncoder(self.tokenizer, self.template)
        self.problems = _chosen(config, count, seed)
        self.prompts = [self.encoder.encode(self.template.render(p.text), p.turns) for p in self.problems]
        self.engine = TransformersEngine.from_pretrained(path, dtype=config.dtype, device=device)
        self.stops = stop_ids(path, self.tokenizer)
        self.grader = Grader()

    def stream(
        self, tau: float, temperature: float, advantage: Advantage, key: tuple[int, ...], *, kinds: bool = False
    ) -> _Stream:
        """Completions drawn at a temperature, and what they do to pi^tau."""
        size = self.config.group_size
        prompts = [
            Prompt(ids, [(*key, slot, n) for n in range(size)], temperature) for slot, ids in enumerate(self.prompts)
        ]
        groups = self.engine.generate(prompts, max_new_tokens=self.config.max_new_tokens, stop_ids=self.stops)
        graded = self._graded(groups)
        pull_PG, entropy_PG, tokens_PG = (torch.zeros(len(groups), size, dtype=torch.float64) for _ in range(3))
        vocabulary = self.engine.model.get_output_embeddings().weight.shape[0]
        surprises_PGV = torch.zeros(len(groups), size, vocabulary) if kinds else None
        spread_V = torch.zeros(vocabulary, dtype=torch.float64)
        for place, rows, logp_NTV, ids_NT, real_NT in self._scored(groups, tau):
            probs_NTV = logp_NTV.exp() * real_NT.unsqueeze(-1)
            parts_NTV = -probs_NTV * logp_NTV.masked_fill(probs_NTV == 0, 0.0)
            entropy_PG[place, rows] = parts_NTV.sum((1, 2)).double().cpu()
            pull_PG[place, rows] = (entropy_pull(logp_NTV, ids_NT) * real_NT).sum(1).double().cpu()
            tokens_PG[place, rows] = real_NT.sum(1).double().cpu()
            if surprises_PGV is not None:
                taken_NV = torch.zeros_like(probs_NTV[:, 0]).scatter_add_(1, ids_NT, real_NT.to(probs_NTV.dtype))
                surprises_PGV[place, rows] = (taken_NV - probs_NTV.sum(1)).cpu()
                spread_V += parts_NTV.sum((0, 1)).double().cpu()
        pull_PG *= advantage(graded)
        pull, entropy, tokens = (figure.sum(1).numpy() for figure in (pull_PG, entropy_PG, tokens_PG))
        sums = Sums(pull, entropy, tokens, (graded.rewards_PG > 0).double().mean(1).numpy())
        found = None if surprises_PGV is None else kinds_of_tokens(surprises_PGV, spread_V, graded.rewards_PG.float())
        return _Stream(sums, found)

    def _graded(self, groups: Sequence[Sequence[Completion]]) -> Graded:
        problems = [problem for problem, group in zip(self.problems, groups, strict=True) for _ in group]
        texts = [self.encoder.decode(completion.token_ids) for group in groups for completion in group]
        grades = self.grader.grade_batch(problems, texts, form=self.form)
        shape = (len(groups), -1)
        rewards = torch.tensor([grade.reward for grade in grades], dtype=torch.float64).reshape(shape)
        return Graded(rewards, torch.tensor([grade.verdict.usable for grade in grades]).reshape(shape))

    @torch.inference_mode()
    def _scored(
        self, groups: Sequence[Sequence[Completion]], tau: float
    ) -> Iterator[tuple[int, slice, torch.Tensor, torch.Tensor, torch.Tensor]]:
        """(problem, samples, log pi^tau (N, T, V), token ids (N, T), which of them are real) of all completions."""
        model = self.engine.model
        for place, group in enumerate(groups):
            prompt, longest = self.prompts[place], max(map(len, group))
            most = max(1, LOGITS_AT_ONCE // (model.get_output_embeddings().weight.shape[0] * longest))
            for first in range(0, len(group), most):
                some = group[first : first + most]
                padded = [[*prompt, *row.token_ids, *[0] * (longest - len(row))] for row in some]
                ids = torch.tensor(padded, device=model.device)
                logits = model(input_ids=ids[:, :-1], use_cache=False, logits_to_keep=longest).logits
                real = torch.arange(longest) < torch.tensor([len(row) for row in some]).unsqueeze(-1)
                logp = (logits.float() / tau).log_softmax(-1)
                yield place, slice(first, first + len(some)), logp, ids[:, len(prompt) :], real.to(model.device)


def _chosen(config: AEPOConfig, count: int, seed: int) -> list[Problem]:
    problems = config.load_problems()
    if len(problems) < FEWEST:
        source = config.env_config.get("problems")
        raise ValueError(f"problems={source!r} has {len(problems)}, and a forecast compares {FEWEST} or more")
    order = np.random.default_rng(seed).permutation(len(problems))[:count]
    return [problems[int(place)] for place in order]
