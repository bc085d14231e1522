"""What can be asked of an evaluation: every setting there is, declared once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aepo_rllib.eval.json_input import known, text, whole
from aepo_rllib.eval.known_names import known_form, known_grader, known_template
from aepo_rllib.eval.settings import setting, settings_of

MAX_SAMPLES = 100_000
"""Of a problem: pass@k is computed in exact integers of so many bits, which takes a second for every few values."""
MAX_TEMPERATURE = 1000
"""Beyond, every token is as likely as any other."""
MAX_TEXT = 1_000_000
"""Characters of a text that is shown, or compared, and nothing else."""
MAX_SEED = 2**64 - 1
DEFAULT_SUITE = "aepo_arithmetic"


@dataclass(frozen=True, kw_only=True)
class Sources:
    """What to evaluate on: suites of this package, and what is the user's own."""

    suites: Sequence[str] | None = setting(
        (),
        "Suites or groups of suites, see `aepo tasks`, or the YAML files of lm-eval tasks of your own.",
        unset=f"{DEFAULT_SUITE} where no problems are given",
        flag="--suite",
        metavar="NAME",
        kind=str,
        several=True,
        optional=True,
    )
    problems: Sequence[str] = setting(
        (),
        "Problems of your own, as `aepo problems` reads them: files, folders, datasets or procedural families.",
        unset="none",
        metavar="SOURCE",
        kind=str,
        several=True,
    )
    split: str = setting("test", "Of those problems, where they have splits.")
    fields: Mapping[str, str] | None = setting(
        None,
        "Field map of those problems, e.g. '{problem: question, answer: final}'.",
        unset="as the columns are called",
        metavar="YAML",
        kind=dict,
    )
    verifier: str | None = setting(
        None, "How those problems are judged where a row does not say.", unset="math", kind=str
    )
    include_path: str | Path | None = setting(
        None,
        "Folder with YAML files of lm-eval tasks and groups of your own, for suites to be named.",
        unset="none",
        kind=Path,
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What samples and scores depend on: it is kept in the folder of an evaluation.

    Raises:
        ValueError: a setting that is none, be it from a user or from a file; names it.
    """

    model: str = setting(
        "embedded", "Hugging Face folder or id, or 'embedded'.", free=True, parse=text(MAX_TEXT), grammar="a model"
    )
    n: int = setting(64, "Samples per problem.", free=True, metadata="repeats", least=1, most=MAX_SAMPLES)
    ks: Sequence[int] | None = setting(
        None,
        "Values of k, none above n.",
        unset="the powers of two up to n",
        flag="--k",
        metavar="K,K,...",
        free=True,
        metadata="k",
        kind=int,
        several=True,
        least=1,
        most=MAX_SAMPLES,
    )
    temperature: float = setting(
        1.0,
        "Of the samples; 0 is greedy decoding and needs n = 1.",
        metavar="T",
        generation="temperature",
        least=0,
        most=MAX_TEMPERATURE,
    )
    top_p: float = setting(1.0, "Nucleus filter; 1 is off.", metavar="P", generation="top_p", above=0, most=1)
    max_new_tokens: int | None = setting(
        None,
        "Longest completion in tokens.",
        unset="the suite's: 2048, embedded ones 64",
        generation="max_gen_toks",
        kind=int,
        least=1,
    )
    limit: int | None = setting(
        None, "Only so many problems of every suite, the first ones.", unset="all", kind=int, least=1
    )
    seed: int = setting(
        0,
        "Of the samples: the same seed gives the same ones.",
        parse=whole(0, MAX_SEED),
        grammar=f"a whole number from 0 to {MAX_SEED}",
    )
    template: str | None = setting(
        None,
        "Prompt template.",
        unset="each suite's, or in `aepo eval` a run's own",
        metadata="template",
        kind=str,
        parse=known(known_template),
        grammar="a prompt template",
    )
    answer_form: str | None = setting(
        None,
        "How answers are read: box, answer-line, hash, answer-tag, minerva.",
        unset="as the template asks, or box",
        free=True,
        later=True,
        metadata="answer_form",
        kind=str,
        parse=known(known_form),
        grammar="an answer form",
    )
    grader: str | None = setting(
        None,
        "How answers are judged, e.g. qwen2.5-math.",
        unset="each suite's way",
        free=True,
        metadata="grader",
        kind=str,
        parse=known_grader,
        grammar="a verifier",
    )

    def __post_init__(self) -> None:
        for name, declared in settings_of(type(self)).items():
            declared.option.check(name, getattr(self, name))
        object.__setattr__(self, "ks", tuple(sorted(set(self.ks))) if self.ks else None)
        if self.ks and self.ks[-1] > self.n:
            raise ValueError(f"pass@{self.ks[-1]} needs 1 <= k <= n, and n is {self.n}; raise n or leave that k out")
        if self.temperature == 0 and self.n > 1:
            raise ValueError(
                f"temperature 0 gives {self.n} equal samples of a problem; take n = 1 or a higher temperature"
            )

    def metadata(self) -> dict[str, Any]:
        """What the suites' tasks are told, see `aepo_rllib.eval.task.PassAtKTask`."""
        wanted = {each.metadata: getattr(self, name) for name, each in settings_of(type(self)).items() if each.metadata}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in wanted.items() if value}

    def generation(self) -> dict[str, Any]:
        """lm-eval's generation arguments."""
        told = {
            each.generation: getattr(self, name) for name, each in settings_of(type(self)).items() if each.generation
        }
        return {"do_sample": self.temperature > 0, **{key: value for key, value in told.items() if value is not None}}


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan(Settings, Sources):
    """All of it: on what to evaluate, how, by which engine, and where the files go."""

    engine: str = setting(
        "transformers",
        "Rollout engine: transformers, vllm, or one of your own as module:Class or path/to/file.py:Class.",
    )
    engine_options: Mapping[str, Any] | None = setting(
        None,
        "Options of the engine, e.g. tensor_parallel_size=2.",
        unset="none",
        flag="--engine-option",
        metavar="KEY=VALUE",
        kind=dict,
    )
    dtype: str = setting("float32", "Of the weights, e.g. bfloat16.")
    device: str = setting("cpu", "Where to sample, e.g. cuda.")
    max_rows: int = setting(1024, "Most completions sampled at a time; bounds memory.", least=1)
    output: str | Path | None = setting(None, "Folder for samples and reports.", unset="none is kept", kind=Path)
    overwrite: bool = setting(
        False, "Replace the reports of another evaluation in that folder. Samples are never removed."
    )
    repair: bool = setting(False, "Cut out of the samples what is damaged, keep it beside them, and draw it again.")

    def __post_init__(self) -> None:
        super().__post_init__()
        default = () if self.problems else (DEFAULT_SUITE,)
        object.__setattr__(self, "suites", tuple(dict.fromkeys(self.suites or default)))
        if not self.problems and (self.fields or self.verifier):
            raise ValueError("fields and verifier are about problems of your own; name those, or leave them out")
