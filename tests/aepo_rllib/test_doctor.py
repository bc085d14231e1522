"""`aepo doctor` finds the embedded model well, and notices what breaks it."""

import dataclasses

from click.testing import CliRunner

from aepo_rllib import doctor, learner
from aepo_rllib.cli.main import cli


def test_the_embedded_model_is_well():
    result = CliRunner().invoke(cli, ["doctor", "--max-new-tokens", "32"])
    assert result.exit_code == 0, result.output
    assert result.output.count(" ok ") == 4


def test_rows_that_get_lost_between_passes_are_noticed(monkeypatch):
    split = learner._split
    monkeypatch.setattr(learner, "_split", lambda batch, size: split(batch, size)[:2])  # a third pass never runs
    findings = list(doctor.examine("embedded", max_new_tokens=32))
    assert [finding.fine for finding in findings] == [True, False, False, False]


def test_weights_that_forget_the_number_of_learners_are_noticed(monkeypatch):
    deal = doctor.deal

    def forgetful(streams, *, learners, **kwargs):
        [shares] = deal(streams, learners=learners, **kwargs)
        return [[[dataclasses.replace(row, weight=row.weight / learners) for row in rows] for rows in shares]]

    monkeypatch.setattr(doctor, "deal", forgetful)
    findings = list(doctor.examine("embedded", max_new_tokens=32))
    assert [finding.fine for finding in findings] == [True, True, False, False]


def test_bad_input_is_refused():
    for arguments, message in (
        (["/nowhere"], "cannot read"),
        (["--problems", "nowhere"], "no problems called"),
        (["--max-new-tokens", "4096"], "leaves no room for a prompt"),
    ):
        result = CliRunner().invoke(cli, ["doctor", *arguments])
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())


def test_nan_is_not_fine():
    assert not doctor.Finding("check", float("nan"), 1.0).fine
    assert doctor.Finding("check", 0.5, 0.5).fine
