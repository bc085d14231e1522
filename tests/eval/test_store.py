import json
import os
import pickle
import shutil
import subprocess
import sys

import pytest

from aepo_rllib.eval.sampling.lazy_texts import MissingSample, SampledText, StoredSample, texts_of
from aepo_rllib.eval.sampling.models import SamplingLM
from aepo_rllib.eval.sampling.replay import ReplayLM
from aepo_rllib.eval.sampling.requests import BLOCK, read_requests, waves, without
from aepo_rllib.eval.sampling.sample_files import MemorySamples, Place, SampleFile, StoreError, prompt_key, store_file
from aepo_rllib.models.hf import resolve_model
from aepo_rllib.rollout import make_engine
from aepo_rllib.support.locks import claimed
from tests.support.lm_eval_requests import requests

LAW = {"model": "abc", "temperature": 1.0, "stop": [1, 2]}
HOSTILE = ["", "\n\n", "\u2028\x00\x1f", "\ud800 alone", 'quote " and \\ back', "x" * 50_000, "{}\n{}", "ünïcödé 漢字"]


def sampled(text, tokens=3, truncated=False):
    return SampledText(text, tokens=tokens, truncated=truncated)


def test_samples_come_back_as_they_were(tmp_path):
    store = SampleFile(tmp_path, LAW)
    places = [Place(prompt_key(str(i)), i) for i in range(len(HOSTILE))]
    store.add(
        (place, sampled(text, tokens=i, truncated=i % 2 == 0))
        for i, (place, text) in enumerate(zip(places, HOSTILE, strict=True))
    )
    for opened in (store, SampleFile(tmp_path, LAW)):
        found = [opened.get(place) for place in places]
        assert list(texts_of(found)) == HOSTILE
        assert [sample.tokens for sample in found] == list(range(len(HOSTILE)))
        assert [sample.truncated for sample in found] == [i % 2 == 0 for i in range(len(HOSTILE))]
        assert opened.get(Place(places[0].prompt, 1)) is None


def test_what_is_there_is_never_replaced(tmp_path):
    place = Place("p", 0)
    store = SampleFile(tmp_path, LAW)
    store.add([(place, sampled("first"))])
    store.add([(place, sampled("second"))])
    assert "second" not in store.path.read_text()
    assert list(texts_of([SampleFile(tmp_path, LAW).get(place)])) == ["first"]


def test_other_laws_have_other_files(tmp_path):
    SampleFile(tmp_path, LAW).add([(Place("p", 0), sampled("hot"))])
    for change in ({"temperature": 0.5}, {"model": "abd"}, {"stop": [1]}):
        assert SampleFile(tmp_path, LAW | change).get(Place("p", 0)) is None
    assert SampleFile(tmp_path, dict(reversed(LAW.items()))).get(Place("p", 0)) is not None


def test_a_wave_torn_anywhere_costs_only_itself(tmp_path):
    def add_wave(store, number):
        store.add((Place(f"p{number}", i), sampled(f"text {number} {i}")) for i in range(2))

    whole = SampleFile(tmp_path / "whole", LAW)
    whole.path.parent.mkdir()
    ends = [0]
    for number in range(3):
        add_wave(whole, number)
        ends.append(whole.path.stat().st_size)
    content = whole.path.read_bytes()
    torn = tmp_path / "torn" / whole.path.name
    torn.parent.mkdir()
    for cut in range(len(content)):
        torn.write_bytes(content[:cut])
        looked_at = len(SampleFile(torn.parent, LAW, read_only=True))
        assert torn.read_bytes() == content[:cut]
        store = SampleFile(torn.parent, LAW)
        kept = max(number for number, end in enumerate(ends) if end <= cut)
        assert len(store) == looked_at == 2 * kept, cut
        assert (torn.stat().st_size if torn.exists() else 0) == ends[kept], cut
        for number in range(kept, 3):
            add_wave(store, number)
        assert torn.read_bytes() == content, cut


