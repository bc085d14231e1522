"""Every case of tests/cases/reported.jsonl: what users of this field have reported, tried on this product.

    pytest -s tests/test_reported.py -k table

prints kind by kind what holds. Cases about answers and rows are run from the file. For those about models, RLlib and
commands, which need more than a row can hold, the file names what is expected, and `ELSEWHERE` the test that shows it.
"""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from aepo_rllib.envs.env_arguments import check_env_arguments
from aepo_rllib.envs.grading import Grader
from aepo_rllib.envs.problems import Problem, ProblemError, load_problems
from aepo_rllib.envs.prompts import DAPO_HEAD, DAPO_TAIL

HERE = Path(__file__).parent
CASES = [json.loads(line) for line in (HERE / "cases/reported.jsonl").read_text().splitlines()]
ANSWERS = [case for case in CASES if case["kind"].startswith("a/")]
ELSEWHERE = {
    "b/hybrid-cache": "aepo_rllib/rollout/test_caches.py::test_sampled_tokens_have_the_learners_log_probs",
    "b/frame-boundary": "aepo_rllib/test_prompt_tokens.py::test_words_merge_across_the_frame",
    "b/template-rewrites-content": "aepo_rllib/test_prompt_tokens.py::"
    "test_a_chat_template_that_changes_or_drops_a_turn_is_refused",
    "b/eos-in-config-only": "aepo_rllib/test_hf.py::"
    "test_stop_ids_without_a_generation_config_are_those_of_transformers_generate",
    "b/vocabulary-mismatch": "aepo_rllib/test_hf.py::"
    "test_a_tokenizer_of_more_tokens_than_the_model_is_refused_with_both_sizes",
    "d/own-env": "aepo_rllib/test_own_environments.py::test_an_environment_of_gymnasiums_registry_is_asked_by_seeds",
    "d/rllib-api": "aepo_rllib/test_rllib_surface.py::test_get_module_has_the_learners_weights",
    "d/ignored-options": "aepo_rllib/test_rllib_surface.py::test_options_that_change_nothing_are_refused",
    "e/own-problems": "eval/test_own.py::test_own_problems_are_a_suite_like_any_other",
}


@pytest.fixture(scope="module")
def verdicts() -> Iterator[dict[str, str]]:
    """What the grader says of every answer, by id."""
    problems = [Problem(case["id"], "", case["input"]["gold"], case["input"]["verifier"]) for case in ANSWERS]
    with Grader(workers=2, deadline_s=10.0) as grader:
        grades = grader.grade_batch(problems, [case["input"]["completion"] for case in ANSWERS])
        yield {problem.id: grade.verdict.value for problem, grade in zip(problems, grades, strict=True)}


def test_wrong_answers_are_not_rewarded_and_right_ones_are(verdicts: dict[str, str]) -> None:
    failing = [case for case in ANSWERS if (verdicts[case["id"]] == "correct") != (case["expected"] == "correct")]
    assert failing == []


def test_table_of_kinds(verdicts: dict[str, str], tmp_path: Path) -> None:
    held: defaultdict[str, list[bool]] = defaultdict(list)
    for case in CASES:
        if case["id"] in verdicts:
            held[case["kind"]].append((verdicts[case["id"]] == "correct") == (case["expected"] == "correct"))
        elif case["kind"] in ROWS:
            held[case["kind"]].append(row_case(case, tmp_path / case["id"]))
        else:
            held[case["kind"]].append(exists(ELSEWHERE[case["kind"]]))
    for kind, outcomes in sorted(held.items()):
        print(f"{kind:28} {sum(outcomes):3} of {len(outcomes):3} {ELSEWHERE.get(kind, '')}")
    assert all(map(all, held.values()))


def exists(test: str) -> bool:
    """Whether there is such a test."""
    file, _, name = test.partition("::")
    tree = ast.parse((HERE / file).read_text())
    return any(isinstance(node, ast.FunctionDef) and node.name == name for node in tree.body)


def row_case(case: dict[str, Any], folder: Path) -> bool:
    """Whether a case about rows comes out as it should; the check itself says how."""
    folder.mkdir()
    return ROWS[case["kind"]](case["input"], folder)


def one(row: dict[str, Any] | str, folder: Path) -> list[Problem] | str:
    """The problems of a file of one row, or the message that refuses it."""
    return many([row], folder)


def many(rows: list[Any], folder: Path, **options: Any) -> list[Problem] | str:
    file = folder / "rows.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    try:
        return list(load_problems(str(file), **options))
    except ProblemError as error:
        return str(error)


def refused(found: list[Problem] | str, *words: str) -> bool:
    return isinstance(found, str) and all(word in found for word in words)


