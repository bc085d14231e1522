"""Checkpoints of other versions: refused before anything is unpickled, with what they are still good for."""

from __future__ import annotations

import json
import shutil

import pytest

from aepo_rllib import AEPO, AEPOConfig
from aepo_rllib.models.export import HF_FOLDER
from aepo_rllib.support.sealed_folder import (
    FORMAT,
    MANIFEST,
    CheckpointError,
    OtherFormatError,
    appearing_folder,
    verify,
)
from tests.support.small_runs import small

OLD = """{
 "format": 1,
 "files": {
  "algorithm_state.pkl": {
   "bytes": 7,
   "sha256": "239f7817ed1cbd6ee3893f842b7f6d5f4554bea0eff6687841c135f62192a810"
  },
  "huggingface/aepo.json": {
   "bytes": 2,
   "sha256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
  }
 }
}
"""
"""A manifest as the first format was written, byte by byte."""


@pytest.fixture
def old(tmp_path):
    """A whole checkpoint of the first format."""
    folder = tmp_path / "step_000010"
    (folder / "huggingface").mkdir(parents=True)
    (folder / "algorithm_state.pkl").write_bytes(b"pickled")
    (folder / "huggingface" / "aepo.json").write_bytes(b"{}")
    (folder / MANIFEST).write_text(OLD)
    return folder


def test_a_checkpoint_of_an_older_version_is_refused_with_what_its_weights_are_good_for(old):
    with pytest.raises(OtherFormatError) as refused:
        verify(old)
    sentence = str(refused.value)
    assert sentence.startswith(f"{old} was written by an older version of aepo-rllib (checkpoint format 1; ")
    assert sentence.endswith(
        f"evaluated, aepo eval {old / HF_FOLDER}, and trained further, aepo train --model {old / HF_FOLDER}"
    )
    assert "\n" not in sentence


def test_a_manifest_without_a_format_is_an_older_one_and_one_with_a_later_format_a_newer_one(old):
    manifest = json.loads(OLD)
    for form, age in ((None, "an older"), (FORMAT + 1, "a newer")):
        manifest.pop("format", None)
        given = manifest if form is None else {"format": form, **manifest}
        (old / MANIFEST).write_text(json.dumps(given, indent=1) + "\n")
        with pytest.raises(OtherFormatError, match=f"written by {age} version"):
            verify(old)


def test_a_damaged_manifest_of_an_older_version_is_called_damaged(old):
    (old / MANIFEST).write_text(OLD.replace('"format": 1', '"format":  1'))
    with pytest.raises(CheckpointError, match=r"is damaged$") as refused:
        verify(old)
    assert not isinstance(refused.value, OtherFormatError)


def test_what_is_written_now_is_read_now(old):
    with appearing_folder(old) as folder:
        (folder / "algorithm_state.pkl").write_bytes(b"pickled")
    verify(old)
    assert json.loads((old / MANIFEST).read_text())["format"] == FORMAT == 3


def test_an_algorithm_is_not_restored_from_an_older_checkpoint(ray_cluster, old, tmp_path):
    """Its pickled parts, which name files that have moved, are not touched."""
    algo = small(AEPOConfig()).evaluation(evaluation_interval=None).build_algo()
    try:
        with pytest.raises(OtherFormatError, match="an older version"):
            algo.restore_from_path(old)
        now = algo.save_to_path(tmp_path / "now")
        shutil.copy(old / MANIFEST, now)
        with pytest.raises(OtherFormatError, match="an older version"):
            AEPO.from_checkpoint(now)
    finally:
        algo.stop()
