"""What an evaluation is: everything that has to be the same for it to be continued. It lies in evaluation.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from aepo_rllib.files import write_atomically

PLAN, SAMPLES_FOLDER = "evaluation.json", "samples"
FREE = ("model", "n", "ks", "grader")
"""Settings that may change while an evaluation is continued; a model is known by its identity, not its path."""


@dataclass(frozen=True)
class Plan:
    """Settings of an evaluation, named as in `aepo_rllib.eval.run.evaluate_model`.

    Attributes:
        identity: What the samples depend on besides prompt and decoding (`SamplingLM.identity`).
        first_prompts: By suite, what the model reads first, special tokens included.
        problems: By suite, a digest of its problems and their known answers.
    """

    model: str
    suites: tuple[str, ...]
    n: int
    ks: tuple[int, ...] | None
    temperature: float
    top_p: float
    max_new_tokens: int | None
    limit: int | None
    seed: int
    template: str | None
    grader: str | None
    identity: Mapping[str, Any] = field(default_factory=dict)
    first_prompts: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """The plan of an output folder.

        Raises:
            ValueError: there is none, or none of this version.
        """
        file = folder / PLAN
        if not file.is_file():
            raise ValueError(f"{folder} is no evaluation: it has no {PLAN}")
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
            ks = values["ks"]
            return cls(**values | {"suites": tuple(values["suites"]), "ks": tuple(ks) if ks else None})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{file} cannot be read ({error})") from error

    def check(self, folder: Path, *, overwrite: bool = False) -> None:
        """Refuse a folder with something else in it.

        Raises:
            ValueError: the folder holds another evaluation, or other files.
        """
        held = [] if overwrite or not folder.is_dir() else [entry.name for entry in folder.iterdir()]
        if any(name != SAMPLES_FOLDER and not name.startswith(".") for name in held):
            self._check_same(folder)

    def write(self, folder: Path) -> None:
        """Begin or continue an evaluation in a folder.

        Raises:
            OSError: it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / PLAN, json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n")

    def regraded(self, grader: str | None, n: int | None, ks: Sequence[int] | None) -> Plan:
        """The same samples, seen another way; None leaves a setting as it was."""
        return replace(
            self,
            grader=grader or self.grader,
            n=n or self.n,
            ks=tuple(sorted(set(ks))) if ks else (self.ks if n is None else None),
        )

    def metadata(self) -> dict[str, Any]:
        """What the suites' tasks are told, see `aepo_rllib.eval.task.PassAtKTask`."""
        wanted = {"repeats": self.n, "k": self.ks, "template": self.template, "grader": self.grader}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in wanted.items() if value}

    def generation(self) -> dict[str, Any]:
        """lm-eval's generation arguments."""
        limit = {} if self.max_new_tokens is None else {"max_gen_toks": self.max_new_tokens}
        return {"do_sample": self.temperature > 0, "temperature": self.temperature, "top_p": self.top_p, **limit}

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return json.loads(json.dumps(asdict(self)))

    def _check_same(self, folder: Path) -> None:
        hint = "add --overwrite to replace its reports, or choose another --output"
        if not (folder / PLAN).is_file():
            raise ValueError(f"{folder} already holds something else; {hint}")
        mine, there = self.as_json(), Plan.read(folder).as_json()
        names = [entry.name for entry in fields(self) if entry.name not in FREE]
        mine["suites"], there["suites"] = sorted(mine["suites"]), sorted(there["suites"])
        differing = [_difference(name, there[name], mine[name]) for name in names if there[name] != mine[name]]
        if differing:
            raise ValueError(f"{folder} holds another evaluation: {'; '.join(differing)}; {hint}")


def report_folder(folder: Path, *files: str) -> Path:
    """The folder itself or the `eval` folder in it, whichever holds these files; the folder itself if none does."""
    places = (folder, folder / "eval")
    return next((place for place in places if all((place / name).is_file() for name in files)), folder)


def _difference(name: str, there: Any, here: Any) -> str:
    """In words, with what differs inside of a mapping."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
        return ", ".join(f"{key} {there.get(key)!r:.60} there, {here.get(key)!r:.60} now" for key in keys)
    return f"{name} {there!r:.60} there, {here!r:.60} now"
