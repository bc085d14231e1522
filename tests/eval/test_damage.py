"""Damage to stored samples is always seen, always named, and cut out without losing anything else."""

import json
import logging
import random
import resource

import pytest

from aepo_rllib.eval.regrading import regrade
from aepo_rllib.eval.run import evaluate_model
from aepo_rllib.eval.sampling.lazy_texts import SampledText
from aepo_rllib.eval.sampling.repair import repair
from aepo_rllib.eval.sampling.sample_files import Place, SampleFile, StoreError

LAW = {"model": "abc", "temperature": 1.0, "stop": [1, 2]}
WAVES, SIZE = 6, 5
ALPHABET = 'ab J*\n\x00\u2028é"\\漢\ud800{}'
"""`J` and `*` are one bit away from a line end."""


@pytest.fixture
def samples():
    """By place: text, length, and whether it was cut."""
    rng = random.Random(0)
    return {
        Place(f"{wave:016x}", number): (
            "".join(rng.choices(ALPHABET, k=rng.randrange(60))),
            rng.randrange(50),
            rng.random() < 0.5,
        )
        for wave in range(WAVES)
        for number in range(SIZE)
    }


@pytest.fixture
def file(tmp_path, samples):
    store = SampleFile(tmp_path, LAW)
    for wave in range(WAVES):
        add(store, samples, wave)
    return store.path


def add(store, samples, wave):
    rows = list(samples.items())[wave * SIZE : (wave + 1) * SIZE]
    store.add((place, SampledText(text, tokens=tokens, truncated=cut)) for place, (text, tokens, cut) in rows)


def held(folder, samples, **options):
    store = SampleFile(folder, LAW, **options)
    found = {place: store.get(place) for place in samples if store.get(place) is not None}
    return {place: (str(sample.load()), sample.tokens, sample.truncated) for place, sample in found.items()}


def waves_of(content):
    """The bytes of head and waves, cut by hand."""
    head, *lines = content.splitlines(keepends=True)
    return head, [b"".join(lines[start : start + SIZE + 1]) for start in range(0, len(lines), SIZE + 1)]


def removed(folder):
    """Everything that repairs have set aside."""
    return b"".join(file.read_bytes() for file in sorted(folder.glob(".damaged_*")))


def test_no_flipped_bit_goes_unseen(file, samples, tmp_path):
    """1,500 places all over the file, and every byte of its first line, and of the last line of a wave."""
    content = file.read_bytes()
    first, last = content.index(b"\n") + 1, content.rindex(b"{")
    rng = random.Random(1)
    places = [(rng.randrange(len(content)), rng.randrange(8)) for _ in range(1500)]
    places += [(place, rng.randrange(8)) for place in [*range(first), *range(last, len(content))]]
    for place, bit in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        file.write_bytes(flipped)
        with pytest.raises(StoreError, match=rf"^{file}:\d+(-\d+)?: .*--repair"):
            held(tmp_path, samples, read_only=True)
    file.write_bytes(content)
    assert held(tmp_path, samples, read_only=True) == samples


def test_a_repair_costs_the_damaged_wave_alone_and_keeps_its_bytes(file, samples, tmp_path):
    content = file.read_bytes()
    head, waves = waves_of(content)
    ends = [len(head) + sum(map(len, waves[:count])) for count in range(WAVES + 1)]
    rng = random.Random(2)
    places = [rng.randrange(len(content)) for _ in range(150)] + [rng.randrange(len(head)), *(end - 1 for end in ends)]
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.randrange(8)
        file.write_bytes(flipped)
        assert f"{file}: lines " in repair(tmp_path, LAW)
        hit = sum(place >= end for end in ends) - 1  # -1 is the head
        start, end = (ends[hit], ends[hit + 1]) if hit >= 0 else (0, len(head))
        assert removed(tmp_path) == flipped[start:end]
        for aside in tmp_path.glob(".damaged_*"):
            aside.unlink()
        kept = file.read_bytes()
        assert kept.startswith(head + b"".join(waves[: max(hit, 0)]))
        assert kept.endswith(b"".join(waves[hit + 1 :]))
        assert len(held(tmp_path, samples)) == SIZE * (WAVES - (hit >= 0))
        assert repair(tmp_path, LAW) is None
        # What is missing is added again, and nothing else.
        store = SampleFile(tmp_path, LAW)
        if hit >= 0:
            add(store, samples, hit)
        assert held(tmp_path, samples) == samples
        assert file.read_bytes() == content or 0 <= hit < WAVES - 1


