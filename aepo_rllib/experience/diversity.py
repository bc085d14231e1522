"""How diverse a batch of groups is in answers and ways to them, beside the entropy of its tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING

from aepo_rllib import metrics
from aepo_rllib.envs.content_path import path_key
from aepo_rllib.envs.tally import Tally
from aepo_rllib.envs.verdict import Verdict

if TYPE_CHECKING:
    from ray.rllib.env.single_agent_episode import SingleAgentEpisode


def diversity_figures(
    episodes_PG: Sequence[Sequence[SingleAgentEpisode]], verdicts: Sequence[Verdict]
) -> dict[str, float]:
    """What is logged of it, see docs/metrics.md: means over problems.

    Groups of one say nothing. Of environments that tell no answers (`info["answer"]`) only paths are known.

    Args:
        episodes_PG: The G episodes of each of P problems.
        verdicts: On each of them, group by group.
    """
    if not episodes_PG or len(episodes_PG[0]) < 2:
        return {}
    right = iter([verdict is Verdict.CORRECT for verdict in verdicts])
    tallies = [_tally(group, list(islice(right, len(group)))) for group in episodes_PG]
    k = min(metrics.DISTINCT_AMONG, len(episodes_PG[0]))
    differing = [share for tally in tallies if (share := tally.path_diversity()) is not None]
    figures = {
        metrics.DISTINCT_CORRECT_PATHS: fmean([tally.distinct_correct_paths(k) for tally in tallies]),
        metrics.PATH_DIVERSITY: fmean(differing) if differing else 0.0,
    }
    if any("answer" in episode.get_infos(-1) for group in episodes_PG for episode in group):
        figures |= {
            metrics.ANSWER_ENTROPY: fmean([tally.answer_entropy() for tally in tallies]),
            metrics.PLUG_IN_ANSWER_ENTROPY: fmean([tally.plug_in_answer_entropy() for tally in tallies]),
            metrics.DISTINCT_ANSWERS: fmean([tally.distinct_answers(k) for tally in tallies]),
            metrics.DISTINCT_CORRECT_ANSWERS: fmean([tally.distinct_correct_answers(k) for tally in tallies]),
        }
    return figures


def _tally(group: Sequence[SingleAgentEpisode], right: Sequence[bool]) -> Tally:
    answers = [str(episode.get_infos(-1).get("answer") or "") for episode in group]
    paths = [path_key(_text(episode)) if correct else "" for episode, correct in zip(group, right, strict=True)]
    return Tally.of(answers, right, paths)


def _text(episode: SingleAgentEpisode) -> str:
    """All that the model has said."""
    return "\n".join(map(str, episode.get_actions()))