def test_damage_before_the_end_is_named(tmp_path):
    store = SampleFile(tmp_path, LAW)
    store.add((Place("p", i), sampled(f"text {i}")) for i in range(3))
    lines = store.path.read_text().splitlines(keepends=True)
    good = '{"prompt": "q", "sample": 0, "tokens": 1, "truncated": false, "text": ""}\n'
    for bad in ("{]\n", '{"prompt": "p"}\n', "[]\n", "7\n", "[" * 100_000 + "\n", good.replace("false", "0"), lines[1]):
        store.path.write_text("".join([*lines[:2], bad, *lines[2:]]))
        with pytest.raises(StoreError, match=rf"{store.path.name}:3: no sample .*--repair"):
            SampleFile(tmp_path, LAW)
    store.path.write_text("".join(['{"format": 2, "law": {"model": "other"}}\n', *lines[1:]]))
    with pytest.raises(StoreError, match=r":1: .*another law"):
        SampleFile(tmp_path, LAW)
    for changed in ([*lines[:2], *lines[3:]], [*lines[:2], good, *lines[2:]], [*lines[:4], '{"wave": 7}\n']):
        store.path.write_text("".join(changed))
        with pytest.raises(StoreError, match=r":2-\d: wave 1 is damaged: its samples \([234]\) and its last line"):
            SampleFile(tmp_path, LAW)


def test_stored_samples_are_small_and_say_where_they_lie(tmp_path):
    store = SampleFile(tmp_path, LAW)
    store.add([(Place("p", 0), sampled("x" * 100_000))])
    sample = store.get(Place("p", 0))
    assert isinstance(sample, StoredSample)
    assert sys.getsizeof(sample) < 300
    name, _, offset = sample.partition(":")
    line = (tmp_path / name).read_bytes()[int(offset) :].split(b"\n")[0]
    assert json.loads(line)["text"] == "x" * 100_000


def test_equal_prompts_of_one_suite_are_told_apart():
    first, second, other = read_requests(requests(2, prompts=("same", "same", "other")))
    assert len({*first.places, *second.places, *other.places}) == 6
    # The same question in another suite is the same question.
    assert read_requests(requests(2, prompts=("same",), task="u"))[0].places == first.places


@pytest.mark.parametrize(("n", "max_rows"), [(1, 1024), (5, 7), (300, 256), (300, 50), (2 * BLOCK, 2 * BLOCK)])
def test_waves_hold_every_sample_once_within_the_limit(n, max_rows):
    asked = read_requests(requests(n, prompts=("a", "b", "c")))
    dealt = [[place for _, places in wave for place in places] for wave in waves(asked, max_rows)]
    assert sorted(place for wave in dealt for place in wave) == sorted(p for question in asked for p in question.places)
    assert all(0 < len(wave) <= max_rows for wave in dealt)


