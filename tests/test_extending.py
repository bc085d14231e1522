"""What docs/extending promises: an engine, a verifier, a suite and a family of problems without editing the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.command import here, records
from tests.support.installed import install

ROOT = Path(__file__).parents[1]
DOCS, EXAMPLES = ROOT / "docs" / "extending", ROOT / "examples"
AEPO = Path(sys.executable).with_name("aepo")
TRAINING = ["--steps", "2", "--batch-size", "4", "--group-size", "4", "--set", "evaluation_interval=2"]
SAMPLING = ["--n", "2", "--limit", "6"]
PACKAGE = {
    "engine.py": """
from pathlib import Path
import os
from acme.plain import PlainEngine

class Noted(PlainEngine):
    def __init__(self, model, *, note, max_rows=256):
        super().__init__(model, max_rows=max_rows)
        Path(note, str(os.getpid())).touch()
""",
    "rewards.py": """
from aepo_rllib.envs.grading import Score
from aepo_rllib.envs.grading.rules import judge

def shaped(completion, problem):
    right = judge(problem, completion)
    return Score(right - 0.25 * completion.truncated, correct=right)
""",
}


def blocks(page: str, language: str) -> list[str]:
    """The code of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def aepo(*arguments: Any, cwd: Path, path: Path | None = None) -> str:
    """What the installed command prints; it does not look for modules in its folder by itself."""
    paths = [str(path), os.environ.get("PYTHONPATH")] if path else [os.environ.get("PYTHONPATH")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [str(AEPO), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=cwd, env=env, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "passk.json").read_text())


