import json
import pickle
import shutil

import pytest
from lm_eval.api.instance import Instance

from aepo_rllib.envs import load_problems
from aepo_rllib.eval.sampling.decoding import Decoding
from aepo_rllib.eval.sampling.lazy_texts import SampledText
from aepo_rllib.eval.sampling.models import SamplingLM, SamplingVLLM
from aepo_rllib.models.hf import resolve_model
from aepo_rllib.rollout import FinishReason, SamplingFilters

KWARGS = {"do_sample": True, "temperature": 1.0, "max_gen_toks": 64, "until": []}
PROBLEMS = load_problems("arithmetic", split="test")


@pytest.fixture(scope="module")
def lm():
    return SamplingLM("embedded", seed=5)


def requests(n, problems=range(3), **kwargs):
    """What lm-eval hands to a model: every request n times, as the same object."""
    made = [
        Instance("generate_until", {}, (PROBLEMS[i].text, KWARGS | kwargs), 0, metadata=("aepo_arithmetic", i, n))
        for i in problems
    ]
    return [request for request in made for _ in range(n)]


def test_samples_are_the_keyed_samples_of_the_engine(lm, direct_samples):
    texts = lm.generate_until(requests(6))
    expected = direct_samples(6, range(3), seed=5)
    assert texts == [text for text, _ in expected]
    assert [text.truncated for text in texts] == [reason is FinishReason.LENGTH for _, reason in expected]


def test_samples_of_a_prompt_differ_and_repeat_with_the_seed(lm):
    texts = lm.generate_until(requests(16, problems=[0]))
    assert len(set(texts)) > 8
    assert lm.generate_until(requests(16, problems=[0])) == texts
    assert SamplingLM("embedded", seed=6).generate_until(requests(16, problems=[0])) != texts


def test_neither_waves_nor_n_nor_other_problems_change_a_sample(lm):
    texts = lm.generate_until(requests(8))
    small_waves = SamplingLM("embedded", seed=5, max_rows=5)
    assert small_waves.generate_until(requests(8)) == texts
    assert lm.generate_until(requests(12, problems=[1]))[:8] == texts[8:16]


def test_greedy_decoding_gives_one_sample_and_refuses_more(lm, direct_samples):
    first = lm.generate_until(requests(1, do_sample=False, temperature=0.0))
    assert first == SamplingLM("embedded", seed=99).generate_until(requests(1, do_sample=True, temperature=0.0))
    assert first == [text for text, _ in direct_samples(1, range(3), seed=0, top_k=1)]
    with pytest.raises(ValueError, match="4 equal samples"):
        lm.generate_until(requests(4, do_sample=False))


def test_requests_with_other_arguments_keep_their_places(lm):
    short, long = requests(4, problems=[0], max_gen_toks=3), requests(4, problems=[1])
    texts = lm.generate_until(short + long)
    assert all(text.truncated for text in texts[:4])
    assert texts[4:] == lm.generate_until(long)


def test_text_is_cut_at_stop_strings(lm):
    whole = lm.generate_until(requests(8, problems=[0]))
    cut = lm.generate_until(requests(8, problems=[0], until="\\boxed"))
    assert [text.partition("\\boxed")[0] for text in whole] == cut
    assert not any("\\boxed" in text for text in cut)


def test_special_tokens_in_a_prompt_are_text(lm):
    assert lm.tokenizer.eos_token_id not in lm.encoder.encode("Add 1 2<eos>.")


def test_options_of_the_engine_are_passed_on_or_refused():
    lm = SamplingLM("embedded", max_rows=5, engine_options={"max_tokens_in_flight": 700})
    assert (lm.max_rows, lm.engine.max_tokens_in_flight) == (5, 700)
    with pytest.raises(ValueError, match="unknown engine option 'max_num_seq'; did you mean max_num_seqs"):
        SamplingVLLM.create_from_arg_string("pretrained=embedded,max_num_seq=8")  # flat, as in lm-eval's --model_args
    with pytest.raises(ValueError, match="engine option 'max_model_len': '4k' is a str, not int or NoneType"):
        SamplingVLLM.create_from_arg_string("pretrained=embedded,max_model_len=4k")
    for somebody_elses in ("model", "dtype", "self"):
        with pytest.raises(ValueError, match=f"unknown engine option '{somebody_elses}'"):
            SamplingLM("embedded", engine_options={somebody_elses: "x"})


def test_log_likelihoods_are_refused(lm):
    with pytest.raises(NotImplementedError, match="only generates"):
        lm.loglikelihood([])
    with pytest.raises(NotImplementedError, match="only generates"):
        lm.loglikelihood_rolling([])


def test_generation_arguments():
    decoding = Decoding.from_kwargs(
        {"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.9, "min_p": 0.1, "until": "x"}
    )
    assert decoding == Decoding(256, 0.6, SamplingFilters(20, 0.9, 0.1), ("x",))
    assert Decoding.from_kwargs({"do_sample": False}).greedy
    with pytest.raises(ValueError, match="seed"):
        Decoding.from_kwargs({"do_sample": True, "temperature": 1.0, "seed": 1})
    with pytest.raises(ValueError, match="top_p"):
        Decoding.from_kwargs({"do_sample": True, "temperature": 1.0, "top_p": 1.5})
    with pytest.raises(ValueError, match="negative"):
        Decoding.from_kwargs({"do_sample": True, "temperature": -1.0})


def test_cut_is_at_the_first_of_all_stop_strings():
    decoding = Decoding.from_kwargs({"do_sample": False, "until": ["c", "", "b"]})
    assert decoding.cut("abcb") == "a"
    assert decoding.cut("xyz") == "xyz"


def test_sampled_text_survives_pickling():
    text = pickle.loads(pickle.dumps(SampledText("abc", tokens=3, truncated=True)))
    assert text == "abc"
    assert (text.tokens, text.truncated) == (3, True)


@pytest.mark.process
def test_a_frame_is_put_around_the_tasks_prompt(lm, tmp_path):
    """In a frame the model reads other tokens than the bare text; the same ones as a conversation would give it."""
    model = tmp_path / "chatty"
    shutil.copytree(resolve_model("embedded"), model)
    config = json.loads((model / "tokenizer_config.json").read_text())
    config["chat_template"] = "{% for m in messages %}{{ m['content'] }}{% endfor %} yes"
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    framed = SamplingLM(str(model), seed=5, template="aepo-think")
    assert framed.render("Add 1 2.") == "Add 1 2. yes"
    chat = SamplingLM(str(model), seed=5)
    asked = requests(4, problems=[0])
    assert chat.apply_chat_template([{"role": "user", "content": asked[0].args[0]}]) == asked[0].args[0]
    texts = chat.generate_until(asked)
    assert texts == framed.generate_until(asked)
    assert texts != lm.generate_until(asked)
    system = [{"role": "system", "content": "Make 3 from 1 2."}, {"role": "user", "content": "Add 1 2."}]
    assert chat.render(chat.apply_chat_template(system)) == "Make 3 from 1 2.Add 1 2. yes"
    with pytest.raises(ValueError, match="single user turn"):
        chat.apply_chat_template([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 2)


def test_all_prompts_are_checked_before_any_is_sampled(lm, monkeypatch):
    monkeypatch.setattr(lm.engine, "generate", lambda *_, **__: pytest.fail("sampled"))
    long = Instance("generate_until", {}, ("1 " * 600, KWARGS), 0, metadata=("aepo_arithmetic", 9, 1))
    with pytest.raises(ValueError, match="context is 512"):
        lm.generate_until([*requests(4), long])
