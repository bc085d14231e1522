"""What stands in the folder of an evaluation: everything that has to be the same for it to be continued."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from aepo_rllib.eval.json_input import (
    MAX_NAME_CHARS,
    Check,
    anything,
    check_fields,
    having,
    known,
    listed,
    mapped,
    optional,
    read_object,
    shown,
    text,
    whole,
    within,
)
from aepo_rllib.eval.known_names import engine_name, known_dtype, known_frame
from aepo_rllib.eval.plan import MAX_SEED, MAX_TEXT, EvaluationPlan, Settings
from aepo_rllib.eval.settings import settings_of
from aepo_rllib.eval.suites.catalogue import expand, suite_names
from aepo_rllib.eval.suites.naming import check_suites, is_yaml, set_name
from aepo_rllib.support.locks import write_atomically

SPEC, SAMPLES_FOLDER = "evaluation.json", "samples"
OWN = ("own_problems", "own_suites")


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec(Settings):
    """The settings of an evaluation, and what was found when it began.

    Attributes:
        suites: Those of this package.
        own_problems: Suites that are problem sets of the user's own; their problems lie in the folder.
        own_suites: Suites that are lm-eval tasks of the user's own.
        identity: What the samples depend on besides prompt and decoding (`SamplingLM.identity`).
        first_prompts: By suite, what the model reads first, special tokens included.
        problems: By suite, a digest of its problems and their known answers.

    Raises:
        ValueError: a field that is none, be it from a user or from a file; names it.
    """

    suites: tuple[str, ...]
    own_problems: tuple[str, ...] = ()
    own_suites: tuple[str, ...] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)
    first_prompts: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields({name: getattr(self, name) for name in _FOUND}, _FOUND)
        for name in ("suites", *OWN):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not (self.suites or self.own_problems or self.own_suites):
            raise ValueError("suites: there is none")

    @classmethod
    def of(
        cls, plan: EvaluationPlan, suites: Sequence[str], own_problems: Sequence[str], own_suites: Sequence[str]
    ) -> EvaluationSpec:
        """That of an evaluation which is about to begin."""
        kept = {name: getattr(plan, name) for name in settings_of(Settings)}
        return cls(**kept, suites=tuple(suites), own_problems=tuple(own_problems), own_suites=tuple(own_suites))

    @classmethod
    def read(cls, folder: Path) -> EvaluationSpec:
        """The spec of an output folder. Whoever wrote it, no name or number in it goes further unchecked.

        Raises:
            ValueError: there is none, none of this version, or one that `aepo eval` cannot have written; names the
                file and the field.
            OSError: it cannot be read.
        """
        file = folder / SPEC
        if not file.is_file():
            raise ValueError(f"{folder} is no evaluation: it has no {SPEC}")
        try:
            values = _left_out() | read_object(file)
            with within(file):
                check_fields(values, {entry.name: anything for entry in fields(cls)})
                spec = cls(**values)
                spec._check_complete()
        except ValueError as error:
            raise ValueError(f"{error}; `aepo eval ... --overwrite` writes it anew and keeps the samples") from error
        return spec

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
        write_atomically(folder / SPEC, json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n")

    def regraded(
        self,
        *,
        grader: str | None = None,
        answer_form: str | None = None,
        n: int | None = None,
        ks: Sequence[int] | None = None,
    ) -> EvaluationSpec:
        """The same samples, seen another way; None leaves a setting as it was.

        Raises:
            ValueError: an unknown grader or answer form, or k above n.
        """
        return replace(
            self,
            grader=grader or self.grader,
            answer_form=answer_form or self.answer_form,
            n=self.n if n is None else n,
            ks=ks or (self.ks if n is None else None),
        )

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; what the first versions did not have is left out where it is not used."""
        values = json.loads(json.dumps({entry.name: getattr(self, entry.name) for entry in fields(self)}))
        return {name: value for name, value in values.items() if (name, value) not in _left_out().items()}

    def _check_complete(self) -> None:
        """Refuse what no evaluation leaves behind that has begun: without a digest, any problems would be taken."""
        with within("identity"):
            check_fields(self.identity, _IDENTITY)
        known_suites = dict.fromkeys((*expand(self.suites), *self.own_problems), anything)
        for name in ("first_prompts", "problems"):
            with within(name):
                # Which suites a group of the user's own has is known once it is loaded.
                refuse = having(known_suites) if self.own_suites else partial(check_fields, checks=known_suites)
                refuse(getattr(self, name))

    def _check_same(self, folder: Path) -> None:
        hint = "add --overwrite to replace its reports, or choose another --output"
        if not (folder / SPEC).is_file():
            raise ValueError(f"{folder} already holds something else; {hint}")
        mine, there = (_left_out() | spec.as_json() for spec in (self, EvaluationSpec.read(folder)))
        for name in ("suites", *OWN):
            mine[name], there[name] = sorted(mine[name]), sorted(there[name])
        free = {name for name, declared in settings_of(EvaluationSpec).items() if declared.free}
        names = [name for name in mine if name not in free and there[name] != mine[name]]
        if names:
            differing = "; ".join(_difference(name, there[name], mine[name]) for name in names)
            raise ValueError(f"{folder} holds another evaluation: {differing}; {hint}")


def report_folder(folder: Path, *files: str) -> Path:
    """The folder itself or the `eval` folder in it, whichever holds these files; the folder itself if none does."""
    places = (folder, folder / "eval")
    return next((place for place in places if all((place / name).is_file() for name in files)), folder)


def _left_out() -> dict[str, Any]:
    """What the first versions did not write, as it is where it is not used."""
    later = {name: each.option.default for name, each in settings_of(Settings).items() if each.later}
    return later | {name: [] for name in OWN}


def _difference(name: str, there: Any, here: Any) -> str:
    """In words, with what differs inside of a mapping."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
        return ", ".join(f"{key} {there.get(key)!r:.60} there, {here.get(key)!r:.60} now" for key in keys)
    return f"{name} {there!r:.60} there, {here!r:.60} now"


def _known_suite(name: str) -> None:
    check_suites([name])


def _task_name(name: str) -> None:
    text(MAX_NAME_CHARS)(name)
    if not name or "/" in name or is_yaml(name):
        raise ValueError(f"must be the name of a task and no file, got {shown(name)}")


def _set_name(name: str) -> None:
    text(MAX_NAME_CHARS)(name)
    if name != set_name(name) or name in suite_names():  # it is the name of a file, too
        raise ValueError(f"must be the name of a problem set, got {shown(name)}")


_FOUND: Mapping[str, Check] = {
    "suites": listed(known(_known_suite), empty=True),
    "own_problems": listed(_set_name, empty=True),
    "own_suites": listed(_task_name, empty=True),
    "identity": mapped(anything),
    "first_prompts": mapped(text(MAX_TEXT)),
    "problems": mapped(text(MAX_TEXT)),
}
"""What a spec says besides declared settings."""

_IDENTITY: Mapping[str, Check] = {
    "model": text(MAX_TEXT),
    "engine": known(engine_name),
    "dtype": known(known_dtype),
    "frame": known(known_frame),
    "system": optional(text(MAX_TEXT)),
    "stop_ids": listed(whole(0, 2**31 - 1)),
    "seed": whole(0, MAX_SEED),
}
"""What tells the model of an evaluation, see `aepo_rllib.eval.sampling.models.SamplingLM.identity`."""