def test_all_prompts_get_their_first_block_before_any_gets_its_second():
    asked = read_requests(requests(3 * BLOCK, prompts=("a", "b", "c")))
    numbers = [place.sample // BLOCK for wave in waves(asked, BLOCK) for _, places in wave for place in places]
    assert numbers == sorted(numbers)
    assert set(numbers) == {0, 1, 2}


@pytest.mark.parametrize(("n", "max_rows", "extended"), [(300, 256, 0), (300, 50, 0), (40, 64, 16), (500, 300, 130)])
def test_what_is_left_after_some_waves_is_dealt_as_before(n, max_rows, extended):
    """Also where an evaluation with fewer samples (`extended`) had been there before."""

    class Held(MemorySamples):
        def __init__(self, places):
            super().__init__()
            self.add((place, sampled("")) for place in places)

    asked = read_requests(requests(n, prompts=("a", "b", "c")))
    before = [place for question in asked for place in question.places[:extended]]
    start = list(without(asked, Held(before)))
    dealt = [[place for _, places in wave for place in places] for wave in waves(start, max_rows)]
    for done in range(len(dealt) + 1):
        held = Held([*before, *(place for wave in dealt[:done] for place in wave)])
        left = waves(list(without(asked, held)), max_rows)
        assert [[place for _, places in wave for place in places] for wave in left] == dealt[done:]


def test_a_store_samples_only_what_is_missing(tmp_path):
    def generated(lm, asked):
        calls = []
        original = lm.engine.generate

        def counting(prompts, **kwargs):
            calls.append(sum(len(prompt.keys) for prompt in prompts))
            return original(prompts, **kwargs)

        lm.engine.generate = counting
        return sum(calls), list(texts_of(lm.generate_until(asked))), sum(calls)

    def run(n, store):
        lm = SamplingLM("embedded", seed=3, store=str(store), max_rows=64)
        _, texts, count = generated(lm, requests(n))
        return texts, count

    fresh, count = run(32, tmp_path / "a")
    assert count == 64
    again, count = run(32, tmp_path / "a")
    assert (again, count) == (fresh, 0)
    longer, count = run(64, tmp_path / "a")
    assert count == 64
    assert longer[:32] == fresh[:32]
    assert longer[64:96] == fresh[32:]
    assert longer == run(64, tmp_path / "b")[0]
    in_memory = SamplingLM("embedded", seed=3, max_rows=64).generate_until(requests(64))
    assert in_memory == longer


def test_a_store_knows_models_settings_and_prompts_apart(tmp_path):
    def files(lm, asked):
        lm.generate_until(asked)
        return {file.name for file in tmp_path.glob("*.jsonl")}

    asked = requests(2)
    seen = files(SamplingLM("embedded", seed=3, store=str(tmp_path)), asked)
    assert len(seen) == 1
    assert files(SamplingLM("embedded", seed=3, store=str(tmp_path), max_rows=1), asked) == seen
    for options, request in (
        ({"seed": 4}, asked),
        ({"dtype": "float64"}, asked),
        ({}, requests(2, temperature=0.5)),
        ({}, requests(2, until=["x"])),
    ):
        now = files(SamplingLM("embedded", **{"seed": 3, "store": str(tmp_path)} | options), request)
        assert len(now - seen) == 1
        seen = now


def test_two_processes_never_write_into_one_store(tmp_path):
    lm = SamplingLM("embedded", store=str(tmp_path))
    with claimed(tmp_path), pytest.raises(ValueError, match=f"in use by process {os.getpid()}"):
        lm.generate_until(requests(2))


@pytest.mark.process
def test_a_killed_run_is_continued_to_the_same_samples(tmp_path):
    """SIGKILL after the third wave of ten; the file then equals that of a run that nobody killed, byte for byte."""
    code = """
import os, signal, sys, torch
from tests.support.lm_eval_requests import requests
from aepo_rllib.eval.sampling.models import SamplingLM
torch.set_num_threads(1)
store, waves_before_death = sys.argv[1], int(sys.argv[2])
lm = SamplingLM("embedded", store=store, max_rows=20)
generate, done = lm.engine.generate, []
def counted(*args, **kwargs):
    if len(done) == waves_before_death:
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(1)
    return generate(*args, **kwargs)
lm.engine.generate = counted
lm.generate_until(requests(100))
print(len(done))
"""

    def run(store, waves_before_death):
        command = [sys.executable, "-c", code, str(store), str(waves_before_death)]
        return subprocess.run(command, capture_output=True, text=True)

    assert run(tmp_path / "whole", 99).stdout == "10\n"
    assert run(tmp_path / "killed", 3).returncode == -9
    (file,) = (tmp_path / "killed").glob("*.jsonl")
    assert len(file.read_text().splitlines()) == 1 + 3 * 21
    with file.open("ab") as torn:  # as if the kill had come while the fourth was written
        torn.write((tmp_path / "whole" / file.name).read_bytes()[file.stat().st_size :][:400])
    assert run(tmp_path / "killed", 99).stdout == "7\n"
    assert file.read_bytes() == (tmp_path / "whole" / file.name).read_bytes()


def test_a_stored_model_says_what_was_said_and_nothing_else(tmp_path):
    lm = SamplingLM("embedded", seed=3, store=str(tmp_path))
    said = lm.generate_until(requests(4))
    stored = ReplayLM(tmp_path, lm.identity())
    assert list(texts_of(stored.generate_until(requests(4)))) == list(texts_of(said))
    more = stored.generate_until(requests(6))
    assert [isinstance(sample, MissingSample) for sample in more] == ([False] * 4 + [True] * 2) * 2
    other = stored.generate_until(requests(2, prompts=("Add 1 2.", "Add 5 6.")))
    assert [isinstance(sample, MissingSample) for sample in other] == [False] * 2 + [True] * 2
    # Nothing of a whole task: then samples were lost, and whoever asks has to know.
    with pytest.raises(StoreError, match="holds no sample of u"):
        stored.generate_until([*requests(2), *requests(2, prompts=("Add 5 6.",), task="u")])
    with pytest.raises(StoreError, match=r"is not there: .* holds no sample of u; the same `aepo eval` draws them"):
        stored.generate_until([*requests(2), *requests(2, task="u", max_gen_toks=9)])
    store_file(tmp_path, lm.identity() | read_requests(requests(1))[0].decoding.law()).unlink()
    with pytest.raises(StoreError, match="holds no sample of t"):
        stored.generate_until(requests(2))


def test_two_suites_that_share_a_problem_sample_it_once(tmp_path):
    lm = SamplingLM("embedded", seed=3, store=str(tmp_path), max_rows=8)
    first, second = requests(6, task="one"), requests(6, prompts=("Add 3 4.", "Add 5 6."), task="two")
    texts = lm.generate_until([*first, *second])
    assert texts[6:12] == texts[12:18]
    (file,) = tmp_path.glob("*.jsonl")
    waves_there = [json.loads(line)["wave"] for line in file.read_text().split("\n") if '"wave"' in line]
    assert waves_there == [8, 8, 2]


def test_texts_come_back_from_a_store_unless_references_are_wanted(tmp_path):
    """lm-eval's own filters and logs read what a model returns."""
    plain = SamplingLM("embedded", seed=3, store=str(tmp_path)).generate_until(requests(3))
    assert not any(isinstance(text, StoredSample) for text in plain)
    references = SamplingLM("embedded", seed=3, store=str(tmp_path), by_reference=True).generate_until(requests(3))
    assert all(isinstance(sample, StoredSample) for sample in references)
    assert list(texts_of(pickle.loads(pickle.dumps(references)))) == plain
    assert [text.tokens for text in plain] == [sample.tokens for sample in references]


def test_a_hub_model_is_known_once_it_is_downloaded(monkeypatch):
    commits = iter(["", "org/model@1a2b"])
    monkeypatch.setattr("aepo_rllib.eval.sampling.models.model_fingerprint", lambda _: next(commits))
    assert SamplingLM("embedded").identity()["model"] == "org/model@1a2b"


def test_weights_that_change_while_they_are_loaded_are_refused(tmp_path, monkeypatch):
    """Or their samples would be kept under the name of others."""
    model = tmp_path / "model"
    shutil.copytree(resolve_model("embedded"), model)
    lm = SamplingLM(str(model), store=str(tmp_path / "store"))
    before = lm.identity()
    (model / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:-4] + b"\0\0\0\1")
    assert lm.identity() == before  # of the weights in memory
    assert SamplingLM(str(model)).identity() != before

    def replacing(*args, **kwargs):
        (model / "config.json").write_text((model / "config.json").read_text() + "\n")
        return make_engine(*args, **kwargs)

    monkeypatch.setattr("aepo_rllib.eval.sampling.models.make_engine", replacing)
    with pytest.raises(ValueError, match="changed while they were loaded"):
        SamplingLM(str(model))
