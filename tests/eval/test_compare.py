import json
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from aepo_rllib.cli.compare import compare_command
from aepo_rllib.eval.passk import pass_at_k, without_noise
from aepo_rllib.eval.reports.crossovers import crossover
from aepo_rllib.eval.reports.differences import compare
from aepo_rllib.eval.reports.evaluations import read_evaluations, short_names

N, KS = 64, [1, 2, 4, 8, 16, 32, 64]


def write(folder, counts, *, n=N, version="1.0", suite="aepo_x", ks=KS, rows=None, maj=None, **settings):
    """A report folder with these numbers of correct samples."""
    folder.mkdir(parents=True)
    scores = {
        "version": version,
        "problems": len(counts),
        "avg@n": sum(int(count) for count in counts) / n / len(counts),
        "k": {str(k): {} for k in ks},
        "temperature": settings.pop("temperature", 1.0),
        **({"maj": maj} if maj else {}),
    }
    evaluation = {"template": None, "grader": None, "problems": {suite: "5f0c"}} | settings
    (folder / "passk.json").write_text(json.dumps({"suites": {suite: scores}, "evaluation": evaluation}))
    more = rows or [{}] * len(counts)
    rows = [{"suite": suite, "id": f"p{i}", "n": n, "correct": int(count)} | more[i] for i, count in enumerate(counts)]
    (folder / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def pair(tmp_path):
    """A sharp model, better at k = 1 and unable to solve half of the problems, and a broad one."""
    rng = np.random.default_rng(0)
    sharp = np.where(np.arange(80) < 40, rng.binomial(N, 0.6, 80), 0)
    broad = rng.binomial(N, 0.15, 80)
    return write(tmp_path / "broad" / "eval", broad), write(tmp_path / "sharp" / "eval", sharp)


def test_difference_is_the_mean_of_the_problems_differences(pair):
    (comparison,) = compare(read_evaluations(pair))
    assert list(comparison.curves) == ["broad", "sharp"]
    counts = [[json.loads(line)["correct"] for line in (p / "problems.jsonl").read_text().splitlines()] for p in pair]
    (difference,) = comparison.differences
    for place, k in enumerate(KS):
        per_problem = [pass_at_k(N, b, k) - pass_at_k(N, a, k) for a, b in zip(*counts, strict=True)]
        assert difference.curve.mean[place] == pytest.approx(np.mean(per_problem))
        # Student's interval is an independent way to nearly the same ends.
        t = stats.t.interval(0.95, 79, np.mean(per_problem), stats.sem(per_problem))
        assert (difference.curve.low[place], difference.curve.high[place]) == pytest.approx(t, abs=0.012)


def test_pairing_narrows_the_interval(tmp_path):
    rng = np.random.default_rng(1)
    difficulty = rng.beta(0.4, 0.4, 100)
    a, b = (write(tmp_path / name, rng.binomial(N, difficulty)) for name in "ab")
    (comparison,) = compare(read_evaluations([a, b]))
    (difference,) = comparison.differences
    alone = comparison.curves["a"].se[0]
    assert difference.curve.se[0] < alone / 4


def test_crossover_lies_where_the_curves_cross(pair):
    (comparison,) = compare(read_evaluations(pair))
    (difference,) = comparison.differences
    signs = np.sign(difference.curve.mean)
    assert signs[0] == 1
    assert signs[-1] == -1
    before = KS[int(np.flatnonzero(signs == 1)[-1])]
    assert before < difference.crossover.k < 2 * before
    assert difference.crossover.low <= difference.crossover.k <= difference.crossover.high
    assert difference.crossover.share > 0.95
    assert difference.crossover.told
    assert (difference.above[0], difference.above[-1]) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([-2, -1, 1, 2], 2**1.5),
        ([3, 1, -1, -1], 2**1.5),
        ([1, 1, 1, 1], None),
        ([0, 1, 1, -1], 4 * 2**0.5),
        ([-2, 1, 0.5, 0], 2 ** (2 / 3)),
        ([0, 0, 0, 0], None),
        ([1, -1, 1, -1], None),
        ([1, -1, 0, -1], 2**0.5),
        ([1e-15, -1, 1, 1], 2 * 2**0.5),
        ([1, np.nan, -1, -1], None),
        ([1, 0, -1, -1], 2.0),
    ],
)
def test_crossover_by_hand(differences, expected):
    found = crossover([1, 2, 4, 8], without_noise(np.array(differences, dtype=float), 80))
    assert found == (expected if expected is None else pytest.approx(expected))


def test_resamples_that_tie_are_no_gain(tmp_path):
    """Ten problems, of which three gain a tenth and three lose one: (1 - chance of a tie) / 2, multinomially."""
    tie = sum(stats.multinomial.pmf([i, i, 10 - 2 * i], 10, [0.3, 0.3, 0.4]) for i in range(6))
    counts = [3] * 10, [4, 4, 4, 2, 2, 2, 3, 3, 3, 3]
    folders = [write(tmp_path / name, numbers, n=10, ks=[1]) for name, numbers in zip("ab", counts, strict=True)]
    (comparison,) = compare(read_evaluations(folders), resamples=40_000)
    (difference,) = comparison.differences
    assert difference.above[0] == pytest.approx((1 - tie) / 2, abs=0.01)
    assert difference.curve.mean[0] == pytest.approx(0, abs=1e-15)
    assert difference.crossover is None


def test_few_problems_are_pointed_out(tmp_path, pair):
    few = [write(tmp_path / name, [3] * 12) for name in ("c", "d")]
    shown = [CliRunner().invoke(compare_command, list(map(str, folders))).output for folders in (few, pair)]
    assert ["fewer than 20 problems" in " ".join(text.split()) for text in shown] == [True, False]


