"""Options that weigh problems by how solved they are; every method has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from ray.rllib.algorithms.algorithm_config import NotProvided
from typing_extensions import Self

from aepo_rllib.experience.solved import BATCH, BOTH, HISTORY, SolvedGate
from aepo_rllib.objectives.advantages import Graded
from aepo_rllib.objectives.parts import MAIN
from aepo_rllib.support.options import option
from aepo_rllib.training.declared import Declared, setter

if TYPE_CHECKING:
    from aepo_rllib.objectives.parts import Method


class GatingOptions(Declared):
    """Declared once; `TextRLConfig` sets them."""

    group_size: int

    solved_gate: float | None = option(
        None,
        "Problems of which a larger share of completions is right carry no advantage, in any stream; 0 learns where "
        "nothing was right, see docs/method.md. None: off.",
        kind=float,
        least=0,
        below=1,
    )
    boundary_k: int | None = option(
        None,
        "Advantages of a problem are multiplied by what it still adds to pass@k at this k, as a share of what an "
        "unsolved one does. None: off.",
        kind=int,
        least=1,
    )
    solved_by: str = option(
        BATCH,
        "Which main completions both go by: those of this step ('batch'), of the steps before ('history'), or 'both'; "
        "the latter are of use where problems come again.",
        choices=(BATCH, HISTORY, BOTH),
    )

    @setter
    def gating(
        self,
        *,
        solved_gate: float | None = NotProvided,
        boundary_k: int | None = NotProvided,
        solved_by: str = NotProvided,
    ) -> Self:
        """Sets how problems weigh that are solved already."""
        return self

    def gate(self) -> SolvedGate | None:
        """What weighs problems; None where nothing does."""
        if self.solved_gate is None and self.boundary_k is None:
            return None
        return SolvedGate(self.solved_gate, self.boundary_k, self.solved_by)

    def method(self) -> Method:
        """A config's own."""
        raise NotImplementedError

    def validate(self) -> None:
        """Checks that the gate leaves something to learn from, besides what RLlib checks.

        Raises:
            ValueError: names the options.
        """
        parent: Any = super()
        parent.validate()
        if self.gate() is None and self.solved_by != BATCH:
            raise ValueError(f"solved_by={self.solved_by!r} does nothing here; set solved_gate or boundary_k as well")
        gate, by = self.solved_gate, self.solved_by
        if gate is None or by == HISTORY or gate * self.group_size >= 1:
            return
        streams = self.method().streams
        if set(streams) == {MAIN} and not streams[MAIN].advantage(Graded(torch.zeros(1, self.group_size))).any():
            raise ValueError(
                f"solved_gate={gate} with solved_by={by!r} leaves nothing to learn from: a group with one right "
                "completion is gated, and one without has no advantage; set solved_by='history', a share of "
                f"{1 / self.group_size:.2g} or more, or a method that samples a second stream"
            )