def changed_files(head, waves):
    """By name: what a file can become, and which waves are then whole."""
    every = range(WAVES)
    return {
        "a wave is lost": (head + b"".join(waves[:2] + waves[3:]), [0, 1, 3, 4, 5]),
        "two have changed places": (head + b"".join([waves[1], waves[0], *waves[2:]]), every),
        "one is there twice": (head + b"".join([*waves, waves[3]]), every),
        "all are there twice": ((head + b"".join(waves)) * 2, every),
        "two line ends are damaged": (
            head + b"".join([b"?" + waves[0], *waves[1:4], waves[4][:-9] + waves[5]]),
            [0, 1, 2, 3, 5],
        ),
        "a line is lost": (head + waves[0].split(b"\n", 1)[1] + b"".join(waves[1:]), [1, 2, 3, 4, 5]),
        "zeros in the middle": (head + waves[0] + b"\0" * len(waves[1]) + b"".join(waves[2:]), [0, 2, 3, 4, 5]),
        "no head": (b"".join(waves), every),
        "the head of the first format": (head.replace(b'"format": 2, ', b"") + b"".join(waves), every),
        "text after the end": (head + b"".join(waves) + b"xx\n", every),
        "nothing is whole": (head + b"".join(wave[1:] for wave in waves), []),
    }


@pytest.mark.parametrize("change", changed_files(b"", [b"\n"] * WAVES))
def test_whatever_becomes_of_a_file_all_whole_waves_are_found_again(change, file, samples, tmp_path):
    head, waves = waves_of(file.read_bytes())
    content, whole = changed_files(head, waves)[change]
    file.write_bytes(content)
    with pytest.raises(StoreError, match="--repair"):
        held(tmp_path, samples)
    assert f"{SIZE * len(whole)} samples are whole" in repair(tmp_path, LAW)
    assert list(held(tmp_path, samples)) == [place for i in whole for place in list(samples)[i * SIZE : (i + 1) * SIZE]]
    assert not file.exists() or file.read_bytes().startswith(head)
    for kept in (head, *(waves[i] for i in whole)):
        content = content.replace(kept, b"", 1) if kept != head or content.startswith(head) else content
    assert removed(tmp_path) == content


def test_waves_of_another_law_are_not_taken(file, samples, tmp_path):
    """Not even under the right first line."""
    other = SampleFile(tmp_path, LAW | {"temperature": 0.5})
    other.add(
        (place, SampledText(text, tokens=tokens, truncated=cut)) for place, (text, tokens, cut) in samples.items()
    )
    head, _ = waves_of(file.read_bytes())
    file.write_bytes(head + other.path.read_bytes().split(b"\n", 1)[1])
    with pytest.raises(StoreError, match="wave 1 is damaged"):
        held(tmp_path, samples)
    repair(tmp_path, LAW)
    assert not held(tmp_path, samples)


def test_line_ends_that_were_converted_are_told_how_to_be_turned_back(file, samples, tmp_path):
    file.write_bytes(converted := file.read_bytes().replace(b"\n", b"\r\n"))
    for use in (held, lambda folder, _: repair(folder, LAW)):
        with pytest.raises(StoreError, match=rf"sed -i 's/\\r\$//' {file}"):
            use(tmp_path, samples)
    assert file.read_bytes() == converted


@pytest.mark.parametrize("zeros", [1, 500])
def test_what_a_power_cut_leaves_is_a_torn_wave(zeros, file, samples, tmp_path):
    """The length of the file was on the disk, its last blocks were not: zeros stand in their place."""
    head, waves = waves_of(file.read_bytes())
    before = head + b"".join(waves[:-1])
    for whole in range(0, SIZE * 40, 13):
        file.write_bytes(before + waves[-1][:whole] + b"\0" * zeros)
        assert len(held(tmp_path, samples)) == SIZE * (WAVES - 1)
        assert file.read_bytes() == before
    file.write_bytes(head[:20] + b"\0" * zeros)
    assert not held(tmp_path, samples)


