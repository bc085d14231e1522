import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from aepo_rllib.cli.eval import eval_command


@pytest.fixture
def aepo_eval(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AEPO_DATA_DIR", raising=False)
    return lambda *arguments: CliRunner().invoke(eval_command, list(arguments))


def test_continues_the_same_evaluation_and_refuses_another(aepo_eval, tmp_path):
    arguments = ("--n", "4", "--limit", "6", "--k", "4,1")
    result = aepo_eval(*arguments)
    assert result.exit_code == 0, result.output
    assert "pass@4" in result.output
    assert "reports: eval-embedded" in result.output
    first = (tmp_path / "eval-embedded" / "passk.json").read_text()
    assert list(json.loads(first)["suites"]["aepo_arithmetic"]["k"]) == ["1", "4"]
    assert aepo_eval(*arguments).exit_code == 0
    assert (tmp_path / "eval-embedded" / "passk.json").read_text() == first
    other = aepo_eval(*arguments, "--temperature", "0.5")
    assert other.exit_code == 2
    assert "temperature 1.0 there, 0.5 now" in other.output
    assert "--overwrite" in other.output
    assert aepo_eval(*arguments, "--temperature", "0.5", "--overwrite").exit_code == 0
    assert (tmp_path / "eval-embedded" / "passk.json").read_text() != first


def test_a_folder_with_something_else_is_left_alone(aepo_eval, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("important")
    result = aepo_eval("--n", "2", "--limit", "2", "-o", "thesis")
    assert result.exit_code == 2
    assert "already holds something else" in result.output
    assert [file.name for file in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--k", "1,128"], "pass@128 needs 1 <= k <= n"),
        (["--k", "1,x"], "comma-separated"),
        (["--suite", "aepo_arithmetics"], "did you mean aepo_arithmetic"),
        (["./nowhere"], "there is no folder ./nowhere"),
        (["no/such-model"], "there is no folder no/such-model here"),
        (["--temperature", "0"], "equal samples"),
        (["--top-p", "0"], "--top-p"),
        (["--engine", "vlm"], "unknown rollout engine"),
        (
            ["--engine-option", "max_tokens=8"],
            "unknown --engine-option 'max_tokens'; did you mean max_tokens_in_flight?",
        ),
        (["--engine-option", "max_tokens"], "--engine-option 'max_tokens': expected key=value"),
        (["--grader", "sympy"], "unknown verifier"),
        (["--template", "boxd"], "unknown prompt template"),
        (["--suite", "aepo_math500", "--n", "1"], "there is no math500.jsonl in the folder that AEPO_DATA_DIR names"),
        (["--suite", "aepo_college_math", "--n", "1"], "no Hugging Face dataset is known"),
        (["--dtype", "int3"], "unknown dtype"),
        (["--device", "abacus"], "cannot use device"),
        (["--max-new-tokens", "600", "--n", "1", "--limit", "1"], "context is 512"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(aepo_eval, arguments, message):
    result = aepo_eval(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.process
def test_help_is_fast_and_has_examples():
    code = (
        "import sys; from click.testing import CliRunner; from aepo_rllib.cli.eval import eval_command; "
        "print(CliRunner().invoke(eval_command, ['--help']).output); "
        "assert not {'torch', 'lm_eval', 'numpy', 'transformers'} & set(sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Examples:" in shown
