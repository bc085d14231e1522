"""The same numbers in every format, and tables that fit a terminal."""

import csv
import io
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from aepo_rllib.cli.compare import compare_command
from aepo_rllib.eval.reports.comparison_report import comparison_sheet
from aepo_rllib.eval.reports.differences import compare
from aepo_rllib.eval.reports.evaluations import read_evaluations
from aepo_rllib.eval.reports.sheet import Column, Row, Score, Sheet
from aepo_rllib.eval.reports.sheet_text import csv_text, latex, markdown, terminal
from tests.eval.test_compare import KS, N, write

WIDTH = 80


def shown(sheet, width=WIDTH):
    console = Console(width=width, file=io.StringIO(), markup=False)
    console.print(terminal(sheet, width))
    return console.file.getvalue()


@pytest.fixture
def evaluations(tmp_path):
    """A broad model, and two sharp ones, in families and levels of problems."""
    rng = np.random.default_rng(0)
    counts = {
        "base": rng.binomial(N, 0.15, 60),
        "sharp": np.where(np.arange(60) < 30, rng.binomial(N, 0.6, 60), 0),
        "likewise": rng.binomial(N, 0.15, 60),
    }
    for name, correct in counts.items():
        votes = [{"maj": {str(k): min(1.0, int(c) / 32) for k in KS}} for c in correct]
        parts = [{"family": f"family{i % 2}", "level": str(1 + i % 11)} for i in range(60)]
        rows = [a | b for a, b in zip(votes, parts, strict=True)]
        maj = {str(k): float(np.mean([row["maj"][str(k)] for row in votes])) for k in KS}
        write(tmp_path / name, correct, rows=rows, maj=maj)
    return tmp_path


def compared(folder, *arguments):
    names = [str(folder / "base"), f"Sharp & co_1={folder / 'sharp'}", f"same={folder / 'likewise'}"]
    result = CliRunner().invoke(compare_command, [*names, "--resamples", "200", *arguments])
    assert result.exit_code == 0, result.output
    return result


def test_every_number_of_a_comparison_stands_in_the_csv(evaluations):
    result = compared(evaluations, "--format", "csv", "--by", "family", "-o", str(evaluations / "out"))
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    content = json.loads((evaluations / "out" / "compare.json").read_text())["aepo_x"]
    assert {row["part"] for row in rows} == {"", "family0", "family1"}
    for part, comparison in {"": content, **content["parts"]}.items():
        for name, difference in comparison["differences"].items():
            for k, point in difference["k"].items():
                [row] = [
                    row for row in rows
                    if (row["part"], row["score"], row["of"], row["minus"]) == (part, f"pass@{k}", name, "base")
                ]  # fmt: skip
                numbers = [float(row[key]) for key in ("value", "low", "high")]
                assert numbers == pytest.approx([100 * x for x in (point["mean"], *point["ci95"])], abs=1e-3)
                assert row["differs"] == str(point["side"] != 0).lower()
    assert "reports:" in result.stderr


def test_levels_are_listed_by_their_value_and_hold_each_problem_once(evaluations):
    found = compare(read_evaluations([evaluations / "base", evaluations / "sharp"]), by="level", resamples=100)
    assert [each.part for each in found] == ["", *map(str, range(1, 12))]
    assert sum(each.problems for each in found[1:]) == found[0].problems == 60
    bare = read_evaluations([write(evaluations / name, [1, 2, 3]) for name in ("bare", "other")])
    with pytest.raises(ValueError, match="no problem of aepo_x names its family"):
        compare(bare, by="family")


def test_majority_votes_are_paired_by_problem(evaluations):
    first, second = read_evaluations([evaluations / "base", evaluations / "sharp"])
    [found] = compare([first, second], resamples=100)
    [difference] = found.majority.differences
    gains = [b["8"] - a["8"] for a, b in zip(first.votes["aepo_x"].values(), second.votes["aepo_x"].values())]  # noqa: B905
    place = KS.index(8)
    assert difference.curve.mean[place] == pytest.approx(np.mean(gains))
    assert difference.curve.se[place] == pytest.approx(np.std(gains, ddof=1) / np.sqrt(60))
    assert compared(evaluations).stdout.count("maj@") == sum(k > 2 for k in KS)


