"""`regrade`: the way from the stored samples of an evaluation to other verdicts on them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from aepo_rllib.eval.harness import digests, run_harness
from aepo_rllib.eval.known_names import check_trusted
from aepo_rllib.eval.reports.report_files import write_reports
from aepo_rllib.eval.sampling.replay import ReplayLM
from aepo_rllib.eval.spec import SAMPLES_FOLDER, SPEC, EvaluationSpec
from aepo_rllib.eval.suites.loading import load_tasks
from aepo_rllib.eval.suites.own import Own, split_suites
from aepo_rllib.eval.suites.problem_copies import read_problem_set
from aepo_rllib.support.locks import claimed


def regrade(
    folder: str | Path,
    *,
    grader: str | None = None,
    answer_form: str | None = None,
    n: int | None = None,
    ks: Sequence[int] | None = None,
    suites: Sequence[str] = (),
    include_path: str | Path | None = None,
    output: str | Path | None = None,
) -> dict[str, Any]:
    """Grade the stored samples of an evaluation again, and write its reports anew. Nothing is sampled.

    The problems are read again, from where the suite has them, problem sets of the user's own from the folder; the
    model is not needed. The old reports stay until the new ones are complete.

    Args:
        folder: Output folder of `evaluate_model`, whoever made it: nothing in it is trusted. An interrupted one will
            do: a problem with fewer than k samples leaves pass@k undefined.
        grader: Name of a verifier; default the one it was graded with last.
        answer_form: How answers are read; default as last time.
        n: Samples per problem to look at; default as many as were asked for.
        ks: Values of k; default the powers of two up to n.
        suites: YAML files of the user's own tasks that the evaluation has; that folder alone gets no file loaded.
        include_path: Folder with such files.
        output: Folder for the reports; default they replace those in `folder`.

    Returns:
        As `aepo_rllib.eval.run.evaluate`.

    Raises:
        aepo_rllib.eval.sampling.sample_files.StoreError: the stored samples are damaged, or there are none of some
            suite.
        ValueError: no evaluation in that folder, or an impossible one, an unknown grader, k above n, problems that have
            changed since, a task or a function of the user's own that only that folder names, a folder that another
            process writes into, or another evaluation in the output folder.
        OSError: a file cannot be read or written.
    """
    folder = Path(folder)
    spec = _trusted(folder, grader).regraded(grader=grader, answer_form=answer_form, n=n, ks=ks)
    tasks = _tasks(folder, spec, grader, suites, include_path)
    lm = ReplayLM(folder / SAMPLES_FOLDER, spec.identity)
    target = folder if output is None else Path(output)
    here = target.exists() and target.samefile(folder)
    if not here and (target / SPEC).exists():
        raise ValueError(f"{target} holds an evaluation of its own; choose another --output")
    with ExitStack() as stack:
        if here:
            stack.enter_context(claimed(folder))
        results, summary = run_harness(lm, spec, tasks)
        if not here:
            target.mkdir(parents=True, exist_ok=True)
            stack.enter_context(claimed(target))
        write_reports(target, results, summary)
        if here:
            spec.write(folder)
    return summary


def _trusted(folder: Path, grader: str | None) -> EvaluationSpec:
    """The spec, unless it names a function that the user has not named."""
    spec = EvaluationSpec.read(folder)
    if spec.grader and not grader:
        check_trusted(spec.grader, grader, f"{folder / SPEC}: grader")
    return spec


def _tasks(
    folder: Path, spec: EvaluationSpec, grader: str | None, suites: Sequence[str], include_path: str | Path | None
) -> dict[str, Any]:
    """The suites, whose problems must be those that were sampled."""
    # Names, not paths: the spec is checked for that.
    named = spec.own_suites if include_path is not None else ()
    problem_sets = {name: read_problem_set(folder, name, grader) for name in spec.own_problems}
    tasks = load_tasks(spec, Own(problem_sets, split_suites((*suites, *named), include_path)[1]))
    if changed := [suite for suite, digest in digests(tasks).items() if spec.problems.get(suite) != digest]:
        raise ValueError(f"the problems of {', '.join(changed)} have changed since they were sampled")
    return tasks