def test_the_problem_is_named_for_which_a_comparison_is_refused(tmp_path):
    base, other = (write(tmp_path / name, [1, 2, 3]) for name in ("base", "other"))
    rows = [json.loads(line) for line in (other / "problems.jsonl").read_text().splitlines()]

    def refused(**changes):
        changed = [row | (changes if row["id"] == "p1" else {}) for row in rows]
        (other / "problems.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))
        with pytest.raises(ValueError, match="aepo_x") as error:
            compare(read_evaluations([base, other]))
        return str(error.value)

    summary = json.loads((other / "passk.json").read_text())
    assert "p7" in refused(id="p7") or "'p1'" in refused(id="p7")
    summary["suites"]["aepo_x"]["avg@n"] = None
    (other / "passk.json").write_text(json.dumps(summary))
    assert "problem 'p1' in other has no samples" in refused(n=0, correct=0)
    summary["evaluation"]["problems"]["aepo_x"] = "another"
    (other / "passk.json").write_text(json.dumps(summary))
    assert "other contents, such as 'p1'" in refused(digest="5f0c")


def test_what_cannot_be_compared_is_refused(tmp_path):
    base = write(tmp_path / "base", [1, 2, 3])
    cases = {
        "different problems": write(tmp_path / "fewer", [1, 2]),
        "version 1.0 in base, 2.0": write(tmp_path / "version", [1, 2, 3], version="2.0"),
        "no suite is in all": write(tmp_path / "suite", [1, 2, 3], suite="aepo_y"),
    }
    for message, other in cases.items():
        with pytest.raises(ValueError, match=message):
            compare(read_evaluations([base, other]))
    with pytest.raises(ValueError, match="two evaluations"):
        compare(read_evaluations([base]))
    with pytest.raises(ValueError, match="named twice"):
        read_evaluations([base, tmp_path / "base"])
    with pytest.raises(ValueError, match="holds no evaluation"):
        read_evaluations([base, tmp_path])
    short = write(tmp_path / "short", [1, 2, 3], n=8)
    with pytest.raises(ValueError, match=r"every k must be in 1\.\.8"):
        compare(read_evaluations([base, short]), ks=[1, 16])
    assert compare(read_evaluations([base, short]))[0].curves["base"].ks == (1, 2, 4, 8)


def test_other_settings_are_noted(tmp_path):
    a, b = write(tmp_path / "a", [1]), write(tmp_path / "b", [1], temperature=0.6, grader="math")
    (comparison,) = compare(read_evaluations([a, b]))
    assert list(comparison.notes) == ["temperature: 1.0 in a, 0.6 in b", "grader: the suite's own in a, math in b"]


def test_templates_of_two_names_that_make_one_prompt_are_no_difference(tmp_path):
    def notes(**prompts):
        folders = [tmp_path / "".join(prompts.values()) / name for name in ("a", "b")]
        for folder, template in zip(folders, (None, "plain"), strict=True):
            write(folder, [1], template=template, first_prompts={"aepo_x": prompts[folder.name]})
        [comparison] = compare(read_evaluations(folders))
        return list(comparison.notes)

    assert notes(a="1+1?", b="1+1?") == []
    assert notes(a="1+1?", b="1+1? ") == ["template: the suite's own in a, plain in b"]


def test_names_are_what_differs_in_the_paths(tmp_path):
    def names(*paths):
        return short_names([tmp_path / path for path in paths])

    assert names("runs/aepo/eval", "runs/grpo/eval") == ["aepo", "grpo"]
    assert names("a", "b") == ["a", "b"]
    assert names("a/x/1", "a/y/2") == ["x/1", "y/2"]
    assert len(set(names("a", "a/b"))) == 2
    assert names("only") == ["only"]


def test_command_writes_table_json_and_plots(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(compare_command, ["broad", "sharp", "--resamples", "500", "-o", "out"])
    assert result.exit_code == 0, result.output
    assert "sharp - broad" in result.output
    assert "crossover at k = " in result.output
    content = json.loads((tmp_path / "out" / "compare.json").read_text())["aepo_x"]
    assert content["differences"]["sharp"]["k"]["64"]["mean"] < 0 < content["differences"]["sharp"]["k"]["1"]["mean"]
    assert (tmp_path / "out" / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "out" / "compare.svg").read_text()
    missing = CliRunner().invoke(compare_command, ["broad", "out"])
    assert missing.exit_code == 2
    assert "holds no evaluation" in missing.output


def test_names_of_folders_and_suites_are_shown_as_they_are_and_do_nothing(tmp_path):
    """No markup in the table, no formula in the picture, nothing that a terminal would obey."""
    names = [r"[red]$\frac$", "b\x1b]0;title\x07\u202e[/b]"]
    folders = [write(tmp_path / name, [1, 2], suite="aepo_x\x1b[2J[bold]") for name in names]
    result = CliRunner().invoke(
        compare_command, [*map(str, folders), "-o", str(tmp_path / "out[/b]\x1b")], terminal_width=200
    )
    assert result.exit_code == 0, result.output
    assert result.output.replace("\n", "").isprintable()
    for shown in (names[0], r"b\x1b]0;title\x07\u202e[/b]", r"aepo_x\x1b[2J[bold]", r"out[/b]\x1b"):
        assert shown in result.output.replace("\n", "")
    ElementTree.parse(tmp_path / "out[/b]\x1b" / "compare.svg")
