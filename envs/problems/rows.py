"""From the rows of a file or dataset to checked problems."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from aepo_rllib.envs.problems.bounded_files import ending_of
from aepo_rllib.envs.problems.chats import Turns, is_chat, is_written_chat, read_chat
from aepo_rllib.envs.problems.columns import MAX_PROBLEM_CHARS, SOLUTIONS, Row, plain, shown
from aepo_rllib.envs.problems.extras import read_extra
from aepo_rllib.envs.problems.frames import bare
from aepo_rllib.envs.problems.golds import BOX, MAX_SOLUTION_WORDS, MAX_WORDS, read_gold, words_in
from aepo_rllib.envs.problems.problem import MAX_ANSWER_CHARS, Problem, ProblemError
from aepo_rllib.envs.problems.tables import Cell

MAX_NAME_CHARS = 1000
"""Of an id or a family."""
DEFAULT_VERIFIER = "math"
_DECORATION = "$%.\\ "
"""What graders drop around an answer."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_COUNTDOWN = re.compile(r"Make [0-9*]{1,100} from [0-9][0-9a-z ]{0,500}\.")
"""How the embedded families put it."""
_SCIENTIFIC = re.compile(r"[+-]?(?:\d{1,100}\.?\d{0,100}|\.\d{1,100})[eE][+-]?\d{1,3}", re.ASCII)


def as_problems(
    rows: Iterable[tuple[str, Mapping[str, Any]]],
    fields: Mapping[str, str],
    source: str,
    *,
    verifier: str | None = None,
    drop_repeats: bool = True,
    drop_conflicts: bool = False,
) -> list[Problem]:
    """Checked problems; unless told otherwise, later repeats of a problem are dropped.

    Args:
        rows: (place, row); messages begin with the place.
        fields: Which column holds what.
        source: Rows without an id are called by its name and their number.
        verifier: Of rows that name none.
        drop_repeats: Leave out rows whose problem (text and turns before it) has come before.
        drop_conflicts: Leave out all rows of a problem that comes with different answers, instead of refusing them.

    Raises:
        ProblemError: a row without problem or answer, or with a value that cannot be used; a problem with two answers.
    """
    name = Path(source).name.removesuffix(ending_of(source))
    first: dict[tuple[Turns, str], tuple[str, str]] = {}
    conflicting: set[tuple[Turns, str]] = set()
    ids: set[str] = set()
    problems: list[Problem] = []
    for number, (place, values) in enumerate(rows):
        row = Row(place, values, fields)
        problem = _read(row, f"{name}-{number}", verifier)
        key = problem.turns, problem.text
        there, answer = first.setdefault(key, (place, problem.answer))
        if drop_repeats and there != place:
            if not _same_answer(answer, problem.answer):
                conflicting.add(key)
                if not drop_conflicts:
                    raise _conflict(row, problem.answer, there, answer)
            continue
        if problem.id in ids:
            raise row.refusal(f"id {shown(problem.id)} appears twice")
        ids.add(problem.id)
        problems.append(problem)
    return [problem for problem in problems if (problem.turns, problem.text) not in conflicting]


def _read(row: Row, default_id: str, default_verifier: str | None) -> Problem:
    turns, text = _problem(row)
    verifier, extra = _verifier(row, default_verifier, text), read_extra(row)
    _check_needs(row, verifier, extra)
    return Problem(
        id=_name(row, "id") or default_id,
        text=text,
        answer=_answer(row),
        verifier=verifier,
        family=_name(row, "family"),
        extra=extra,
        turns=turns,
    )


def _problem(row: Row) -> tuple[Turns, str]:
    """What a chat says before the problem, and the problem."""
    column, value = row.find("problem")
    row.check_companions(column)
    turns: Turns = ()
    if is_chat(value):
        turns, value = read_chat(value, row)
    text = _text(row, "problem", value)
    if is_written_chat(text):
        raise row.refusal("the problem is a chat written as text; save its turns as lists, in .jsonl or .parquet")
    size = len(text) + sum(len(said) for _, said in turns)
    if size > MAX_PROBLEM_CHARS:
        raise row.refusal(f"the problem has {size} characters, more than {MAX_PROBLEM_CHARS}")
    return turns, bare(text)


