"""What an evaluation is: everything that has to be the same for it to be continued. It lies in evaluation.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from aepo_rllib.eval.checks import check_sampling
from aepo_rllib.eval.json_input import anything, check_fields, having, read_object, within
from aepo_rllib.eval.plan_fields import IDENTITY, SETTINGS
from aepo_rllib.eval.suites import expand
from aepo_rllib.support.locks import write_atomically

PLAN, SAMPLES_FOLDER = "evaluation.json", "samples"
OWN = ("own_problems", "own_suites")
FREE = ("model", "n", "ks", "grader", "answer_form")
"""Settings that may change while an evaluation is continued; a model is known by its identity, not its path."""


@dataclass(frozen=True)
class Plan:
    """Settings of an evaluation, named as in `aepo_rllib.eval.run.evaluate_model`.

    Attributes:
        suites: Those of this package.
        own_problems: Suites that are problem sets of the user's own; their problems lie in the folder.
        own_suites: Suites that are lm-eval tasks of the user's own.
        answer_form: In which answers are read, where the template does not say it.
        identity: What the samples depend on besides prompt and decoding (`SamplingLM.identity`).
        first_prompts: By suite, what the model reads first, special tokens included.
        problems: By suite, a digest of its problems and their known answers.

    Raises:
        ValueError: a setting that is none, be it from a user or from a file; names it.
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
    own_problems: tuple[str, ...] = ()
    own_suites: tuple[str, ...] = ()
    answer_form: str | None = None

    def __post_init__(self) -> None:
        check_fields({entry.name: getattr(self, entry.name) for entry in fields(self)}, SETTINGS)
        if not (self.suites or self.own_problems or self.own_suites):
            raise ValueError("suites: there is none")
        check_sampling(self.n, self.ks, self.temperature)

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """The plan of an output folder. Whoever wrote it, no name or number in it goes further unchecked.

        Raises:
            ValueError: there is none, none of this version, or one that `aepo eval` cannot have written; names the
                file and the field.
            OSError: it cannot be read.
        """
        file = folder / PLAN
        if not file.is_file():
            raise ValueError(f"{folder} is no evaluation: it has no {PLAN}")
        try:
            values = {"answer_form": None} | {name: [] for name in OWN} | read_object(file)
            with within(file):
                check_fields(values, SETTINGS)
                names = {name: tuple(values[name]) for name in ("suites", *OWN)}
                ks = values["ks"]
                plan = cls(**values | names | {"ks": None if ks is None else tuple(ks)})
                plan._check_complete()
        except ValueError as error:
            raise ValueError(f"{error}; `aepo eval ... --overwrite` writes it anew and keeps the samples") from error
        return plan

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
        """The same samples, seen another way; None leaves a setting as it was.

        Raises:
            ValueError: an unknown grader, or k above n.
        """
        return replace(
            self,
            grader=grader or self.grader,
            n=self.n if n is None else n,
            ks=tuple(sorted(set(ks))) if ks else (self.ks if n is None else None),
        )

    def metadata(self) -> dict[str, Any]:
        """What the suites' tasks are told, see `aepo_rllib.eval.task.PassAtKTask`."""
        wanted = {"repeats": self.n, "k": self.ks, "template": self.template, "grader": self.grader}
        wanted |= {"answer_form": self.answer_form}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in wanted.items() if value}

    def generation(self) -> dict[str, Any]:
        """lm-eval's generation arguments."""
        limit = {} if self.max_new_tokens is None else {"max_gen_toks": self.max_new_tokens}
        return {"do_sample": self.temperature > 0, "temperature": self.temperature, "top_p": self.top_p, **limit}

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; what is the user's own is left out where there is none."""
        values = json.loads(json.dumps(asdict(self)))
        return {name: value for name, value in values.items() if value or name not in (*OWN, "answer_form")}

    def _check_complete(self) -> None:
        """Refuse what no evaluation leaves behind that has begun: without a digest, any problems would be taken."""
        with within("identity"):
            check_fields(self.identity, IDENTITY)
        known = dict.fromkeys((*expand(self.suites), *self.own_problems), anything)
        for name in ("first_prompts", "problems"):
            with within(name):
                # Which suites a group of the user's own has is known once it is loaded.
                (having(known) if self.own_suites else partial(check_fields, checks=known))(getattr(self, name))

    def _check_same(self, folder: Path) -> None:
        hint = "add --overwrite to replace its reports, or choose another --output"
        if not (folder / PLAN).is_file():
            raise ValueError(f"{folder} already holds something else; {hint}")
        mine, there = (dict.fromkeys(OWN) | plan.as_json() for plan in (self, Plan.read(folder)))
        names = [entry.name for entry in fields(self) if entry.name not in FREE]
        for name in ("suites", *OWN):
            mine[name], there[name] = sorted(mine[name] or []), sorted(there[name] or [])
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