@pytest.mark.process
def test_own_engine_own_problems_and_own_suite_train_and_evaluate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the pages, as they stand; the environment runner is a process of its own."""
    for name in ("own_engine.py", "own_problems.py", "own_suite.yaml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    engine = ["--engine", "own_engine.py:PlainEngine"]
    remote = ["--set", "num_env_runners=1", "--set", "engine_options.max_rows=16"]
    aepo("train", *engine, "--problems", "own_problems.py:Doubles", *TRAINING, *remote, "-o", "run", cwd=tmp_path)
    run = records(tmp_path / "run")
    assert [record["step"] for record in run] == [1, 2]
    samples = records(tmp_path / "run", "samples.jsonl")
    assert {sample["family"] for sample in samples} == {"doubles"}

    monkeypatch.chdir(tmp_path)
    here("eval", "run", "--suite", "own_suite.yaml", *engine, *SAMPLING, "-o", "plain")
    here("eval", "run", "--suite", "own_suite.yaml", *SAMPLING, "-o", "usual")
    plain, usual = scores(tmp_path / "plain"), scores(tmp_path / "usual")
    assert plain["suites"]["own_doubles"]["problems"] == 6
    # Both draw by a completion's own key from one law, so that their samples are the same.
    assert plain["suites"]["own_doubles"]["k"] == usual["suites"]["own_doubles"]["k"]
    assert re.fullmatch("PlainEngine-[0-9a-f]{12}", plain["evaluation"]["identity"]["engine"])


@pytest.mark.slow
@pytest.mark.process
def test_what_an_installed_package_adds_is_known_by_name_in_every_process(tmp_path: Path) -> None:
    site, home, notes = tmp_path / "site", tmp_path / "home", tmp_path / "notes"
    (site / "acme" / "suites").mkdir(parents=True)
    for folder in (home, notes):
        folder.mkdir()
    for name, text in {"__init__.py": "", "suites/__init__.py": "", **PACKAGE}.items():
        (site / "acme" / name).write_text(text)
    shutil.copy(EXAMPLES / "own_engine.py", site / "acme" / "plain.py")
    shutil.copy(EXAMPLES / "own_problems.py", site / "acme" / "problems.py")
    suite = yaml.safe_load((EXAMPLES / "own_suite.yaml").read_text().replace("!function ", ""))
    suite["dataset_kwargs"]["source"] = "acme-doubles"
    text = yaml.safe_dump(suite).replace("class: ", "class: !function ")
    (site / "acme" / "suites" / "doubles.yaml").write_text(text)
    points = {
        "aepo_rllib.engines": {"acme-plain": "acme.engine:Noted"},
        "aepo_rllib.problems": {"acme-doubles": "acme.problems:Doubles"},
        "aepo_rllib.verifiers": {"acme-shaped": "acme.rewards:shaped"},
        "aepo_rllib.suites": {"acme": "acme.suites"},
    }
    install(site, "acme", points)
    named = ["--engine", "acme-plain", "--problems", "acme-doubles", "--set", "env_config.verifier=acme-shaped"]
    remote = ["--set", "num_env_runners=1", "--set", f"engine_options.note={notes}", "--set", "max_new_tokens=8"]
    aepo("train", *named, *TRAINING, *remote, "-o", "run", cwd=home, path=site)
    assert len(list(notes.iterdir())) == 2, "one is the environment runner's, one evaluates in the algorithm's process"
    rewards = {sample["reward"] for sample in records(home / "run", "samples.jsonl")}
    assert -0.25 in rewards, "no completion was cut and told so"
    option = ["--engine", "acme-plain", "--engine-option", f"note={notes}"]
    aepo("eval", "run", "--suite", "own_doubles", *option, *SAMPLING, "-o", "eval", cwd=home, path=site)
    assert scores(home / "eval")["suites"]["own_doubles"]["problems"] == 6
    assert scores(home / "eval")["evaluation"]["identity"]["engine"] == "acme-plain"


def test_a_suite_is_one_file_of_ten_lines(tmp_path: Path) -> None:
    """The page shows the example itself, and nothing else lies beside it here but its problems."""
    from aepo_rllib.eval.run import evaluate_model

    text = (EXAMPLES / "own_suite.yaml").read_text()
    assert blocks("suite.md", "yaml")[0].strip() in text
    assert len(text.splitlines()) <= 10
    (tmp_path / "suite.yaml").write_text(text.replace("own_problems.py:Doubles", "mine.jsonl"))
    rows = [{"problem": f"Add {n} 5 5.", "answer": str(n + 10)} for n in range(2, 6)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = evaluate_model(suites=[str(tmp_path / "suite.yaml")], n=8)
    assert summary["suites"]["own_doubles"]["problems"] == 4
    assert summary["suites"]["own_doubles"]["k"]["8"]["mean"] > 0.5


@pytest.mark.process
def test_the_verifiers_of_the_page_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from aepo_rllib.envs.grading import Grader, SampledText
    from aepo_rllib.envs.problems import Problem

    reward, rule = blocks("verifier.md", "python")
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "dates.py").write_text(rule)
    (tmp_path / "my_rewards.py").write_text(reward)
    install(tmp_path, "mine", {"aepo_rllib.verifiers": {"dates": "my_package.dates:DATES"}})
    monkeypatch.syspath_prepend(str(tmp_path))
    day = Problem("d", "When?", "2025-10-09", "dates")
    shaped = Problem("s", "1+1?", "2", f"{tmp_path}/my_rewards.py:reward")
    given = [
        (day, r"\boxed{2025-10-09}", "correct", 1.0),
        (day, r"\boxed{9 October 2025}", "correct", 1.0),
        (day, r"\boxed{10 October 2025}", "wrong", 0.0),
        (day, r"\boxed{never}", "grader_crashed", 0.0),
        (shaped, SampledText(r"\boxed{2}", truncated=False), "correct", 1.0),
        (shaped, SampledText(r"\boxed{3}", truncated=True), "wrong", -0.5),
    ]
    with Grader(workers=1) as grader:
        grades = grader.grade_batch([row[0] for row in given], [row[1] for row in given])
        grader.self_test()
    assert [(grade.verdict.value, grade.reward) for grade in grades] == [row[2:] for row in given]


def test_the_pages_show_what_the_examples_hold() -> None:
    shown = blocks("problems.md", "python")[0]
    example = re.sub(r'\n    """.*?"""\n', "\n", (EXAMPLES / "own_problems.py").read_text(), flags=re.DOTALL)
    example = re.sub(r"\(self, rng: .*?\) -> .*:", "(self, rng):", example)
    example = re.sub(r"\(self, drawn: .*?\) -> .*:", "(self, drawn):", example)
    assert "".join(shown.split()) in "".join(example.split())
    for page in DOCS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert (DOCS / link).exists(), f"{page.name} points to {link}"
