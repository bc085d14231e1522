"""Whether rewards mean anything: enough completions judged, and every reward a number in range."""

from __future__ import annotations

from aepo_rllib.envs.grading.rewards import HIGHEST_REWARD, LOWEST_REWARD
from aepo_rllib.envs.text_env import GRADER_ERROR
from aepo_rllib.experience.groups import Groups, problem_of


class UnjudgedError(RuntimeError):
    """Too many completions came back without a verdict for their rewards to mean anything."""


def check_judged(groups: Groups, most_unjudged: float) -> None:
    """Refuse groups with too many completions that nobody has judged.

    Args:
        groups: Graded completions.
        most_unjudged: The share of them that may be without a verdict, `max_unjudged_share`.

    Raises:
        UnjudgedError: there are more; says why, as far as it is known.
    """
    share = 1.0 - groups.usable_PG.float().mean().item()
    if share <= most_unjudged:
        return
    errors = [error for episode in groups.episodes if (error := episode.get_infos(-1).get(GRADER_ERROR))]
    reason = (
        f"the reward function raised {errors[0]}"
        if errors
        else "give it more time or processes (env_config: grader_deadline_s, grader_workers), or look at the answers "
        "in samples.jsonl"
    )
    raise UnjudgedError(
        f"the grader timed out or crashed on {share:.0%} of the completions, more than "
        f"max_unjudged_share={most_unjudged:.0%}; {reason}"
    )


def check_rewards(groups: Groups) -> None:
    """Rewards weigh log-probs, and one that is no number would turn all weights into none.

    Raises:
        ValueError: a return is not finite or out of range; names its problem.
    """
    for episode in groups.episodes:
        reward = float(episode.get_return())
        if not LOWEST_REWARD <= reward <= HIGHEST_REWARD:
            raise ValueError(
                f"the environment gave reward {reward} for problem {problem_of(episode)}; rewards must lie between "
                f"{LOWEST_REWARD:g} and {HIGHEST_REWARD:g}"
            )
