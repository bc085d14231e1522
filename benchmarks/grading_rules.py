r"""How many re-spellings of real known answers the grader accepts, kind by kind.

    AEPO_DATA_DIR=data python benchmarks/grading_rules.py [--per-kind 60]

Every known answer of the files below that a kind applies to is written in another way that means the same (`36^\circ`
as `36°`, `[2,5)` as `2 \le x < 5`, `7` as `7 dollars`), or, for the kinds that begin with "wrong:", in one that does
not. The table says how many there are, how many were tried, and the share that was accepted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

from aepo_rllib.envs.grading import Grader
from aepo_rllib.envs.problems import Problem, load_problems

FILES = ("math_train", "math500", "minerva_math", "olympiadbench", "hmmt_feb25", "college_math")
Respell = Callable[[str], str | None]
INTEGER, FRACTION = r"-?\d+", r"\\[dt]?frac\{(\d+)\}\{(\d+)\}"
LOW, HIGH = {"[": r"\le", "(": "<"}, {"]": r"\le", ")": "<"}


def replaced(pattern: str, by: str) -> Respell:
    """Wherever the pattern stands; a backslash in `by` is one."""
    return lambda gold: re.sub(pattern, lambda match: match.expand(by), gold) if re.search(pattern, gold) else None


def whole(pattern: str, form: Callable[[re.Match[str]], str | None]) -> Respell:
    """Answers that are the pattern from end to end."""

    def respell(gold: str) -> str | None:
        match = re.fullmatch(pattern, gold)
        return form(match) if match else None

    return respell


def inequality(gold: str) -> str | None:
    match = re.fullmatch(r"([\[(])\s*([^,()\[\]]+?)\s*,\s*([^,()\[\]]+?)\s*([\])])", gold)
    if match is None or "a" in gold.replace(r"\frac", "").replace(r"\sqrt", ""):
        return None
    opening, low, high, closing = match.groups()
    if r"\infty" in low and r"\infty" in high:
        return None
    if r"\infty" in low:
        return f"x {HIGH[closing]} {high}"
    if r"\infty" in high:
        return f"{low} {LOW[opening]} x"
    return f"{low} {LOW[opening]} x {HIGH[closing]} {high}" if "[" in gold or "]" in gold else None


def union(gold: str) -> str | None:
    parts = [inequality(part.strip()) for part in gold.split(r"\cup")] if r"\cup" in gold else [None]
    return r" \text{ or } ".join(part for part in parts if part) if all(parts) else None


def interval(gold: str) -> str | None:
    match = re.fullmatch(rf"[a-z]\s*(<|>|\\leq?|\\geq?)\s*({INTEGER}|-?{FRACTION})", gold)
    if match is None:
        return None
    sign, bound = match[1], match[2]
    closed = sign.startswith("\\")
    if sign in (">", r"\ge", r"\geq"):
        return f"{'[' if closed else '('}{bound}, \\infty)"
    return f"(-\\infty, {bound}{']' if closed else ')'}"


def mixed(form: str) -> Respell:
    def write(match: re.Match[str]) -> str | None:
        whole_part, rest = divmod(int(match[1]), int(match[2]))
        return form.format(whole_part, rest, match[2]) if whole_part and rest else None

    return whole(FRACTION, write)


def items(gold: str) -> list[str]:
    """The entries of a list of values without brackets or words."""
    plain = not re.search(r"[()\[\]{}]|text|\\[!,]", gold.replace(r"\frac", "").replace(r"\sqrt", "")) or "frac" in gold
    parts = [part.strip() for part in gold.split(",")]
    thousands = re.fullmatch(r"\d{1,3}(,\d{3})+", gold)
    numbers = all(re.fullmatch(rf"{INTEGER}|-?{FRACTION}|-?\d*\\sqrt\{{\d+\}}", part) for part in parts)
    return parts if plain and len(parts) > 1 and numbers and not thousands else []


def listed(form: Callable[[list[str]], str]) -> Respell:
    return lambda gold: form(parts) if (parts := items(gold)) else None


def column(form: Callable[[list[str]], str]) -> Respell:
    return whole(
        r"\\begin\{pmatrix\}([^&]*)\\end\{pmatrix\}",
        lambda match: form([cell.strip() for cell in match[1].split(r"\\") if cell.strip()]),
    )


KINDS: dict[str, Respell] = {
    "degree sign": replaced(r"\^\s*(?:\\circ|\{\\circ\})", "°"),
    "interval as inequality": inequality,
    "inequality as interval": interval,
    "union as inequalities with or": union,
    r"\pi as pi": replaced(r"\\pi(?![a-z])", "pi"),
    r"\pi as π": replaced(r"\\pi(?![a-z])", "π"),
    r"\sqrt{n} as √n": replaced(r"\\sqrt\{(\d+)\}", r"√\1"),
    r"\sqrt{n} as sqrt(n)": replaced(r"\\sqrt\{(\d+)\}", r"sqrt(\1)"),
    "fraction as a/b": whole(FRACTION, lambda match: f"{match[1]}/{match[2]}"),
    "fraction as mixed number": mixed("{} {}/{}"),
    r"fraction as mixed \frac": mixed(r"{}\frac{{{}}}{{{}}}"),
    r"thousands by \,": whole(r"\d{1,3}(?:,\\?!?\d{3})+", lambda match: re.sub(r",\\?!?", r"\\,", match[0])),
    "thousands by blanks": whole(r"\d{1,3}(?:,\\?!?\d{3})+", lambda match: re.sub(r",\\?!?", " ", match[0])),
    "percent in words": whole(r"([\d.]+)\s*\\?%", lambda match: f"{match[1]} percent"),
    r"i as \mathrm{i}": replaced(r"(?<=[\d}+\- ])i(?![a-z])", r"\\mathrm{i}"),
    "n cm^2": whole(INTEGER, lambda match: f"{match[0]} cm^2"),
    r"n \text{ cm}^2": whole(INTEGER, lambda match: rf"{match[0]} \text{{ cm}}^2"),
    "n dollars": whole(INTEGER, lambda match: f"{match[0]} dollars"),
    r"\text{Answer: } n": whole(INTEGER, lambda match: rf"\text{{Answer: }} {match[0]}"),
    "x = n": whole(INTEGER, lambda match: f"x = {match[0]}"),
    "in bold": lambda gold: rf"\mathbf{{{gold}}}" if re.fullmatch(INTEGER, gold) else None,
    r"in \( \)": lambda gold: rf"\({gold}\)",
    "words without case": whole(r"\\text\{([A-Za-z]{2,})\}", lambda match: match[1].upper()),
    "base in words": whole(r"(\d+)_\{?(\d+)\}?", lambda match: rf"{match[1]} \text{{ (base {match[2]})}}"),
    "column as tuple": column(lambda cells: f"({', '.join(cells)})"),
    r"column as \langle\rangle": column(lambda cells: rf"\langle {', '.join(cells)} \rangle"),
    "list reversed": listed(lambda parts: ", ".join(reversed(parts))),
    "list with and": listed(lambda parts: f"{', '.join(parts[:-1])} and {parts[-1]}"),
    "list as set": listed(lambda parts: rf"\{{{', '.join(parts)}\}}"),
    "list with names": listed(lambda parts: ", ".join(f"x_{place} = {part}" for place, part in enumerate(parts, 1))),
    "wrong: another base": whole(r"(\d+)_\{?(\d+)\}?", lambda match: f"{match[1]}_{{{int(match[2]) + 1}}}"),
    "wrong: list without its last": listed(lambda parts: ", ".join(parts[:-1])),
    "wrong: n or n + 1": whole(INTEGER, lambda match: f"{match[0]} \\text{{ or }} {int(match[0]) + 1}"),
    "wrong: n = n + 1": whole(INTEGER, lambda match: f"{int(match[0]) + 1} = {match[0]}"),
    "wrong: 1=1": lambda gold: "1=1" if "=" in gold else None,
    "wrong: the other bracket": lambda gold: (
        gold[:-1] + {"]": ")", ")": "]"}[gold[-1]] if inequality(gold) and r"\infty)" not in gold else None
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-kind", type=int, default=60)
    per_kind = parser.parse_args().per_kind
    golds = sorted(
        {problem.answer.strip().strip("$") for name in FILES for problem in load_problems(name, drop_repeats=False)}
    )
    cases: dict[str, list[tuple[str, str]]] = {}
    for kind, respell in KINDS.items():
        pairs = [(gold, new) for gold in golds if len(gold) < 200 and (new := respell(gold)) and new != gold]
        random.Random(0).shuffle(pairs)
        cases[kind] = pairs
    with Grader(workers=len(os.sched_getaffinity(0)), deadline_s=6.0) as grader:
        figures = {kind: _accepted(grader, pairs[:per_kind]) | {"found": len(pairs)} for kind, pairs in cases.items()}
    print(f"{'kind':32} {'found':>6} {'tried':>6} {'accepted':>9}")
    for kind, row in figures.items():
        print(f"{kind:32} {row['found']:6} {row['tried']:6} {row['share']:9.0%}  {row['others']}")
    file = Path(__file__).parent / "results" / "grading_rules.json"
    file.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")


def _accepted(grader: Grader, pairs: list[tuple[str, str]]) -> dict[str, object]:
    problems = [Problem(str(place), "", gold) for place, (gold, _) in enumerate(pairs)]
    grades = grader.grade_batch(problems, [rf"So \boxed{{{new}}}." for _, new in pairs])
    right = [grade.reward == 1.0 for grade in grades]
    surprising = [
        pair for pair, accepted in zip(pairs, right, strict=True) if accepted != (sum(right) * 2 > len(right))
    ]
    return {"tried": len(pairs), "share": sum(right) / max(len(right), 1), "others": surprising[:2]}


if __name__ == "__main__":
    main()
