"""Which Qwen2.5 fits where: the table of docs/scale.md, and its figures in tests/golden/plan.json.

`python -m tests.support.fits` writes both anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aepo_rllib.models.lora import Lora
from aepo_rllib.planning.machine import Machine, card_bytes
from aepo_rllib.planning.plan import gigabytes, make_plan
from aepo_rllib.planning.proposals import propose, spread
from aepo_rllib.planning.settings import Settings
from aepo_rllib.planning.shape import ModelShape
from tests.support.shapes import QWEN, qwen

ROOT = Path(__file__).parents[2]
GOLDEN, PAGE = ROOT / "tests" / "golden" / "plan.json", ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- table of tests/support/fits.py -->\n", "<!-- end of table -->\n"
GPUS, CARDS = (1, 2, 8, 16), (24, 80, 141)
FORMS = {"all weights": None, "LoRA, rank 32": Lora(32, 64)}
RUN = Settings(
    dtype="bfloat16",
    max_new_tokens=2048,
    batch_size=512,
    group_size=5,
    updates_per_batch=4,
    tokens_per_backward=16384,
    engine="vllm",
    engine_options={"max_model_len": 4096},
    sleep_while_learning=True,
)
"""What the table is of, but for what it varies."""

Entries = dict[str, dict[str, Any]]


def key(model: str, form: str, gpus: int, card: int) -> str:
    """The name of an entry."""
    return f"{model}, {form}, {gpus} x {card} GB"


def entries(model: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All of a model."""
    shape = ModelShape(qwen(model))
    for form, lora in FORMS.items():
        for gpus in GPUS:
            for card in CARDS:
                settings = replace(RUN, lora=lora, **spread(gpus))
                plan = make_plan(shape, settings, Machine(gpus, card_bytes(card), nodes=-(-gpus // 8)))
                proposal = propose(plan)
                entry = {"fits": plan.fits, "bytes": plan.peak, "proposal": proposal.words()}
                after = {} if proposal.plan in (plan, None) else {"bytes_then": proposal.plan.peak}
                yield key(model, form, gpus, card), entry | after


def as_markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The tables of the page."""
    lines = []
    for form in FORMS:
        lines += [f"**{form}**", "", "| | " + " | ".join(f"{card} GB" for card in CARDS) + " |", "| --- " * 4 + "|"]
        for model in QWEN:
            for gpus in GPUS:
                cells = [cell(found[key(model, form, gpus, card)]) for card in CARDS]
                lines.append(f"| {model.upper()}, {gpus} GPU{'s' * (gpus > 1)} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def cell(entry: Mapping[str, Any]) -> str:
    """What the page says of an entry."""
    if entry["fits"]:
        return f"**{gigabytes(entry['bytes'])}**"
    if "bytes_then" in entry:
        options = ", ".join(f"`{option.removeprefix('engine_options.')}`" for option in entry["proposal"].split())
        return f"{gigabytes(entry['bytes_then'])} with {options}"
    return "no" + entry["proposal"].removeprefix("nothing here makes it fit").replace(" would", "")


if __name__ == "__main__":
    made = {name: entry for model in QWEN for name, entry in entries(model)}
    GOLDEN.write_text(json.dumps(made, indent=1) + "\n")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + "\n" + as_markdown(made) + END + rest.partition(END)[2], encoding="utf-8")
