"""What the model says while it trains: into `samples.jsonl`, and a few completions on the screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from aepo_rllib.cli.run_folder import SAMPLES, RunFolder
from aepo_rllib.envs.text_env import GRADER_ERROR
from aepo_rllib.rollout.request import BASE_ENTROPY, MAIN_STREAM
from aepo_rllib.support.terminal import visible

if TYPE_CHECKING:
    from aepo_rllib.experience.groups import Groups
    from aepo_rllib.rollout import Purpose
    from aepo_rllib.training.algorithm import TextRL

SHOWN = 3
"""Completions on the screen at a time, each of another problem."""
HEAD_SHARE = 0.6
"""Of a text that is clipped; the rest of the line has its end, where the answer is."""
LONGEST_LINE = 160


class SampleLog:
    """Told of every batch; writes its first completions down, and remembers those of the policy itself, at T = 1.

    Args:
        folder: Of the run.
        algo: Whose batches they are.
        per_step: Completions of each stream that are written every step, each of another problem.
    """

    def __init__(self, folder: RunFolder, algo: TextRL, per_step: int) -> None:
        self._folder, self._algo, self._per_step = folder, algo, per_step
        self.latest: list[dict[str, Any]] = []
        """Of the last batch at T = 1."""

    def __call__(self, purpose: Purpose, groups: Groups) -> None:
        """Take note of a batch, which may be refused later for what is in it.

        Raises:
            OSError: the file cannot be written.
        """
        count = max(self._per_step, SHOWN)
        firsts = [group[0] for group in groups.episodes_PG[:count] if len(group)]
        records = [_record(self._algo.train_steps + 1, purpose, episode) for episode in firsts]
        if purpose in (MAIN_STREAM, BASE_ENTROPY):
            self.latest = records[:SHOWN]
        for record in records[: self._per_step] if purpose.learned else ():
            self._folder.append(SAMPLES, record)

    def show(self, title: str, console: Console) -> None:
        """Print the latest completions at T = 1, a line for each prompt and one for what was said."""
        if self.latest:
            lines = sample_lines(self.latest, min(console.width, LONGEST_LINE))
            console.print(Text.assemble((f"{title}:", "dim"), *(f"\n{line}" for line in lines)))


def sample_lines(records: Sequence[Mapping[str, Any]], width: int) -> Iterator[str]:
    """Records of samples.jsonl as lines of so many cells, two each: what was asked; the verdict and what was said."""
    asked, verdicts = "prompt", [visible(verdict_words(record)) for record in records]
    gap = max(map(len, (asked, *verdicts))) + 2
    room = max(width - 2 - gap, 20)
    for record, verdict in zip(records, verdicts, strict=True):
        yield f"  {asked:<{gap}}{clipped(str(record['prompt']), room)}"
        yield f"  {verdict:<{gap}}{clipped(str(record['completion']), room)}"


def verdict_words(record: Mapping[str, Any]) -> str:
    """ "wrong, cut off"; the reward of an environment that gives no verdicts."""
    verdict = str(record.get("verdict") or f"reward {record['reward']:.3g}").replace("_", " ")
    return verdict + (", cut off" if record.get("finish_reason") == "length" else "")


def clipped(text: str, width: int) -> str:
    """A text in one line of so many terminal cells at most, and nothing in it that a terminal acts upon.

    What does not fit is left out before its end.
    """
    longest = 4 * width  # what is beyond can never be shown, and may be large
    if len(text) > 2 * longest:
        text = f"{text[:longest]} {text[-longest:]}"
    line = visible(" ".join(text.split()))
    if cell_len(line) <= width:
        return line
    head = set_cell_size(line, int(width * HEAD_SHARE))
    room, tail = width - cell_len(head) - 3, ""
    for character in reversed(line):
        if cell_len(character + tail) > room:
            break
        tail = character + tail
    return f"{head} … {tail}"


def _record(step: int, purpose: Purpose, episode: Any) -> dict[str, Any]:
    """An episode's last completion with its verdict, as a line of samples.jsonl."""
    told = {
        key: value
        for key, value in episode.get_infos(-1).items()
        if isinstance(value, str | int | float) and (key != GRADER_ERROR or value)
    }
    turns = episode.get_infos(0).get("turns")
    return {
        "step": step,
        "stream": purpose.name,
        "prompt": episode.get_observations(0),
        "completion": episode.get_actions(-1),
        **told,
        **({"turns": turns} if turns else {}),
        "reward": episode.get_return(),
        "finish_reason": episode.get_extra_model_outputs("finish_reason", -1),
    }