def _answer(row: Row) -> str:
    """The known answer, if a completion can state it at all."""
    column, value = row.find("answer")
    written = _text(row, "answer", value)
    if isinstance(value, Cell) and _SCIENTIFIC.fullmatch(value.strip()):  # so a number of a table without types
        written = plain(Decimal(value.strip())) or written
    stated = read_gold(written)
    if control := _CONTROL.search(stated):  # before the blanks go: some of these count as blanks
        raise row.refusal(
            f"the answer holds the control character {control.group()!r}, which no completion would match; "
            "is a backslash of its LaTeX missing its double in JSON?"
        )
    answer = stated.strip()
    if BOX in answer:
        raise row.refusal(f"the answer has a box that does not end ({shown(answer[answer.rindex(BOX) :])})")
    words, is_solution = words_in(answer), column.rpartition(".")[2].lower() in SOLUTIONS
    if words > (MAX_SOLUTION_WORDS if is_solution and answer == written.strip() else MAX_WORDS):
        raise row.refusal(
            f"{column} is a text of {words} words without a final answer (looked for ####, a box, <answer> and "
            "'The answer is'); name the column that has it with --fields '{answer: COLUMN}' (env_config.fields)"
        )
    if len(answer) > MAX_ANSWER_CHARS:
        raise row.refusal(
            f"the answer has {len(answer)} characters, more than the {MAX_ANSWER_CHARS} that are read of any "
            "answer, so no completion could match it"
        )
    if not answer.strip(_DECORATION):
        raise row.refusal(f"the answer is empty ({shown(answer)})")
    return answer


def _text(row: Row, field: str, value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None:
        raise row.missing(field)
    text = plain(value)
    if text is None or not text.strip():
        raise row.refusal(f"{field} must be text that is not empty, got {shown(value)}")
    return row.whole(text, field)


def _name(row: Row, field: str) -> str:
    """An id or a family; empty where there is none."""
    _, value = row.find(field)
    if value is None and field == "id" and field in row.fields:
        raise row.missing(field)
    name = "" if value is None else plain(value)
    if name is None:
        raise row.refusal(f"{field} must be a text or a number, got {shown(value)}; map another column to it")
    if len(name) > MAX_NAME_CHARS:
        raise row.refusal(f"the {field} has {len(name)} characters, more than {MAX_NAME_CHARS}")
    return row.whole(name, field)


def _verifier(row: Row, default: str | None, text: str) -> str:
    """The name of the row's own verifier, or the default.

    A Countdown problem for which nobody names one is refused: `math` would reward any expression of the same value,
    whatever numbers it takes.

    A row may name a function of the user's only where the user has named that function, or the column: whoever writes
    a file must not choose code that runs here.
    """
    from aepo_rllib.envs.grading.verifiers import get_verifier  # which imports `Problem`

    _, name = row.find("verifier")
    if name is None and "verifier" in row.fields:
        raise row.missing("verifier")
    if name is None:
        if default is None and _COUNTDOWN.fullmatch(text):
            raise row.refusal(
                f"a Countdown problem ({text:.80}) without a verifier; give the row verifier: countdown and extra: "
                "{numbers: [...], target: N} (aepo_rllib.envs.problems.write_problems does), or say --verifier math "
                "(env_config.verifier) to accept whatever equals the known answer"
            )
        return default or DEFAULT_VERIFIER
    if not isinstance(name, str):
        raise row.refusal(f"verifier must be a name, got {shown(name)}")
    if ":" in name and name != default and "verifier" not in row.fields:
        raise row.refusal(
            f"the row names a function to run, {shown(name)}; if you trust it, say so with --fields "
            "'{verifier: verifier}' (env_config.fields)"
        )
    try:
        get_verifier(name)
    except ValueError as error:
        raise row.refusal(str(error)) from error
    return str(name)


def _check_needs(row: Row, verifier: str, extra: Mapping[str, Any]) -> None:
    from aepo_rllib.envs.grading.verifiers import get_verifier  # which imports `Problem`

    if missing := [key for key in get_verifier(verifier).needs if key not in extra]:
        raise row.refusal(f"the verifier {verifier} needs {' and '.join(missing)} in the column extra_info (or extra)")


def _same_answer(known: str, other: str) -> bool:
    """Whether two known answers are the same as far as spelling shows it."""
    from aepo_rllib.envs.grading.literals import literal_verdict  # which imports `Problem`

    return known == other or literal_verdict(known, other) is True


def _conflict(row: Row, answer: str, there: str, other: str) -> ProblemError:
    return row.refusal(
        f"the same problem as {there} with another answer, {shown(answer)} instead of {shown(other)}; mend one, or "
        "leave out such problems with drop_conflicts (--drop-conflicts, env_config.drop_conflicts=true)"
    )