def golds(found: list[Problem] | str) -> list[str]:
    return [] if isinstance(found, str) else [problem.answer for problem in found]


def system_turn(given: dict[str, Any], folder: Path) -> bool:
    user, system = {"role": "user"}, {"role": "system", "content": "Be careful."}
    if "several turns" in given["rows"]:
        assistant = {"role": "assistant", "content": "Ask."}
        turns = [user | {"content": "Hello."}, assistant, user | {"content": "What is 1+5?"}]
        found = one({"prompt": turns, "reward_model": {"ground_truth": "6"}}, folder)
        return not isinstance(found, str) and found[0].text == "What is 1+5?" and len(found[0].turns) == 2
    rows = [
        {"prompt": [system, user | {"content": f"What is {i}+5?"}], "reward_model": {"ground_truth": str(i + 5)}}
        for i in range(5)
    ]
    found = many(rows, folder)
    texts = [problem.text for problem in found if isinstance(problem, Problem)]
    kept = {problem.turns for problem in found if isinstance(problem, Problem)}
    return texts == [f"What is {i}+5?" for i in range(5)] and kept == {(("system", "Be careful."),)}


def hash_gold(given: dict[str, Any], folder: Path) -> bool:
    answer = given["answer"].replace("\\n", "\n")
    wanted = answer.rpartition("####")[2].strip().partition("\n")[0]
    return golds(one({"problem": "q", "answer": answer}, folder)) == [wanted]


def prose_gold(given: dict[str, Any], folder: Path) -> bool:
    return golds(one({"problem": "q", **given}, folder)) == ["7"]


def number_gold(given: dict[str, Any], folder: Path) -> bool:
    if isinstance(given["answer"], str):
        return refused(one('{"problem": "q", "answer": NaN}', folder), "rows.jsonl:1", "NaN")
    wanted = {1e20: "1" + "0" * 20, 1e-05: "0.00001"}[given["answer"]]
    return golds(one({"problem": "q", "answer": given["answer"]}, folder)) == [wanted]


def file_format(given: dict[str, Any], folder: Path) -> bool:
    rows = [{"problem": "q", "answer": "7"}]
    if "parquet" in given["source"]:
        path = folder / "verl.parquet"
        datasets.Dataset.from_list(rows).to_parquet(path)
    elif "save_to_disk" in given["source"]:
        path = folder / "saved"
        datasets.Dataset.from_list(rows).save_to_disk(path)
    else:
        path = folder / "rows.jsonl"
        path.write_bytes(b"\xef\xbb\xbf" + json.dumps(rows[0]).encode() + b"\n")
    return golds(list(load_problems(str(path)))) == ["7"]


def column_names(given: dict[str, Any], folder: Path) -> bool:
    return golds(one(given["row"], folder)) == ["7"]


def conflicting(given: dict[str, Any], folder: Path) -> bool:
    return refused(many(given["rows"], folder), "rows.jsonl:1", "rows.jsonl:2")


def other_format(given: dict[str, Any], folder: Path) -> bool:
    if "completion" in given:
        form = check_env_arguments(template=given["template"])
        with Grader(workers=1) as grader:
            return grader.grade(Problem("p", "", "7"), given["completion"], form=form).reward == 1.0
    row = {
        "prompt": [{"role": "user", "content": f"{DAPO_HEAD}\n\nWhat is 3+4?\n\n{DAPO_TAIL}"}],
        "reward_model": {"ground_truth": "7"},
    }
    found = one(row, folder)
    return not isinstance(found, str) and found[0].text == "What is 3+4?"


def own_grader(given: dict[str, Any], folder: Path) -> bool:
    by_option = many([{"problem": "q", "answer": "7"}], folder, verifier="math-numeric")
    by_column = many([{"problem": "q", "answer": "7", "verifier": "math-numeric"}], folder)
    return [problem.verifier for problem in (*by_option, *by_column) if isinstance(problem, Problem)] == [
        "math-numeric"
    ] * 2


ROWS: dict[str, Callable[[dict[str, Any], Path], bool]] = {
    "c/system-turn": system_turn,
    "c/hash-answer-commas": hash_gold,
    "c/hash-answer-tail": hash_gold,
    "c/prose-gold": prose_gold,
    "c/number-typed-answer": number_gold,
    "c/file-formats": file_format,
    "c/column-names": column_names,
    "c/conflicting-duplicates": conflicting,
    "c/prompt-asks-other-format": other_format,
    "d/own-grader": own_grader,
}


@pytest.mark.parametrize("case", [case for case in CASES if case["kind"] in ROWS], ids=lambda case: case["id"])
def test_rows(case: dict[str, Any], tmp_path: Path) -> None:
    assert row_case(case, tmp_path / "case")