def first_format(content):
    """The same samples as files without digests held them."""
    head, waves = waves_of(content)
    return head.replace(b'"format": 2, ', b"") + b"".join(
        wave[: wave.rindex(b"{")] + b'{"wave": %d}\n' % SIZE for wave in waves
    )


def test_files_without_digests_are_read_on_with_a_warning(file, samples, tmp_path, caplog):
    file.write_bytes(old := first_format(file.read_bytes()))
    assert json.loads(old.split(b"\n")[0]) == {"law": LAW}
    with caplog.at_level(logging.WARNING):
        assert held(tmp_path, samples) == samples
    assert [str(file) in record.message and "checksums" in record.message for record in caplog.records] == [True]
    more = {Place("more", number): ("text", 1, False) for number in range(SIZE)}
    add(SampleFile(tmp_path, LAW), more, 0)
    assert file.read_bytes().startswith(old)
    assert held(tmp_path, samples | more) == samples | more
    # What does show is cut out likewise.
    file.write_bytes(file.read_bytes().replace(b'"tokens"', b'"takens"', 1))
    with pytest.raises(StoreError, match=":2: no sample"):
        held(tmp_path, samples)
    repair(tmp_path, LAW)
    assert list(held(tmp_path, samples | more)) == [*list(samples)[SIZE:], *more]


def test_a_wave_that_does_not_fit_on_the_disk_leaves_the_file_as_it_was(file, samples, tmp_path, monkeypatch):
    store, before = SampleFile(tmp_path, LAW), file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    more = {Place("more", number): ("text" * 100, 1, False) for number in range(SIZE)}
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 700, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            add(store, more, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    add(store, more, 0)
    assert held(tmp_path, samples | more) == samples | more


def test_a_file_that_somebody_else_writes_into_is_not_written_on(file, samples, tmp_path):
    one, other = SampleFile(tmp_path, LAW), SampleFile(tmp_path, LAW)
    add(one, {Place("one", number): ("", 1, False) for number in range(SIZE)}, 0)
    with pytest.raises(StoreError, match="changed by somebody else"):
        add(other, {Place("other", number): ("", 1, False) for number in range(SIZE)}, 0)
    held(tmp_path, samples)


def test_an_evaluation_with_damage_is_refused_repaired_and_drawn_to_the_same_samples(tmp_path, caplog):
    options = {"n": 2, "limit": 4, "max_new_tokens": 16, "max_rows": 2, "output": tmp_path}
    whole = evaluate_model(**options)
    (file,) = (tmp_path / "samples").glob("*.jsonl")
    content = file.read_bytes()
    reports = {report.name: report.read_bytes() for report in tmp_path.iterdir() if report.is_file()}
    damaged = content.replace(b'"number": 2', b'"number": 6')
    file.write_bytes(damaged)
    for refused in (lambda: regrade(tmp_path), lambda: evaluate_model(**options)):
        with pytest.raises(StoreError, match=r"wave 2 is damaged.*`aepo eval \.\.\. --repair`"):
            refused()
    assert file.read_bytes() == damaged
    assert {report.name: report.read_bytes() for report in tmp_path.iterdir() if report.is_file()} == reports
    with caplog.at_level(logging.WARNING):
        assert evaluate_model(**options, repair=True) == whole
    assert any("were cut out" in record.message for record in caplog.records)
    # All waves but the damaged one as they were, an empty one in its place, and its samples in one more at the end.
    before, after = content.splitlines(), file.read_bytes().splitlines()
    assert after[:4] + after[5:11] == before[:4] + before[7:]
    assert after[11:13] == before[4:6]
    assert [json.loads(after[line])["wave"] for line in (4, 13)] == [0, 2]
    assert evaluate_model(**options, repair=True) == whole
    assert file.read_bytes().splitlines() == after
