"""Groups of graded episodes, and the figures that an algorithm reads off them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aepo_rllib import metrics
from aepo_rllib.columns import Columns
from aepo_rllib.envs.verdict import Verdict
from aepo_rllib.experience.diversity import diversity_figures
from aepo_rllib.objectives.advantages import Graded

if TYPE_CHECKING:
    from ray.rllib.env.single_agent_episode import SingleAgentEpisode


class Groups:
    """The G episodes of each of P prompts.

    Attributes:
        episodes_PG: By slot, then by sample.
        rewards_PG: Return of every episode.
        usable_PG: False where a grader timed out or crashed: such episodes leave baseline and loss, but stay in
            every entropy estimate.
    """

    def __init__(self, episodes_PG: Sequence[Sequence[SingleAgentEpisode]]) -> None:
        self.episodes_PG = episodes_PG
        shape = (len(episodes_PG), -1) if episodes_PG else (0, 0)
        rewards = [float(episode.get_return()) for episode in self.episodes]
        self.rewards_PG = torch.tensor(rewards).reshape(shape)
        usable = [verdict_of(episode).usable for episode in self.episodes]
        self.usable_PG = torch.tensor(usable, dtype=torch.bool).reshape(shape)

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.episodes_PG)

    def __add__(self, other: Groups) -> Groups:
        """These groups, then the others."""
        return Groups([*self.episodes_PG, *other.episodes_PG])

    def __getitem__(self, places: slice) -> Groups:
        """Some of the groups, such as the first ones."""
        return Groups(self.episodes_PG[places])

    def where(self, mask_P: torch.Tensor) -> Groups:
        """The groups where the mask is True, in their order."""
        return Groups([group for group, kept in zip(self.episodes_PG, mask_P.tolist(), strict=True) if kept])

    @property
    def episodes(self) -> Iterator[SingleAgentEpisode]:
        """All episodes."""
        return (episode for group in self.episodes_PG for episode in group)

    def entropy(self, source: str) -> float:
        """Mean entropy by the named estimator: over all tokens, in nats per token; of a part of them per completion.

        Raises:
            ValueError: exact entropy of completions whose engine sees no logits.
        """
        if source == metrics.SAMPLED_SURPRISAL:
            return float(-np.concatenate(list(self._outputs(Columns.POLICY_LOGP))).mean(dtype=np.float64))
        if source in (metrics.CONTENT_SURPRISAL, metrics.STYLE_SURPRISAL):
            return self._surprisal_of(content=source == metrics.CONTENT_SURPRISAL)
        entropy = self.mean(Columns.ENTROPY)
        if entropy is None:
            raise ValueError(f"this rollout engine gives no {source}; use {metrics.SAMPLED_SURPRISAL}")
        return entropy

    def _surprisal_of(self, *, content: bool) -> float:
        """Mean over completions of the surprisal of their content, or of all else, in nats per completion.

        In expectation over a policy's own tokens the two are what numbers and operators, and what all other tokens have
        in the exact entropy: the sum over states of -pi log pi of theirs.
        """
        pairs = zip(self._outputs(Columns.POLICY_LOGP), self._outputs(Columns.CONTENT), strict=True)
        total = sum(float(logp[mask == content].sum(dtype=np.float64)) for logp, mask in pairs)
        return -total / self.rewards_PG.numel()

    def mean(self, column: str) -> float | None:
        """Mean over all tokens of a figure that engines give; None where this one does not."""
        if not self._tell(column):
            return None
        figures = list(self._outputs(column))
        if any(figure is None for figure in figures):
            return None
        return float(np.concatenate(figures).mean(dtype=np.float64))

    @property
    def positive_share(self) -> float | None:
        """Share of the judged completions that are rewarded; None where none was judged."""
        judged = self.rewards_PG[self.usable_PG]
        return float((judged > 0).float().mean()) if len(judged) else None

    @property
    def log_importance_PG(self) -> torch.Tensor | None:
        """log pi(o) - log of the law each completion was drawn from, summed over its tokens; None where not told."""
        rows = []
        for episode in self.episodes:
            policy = episode.get_extra_model_outputs(Columns.POLICY_LOGP)
            behavior = episode.get_extra_model_outputs(Columns.BEHAVIOR_LOGP)
            if any(logp is None for logp in behavior):
                return None
            rows.append(float(np.concatenate(policy).sum() - np.concatenate(behavior).sum()))
        return torch.tensor(rows).reshape(self.rewards_PG.shape)

    def graded(self) -> Graded:
        """What an advantage may read."""
        return Graded(self.rewards_PG, self.usable_PG, self._lengths, lambda: self.log_importance_PG)

    def advantage_figures(self, advantages_PG: torch.Tensor) -> dict[str, float]:
        """What is logged of a stream's advantages (P, G)."""
        return {
            metrics.FLAT_GROUP_SHARE: (advantages_PG == 0).all(dim=1).float().mean().item(),
            metrics.POSITIVES: int(((advantages_PG > 0) & self.usable_PG).sum()),
        }

    def figures(self) -> dict[str, float]:
        """What is logged of a stream, see docs/metrics.md."""
        verdicts = [verdict_of(episode) for episode in self.episodes]
        finished = list(self._outputs(Columns.FINISH_REASON))
        lengths = [len(ids) for ids in self._outputs(Columns.COMPLETION_IDS)]
        judged = self.rewards_PG[self.usable_PG]
        figures = {
            metrics.REWARD_MEAN: float(judged.mean()) if len(judged) else 0.0,
            metrics.SAMPLED_SURPRISAL: self.entropy(metrics.SAMPLED_SURPRISAL),
            metrics.COMPLETION_TOKENS: float(np.mean(lengths)),
            metrics.TRUNCATED_SHARE: finished.count("length") / len(finished),
        }
        if self._tell(Columns.CONTENT):
            figures |= {source: self.entropy(source) for source in (metrics.CONTENT_SURPRISAL, metrics.STYLE_SURPRISAL)}
        if next(self._outputs(Columns.ENTROPY)) is not None:
            figures[metrics.EXACT_ENTROPY] = self.entropy(metrics.EXACT_ENTROPY)
            measured = {metrics.ENTROPY_SLOPE: Columns.LOGIT_VARIANCE, metrics.TEMPERING_GAIN: Columns.TEMPERING_GAIN}
            means = {name: self.mean(column) for name, column in measured.items()}
            figures |= {name: mean for name, mean in means.items() if mean is not None}
        for verdict in Verdict:
            figures[metrics.verdict_share(verdict)] = verdicts.count(verdict) / len(verdicts)
        return figures | diversity_figures(self.episodes_PG, verdicts)

    def _tell(self, column: str) -> bool:
        """Whether all episodes have this output."""
        return all(column in episode.extra_model_outputs for episode in self.episodes)

    def _lengths(self) -> torch.Tensor:
        lengths = [sum(map(len, e.get_extra_model_outputs(Columns.COMPLETION_IDS))) for e in self.episodes]
        return torch.tensor(lengths).reshape(self.rewards_PG.shape)

    def _outputs(self, name: str) -> Iterator[Any]:
        """An extra model output of every step of every episode."""
        for episode in self.episodes:
            yield from episode.get_extra_model_outputs(name)


def verdict_of(episode: SingleAgentEpisode) -> Verdict:
    """The verdict on an episode; environments that give none are taken at their reward."""
    info = episode.get_infos(-1)
    if "verdict" in info:
        return Verdict(info["verdict"])
    return Verdict.CORRECT if episode.get_return() > 0 else Verdict.WRONG


def problem_of(episode: SingleAgentEpisode) -> str:
    """The id of the problem that an episode answers; "?" where the environment gives none."""
    return str(episode.get_infos(-1).get("problem_id", "?"))
