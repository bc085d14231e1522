"""What more learners hold and send: a table of docs/scale.md. `python -m tests.support.growth_table` writes it anew."""

from __future__ import annotations

from dataclasses import replace

from aepo_rllib.planning.growth import growth
from aepo_rllib.planning.plan import gigabytes
from aepo_rllib.planning.shape import ModelShape
from tests.support.fits import PAGE, RUN
from tests.support.shapes import qwen

BEGIN, END = "<!-- table of tests/support/growth_table.py -->\n", "<!-- end of growth -->\n"
MODELS, LEARNERS = ("0.5b", "1.5b", "7b", "32b"), (1, 2, 4, 8, 16, 32, 64)
HEAD = (
    "| model, learners | at rest, on a GPU | passes | a step: into a GPU | of it by the network, into a node | "
    "an update: into a node | a checkpoint: from a learner |"
)


def as_markdown() -> str:
    """The table; everything in GB."""
    lines = [HEAD, "| --- " * 7 + "|"]
    for model in MODELS:
        shape = ModelShape(qwen(model))
        for learners in LEARNERS:
            settings = replace(RUN, num_learners=learners, num_gpus_per_learner=1, learner_sharding="fsdp")
            found = growth(shape, settings)
            sizes = (found.into_gpu, found.into_node, found.update, found.checkpoint)
            cells = [gigabytes(found.at_rest), found.passes, *map(gigabytes, sizes)]
            lines.append(f"| {model.upper()}, {learners} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + "\n" + as_markdown() + "\n" + END + rest.partition(END)[2], encoding="utf-8")