def test_reports_without_the_votes_of_problems_give_means_without_intervals(evaluations):
    old = write(evaluations / "old", [3] * 60, maj={str(k): 0.25 for k in KS})
    [found] = compare(read_evaluations([evaluations / "base", old]), resamples=100)
    assert found.majority.means["old"].tolist() == [0.25] * len(KS)
    assert not found.majority.differences
    assert "aepo regrade" in " ".join(comparison_sheet(found).notes)


def test_latex_is_a_rectangle_and_shows_names_as_they_are(evaluations):
    text = compared(evaluations, "--format", "latex").stdout
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.count(" & ") for line in rows} == {5}
    assert r"Sharp \& co\_1 $-$ base" in text
    assert text.count(r"\begin{tabular}{lrrrrr}") == text.count(r"\end{tabular}") == 1
    assert re.search(r"pass@1 .*\$\+\d+\.\d\^\{\*\}\$ \{\\scriptsize \$\[\+\d", text)


def test_markdown_is_a_rectangle_and_shows_names_as_they_are(evaluations):
    text = compared(evaluations, "--format", "md").stdout
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in rows} == {5}
    assert r"Sharp & co\_1 - base" in text


@pytest.mark.parametrize("count", range(2, 9))
@pytest.mark.parametrize("chars", [1, 12, 70])
def test_a_comparison_fits_the_terminal_and_names_everything(count, chars):
    names = [f"{place}" + "x" * (chars - 1) for place in range(count)]
    columns = [*map(Column, range(count)), *(Column(place, 0) for place in range(1, count))]
    scores = [Score(50.0)] * count + [Score(-10.25, -21.5, 1.25, signed=True)] * (count - 1)
    text = shown(Sheet("s", "", "title", names, columns, [Row("pass@1", scores), Row("pass@1024", scores)]))
    assert max(map(len, text.splitlines())) <= WIDTH
    assert all(name in text.replace("\n", "") for name in names)
    assert "…" not in text
    assert text.count("[-21.5 +1.2]") == 2 * (count - 1)
    assert text.count("50.0") == 2 * count


def test_the_formats_agree_on_what_is_undefined_and_what_is_zero():
    row = Row("pass@1", [Score(None), Score(-0.04, -1.0, 1.0, signed=True), Score(1.0, 0.5, 2.0)])
    sheet = Sheet("s", "", "t", ["a|b"], [Column(0), Column(0, 0), Column(0)], [row])
    assert "| pass@1 | undefined | +0.0 [-1.0, +1.0] | 1.0 [0.5, 2.0] |" in markdown(sheet)
    assert r"a\|b" in markdown(sheet)
    assert "pass@1 & -- & $+0.0$" in latex(sheet)
    [_, undefined, difference, _] = csv_text([sheet]).splitlines()
    assert undefined == "s,,pass@1,a|b,,,,,%,"
    assert difference == "s,,pass@1,a|b,a|b,-0.04,-1,1,%,false"


def test_a_label_goes_with_its_folder(evaluations):
    def refused(*names):
        result = CliRunner().invoke(compare_command, [str(evaluations / "base"), *names])
        assert result.exit_code == 2
        return " ".join(result.output.split())

    assert "there is no folder 'nowhere' (to be called 'x')" in refused("x=nowhere")
    assert "there is no folder 'nowhere'" in refused("nowhere")
    assert "a label goes before the sign" in refused(f"={evaluations / 'sharp'}")
    assert "two evaluations are called 'x'" in refused(f"x={evaluations / 'sharp'}", f"x={evaluations / 'likewise'}")
    write(evaluations / "a=b", [1] * 60)
    result = CliRunner().invoke(
        compare_command, [str(evaluations / "base"), str(evaluations / "a=b"), "--format", "csv"]
    )
    assert ",a=b,base," in result.stdout
