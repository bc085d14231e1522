"""Every option is declared once: its setter, documentation, checks and every way it travels follow from that."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided

from aepo_rllib import AEPOConfig, GRPOConfig
from aepo_rllib.algorithms import ALGORITHMS
from aepo_rllib.cli.settings import build, resolved
from aepo_rllib.envs.text_env import MathTextEnv
from aepo_rllib.support.options import Option, option
from aepo_rllib.training.config import TextRLConfig
from aepo_rllib.training.declared import setter

Config = type[TextRLConfig]
each_method = pytest.mark.parametrize("cls", ALGORITHMS.values(), ids=ALGORITHMS)
OTHERS: dict[str, tuple[Any, ...]] = {
    "model_path": ("some/model",),
    "engine": ("vllm",),
    "engine_options": ({"max_tokens_in_flight": 8},),
    "validation_problems": ("arithmetic",),
    "target_entropy": ([[0, "1.0x"], [100, 0.4]],),
    "controller": ("proportional", "switch"),
    "controller_options": ({"gain": 2.0},),
    "adam_betas": ((0.8, 0.9),),
    "lora_target_modules": (["q_proj", "v_proj"],),
    "solved_gate": (0.75,),
}
"""Values of options for which `other` has no rule."""


def other(name: str, declared: Option) -> Any:
    """A value of an option that is not its default."""
    if candidates := OTHERS.get(name, declared.choices):
        return next(value for value in candidates if value != declared.default)
    if declared.kind is bool:
        return not declared.default
    if declared.default is None:
        return declared.kind(2)
    if declared.kind is int:
        return declared.default - 1 if declared.default == declared.most else declared.default + 1
    return declared.default / 2 or 0.5


def wrong(declared: Option) -> Iterator[Any]:
    """Values that an option cannot have."""
    yield object
    numbers = [
        *([] if declared.least is None else [declared.least - 1]),
        *([] if declared.above is None else [declared.above]),
        *([] if declared.most is None else [declared.most + 1]),
        *([] if declared.below is None else [declared.below]),
    ]
    if declared.kind in (int, float):
        numbers += ["1", float("nan"), float("inf"), True, *([1.5] if declared.kind is int else [])]
        numbers = [declared.kind(n) if type(n) in (int, float) and n == n // 1 else n for n in numbers]
    elif declared.choices:
        yield "nope"
    else:
        yield {bool: 1, str: 3, dict: [1]}[declared.kind]
    if not declared.optional:
        yield None
    for number in numbers:
        yield (number, number) if declared.pair else number


def setters(cls: Config) -> dict[str, list[Callable[..., Any]]]:
    """Fluent methods by name, the class's own first: those whose keywords are left out unless given."""
    found: dict[str, list[Callable[..., Any]]] = {}
    for base in cls.__mro__[: cls.__mro__.index(AlgorithmConfig)]:
        for name, function in vars(base).items():
            if inspect.isfunction(function) and keywords(function):
                found.setdefault(name, []).append(function)
    return found


def keywords(function: Callable[..., Any]) -> list[str]:
    """Names of a method's parameters that are left out unless given."""
    parameters = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is NotProvided]


def first_annotation(cls: Config, name: str) -> str:
    """The annotation of an option where it is declared first."""
    *_, base = (base for base in cls.__mro__ if isinstance(vars(base).get(name), Option))
    return base.__annotations__[name]


# --- Setters and their words --------------------------------------------------------------------------------------


@each_method
def test_every_option_is_declared_and_has_words(cls: Config) -> None:
    """An option that somebody adds without saying what it may be is found here."""
    own = vars(cls()).keys() - vars(AlgorithmConfig()).keys()
    assert own == cls.declared().keys()
    assert cls.options().keys() <= vars(cls()).keys()
    for name, declared in cls.declared().items():
        assert declared.words.endswith((".", ".)")), name
        assert "see there" not in declared.values() or declared.parse, name


@each_method
def test_every_option_is_a_parameter_of_one_setter_with_its_annotation(cls: Config) -> None:
    places: dict[str, set[str]] = {name: set() for name in cls.declared()}
    for method, functions in setters(cls).items():
        for function in functions:
            for name in set(keywords(function)) & places.keys():
                places[name].add(method)
                assert function.__annotations__[name] == first_annotation(cls, name), name
    assert {name: len(methods) for name, methods in places.items()} == dict.fromkeys(places, 1)


@each_method
def test_every_parameter_of_a_setter_is_an_option(cls: Config) -> None:
    """Of ours; `problems` names arguments of the environment as well."""
    environment = set(inspect.signature(MathTextEnv.__init__).parameters)
    for method, functions in setters(cls).items():
        for function in functions:
            assert set(keywords(function)) <= cls.options().keys() | (environment if method == "problems" else set())


@each_method
def test_the_docstring_of_a_setter_holds_the_words_of_its_options(cls: Config) -> None:
    checked = 0
    for base in cls.__mro__[: cls.__mro__.index(AlgorithmConfig)]:
        for function in vars(base).values():
            if getattr(function, "is_setter", False):
                text = "".join((function.__doc__ or "").split())
                assert text.endswith("Returns:ThisupdatedAlgorithmConfigobject.")
                for name in keywords(function):
                    declared = base.declared()[name]
                    words = f"{name}: {declared.words} ({declared.values()}; default {declared.default!r})"
                    assert "".join(words.split()) in text
                    checked += 1
    assert checked >= 25


@each_method
def test_setters_set_every_option_and_leave_the_rest_alone(cls: Config) -> None:
    given = {name: other(name, declared) for name, declared in cls.declared().items()}
    config, before = cls(), vars(cls())
    for method, functions in setters(cls).items():
        own = {name: given[name] for function in functions for name in keywords(function) if name in given}
        assert getattr(config, method)(**own) is config
    assert {name: getattr(config, name) for name in given} == given
    assert all(given[name] != before[name] for name in given)
    rest = before.keys() - given.keys() - {"policies"}  # objects, which are never equal
    assert {name: vars(config)[name] for name in rest} == {name: before[name] for name in rest}


def test_a_setter_takes_no_option_of_another_one() -> None:
    with pytest.raises(TypeError, match="lr"):
        GRPOConfig().sampling(lr=0.1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="alpha"):
        AEPOConfig().entropy_control(alpha=2.0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="clip_lo"):
        GRPOConfig().training(clip_lo=0.1)
    with pytest.raises(TypeError, match="alpha"):
        GRPOConfig().training(alpha=2.0)


def test_training_sets_a_new_methods_options_too() -> None:
    """So that one's own method needs no setter of its own."""

    class Own(GRPOConfig):
        strength: float = option(0.5, "How much of it.", above=0)

    config = Own().training(strength=0.25, lr=0.01, clip_low=0.1)
    assert (config.strength, config.lr, config.clip_low) == (0.25, 0.01, 0.1)


# --- Defaults -----------------------------------------------------------------------------------------------------


@each_method
def test_defaults_pass_their_own_check(cls: Config) -> None:
    for name, declared in cls.declared().items():
        declared.check(name, declared.default)
        assert getattr(cls(), name) == declared.default
    for name, declared in cls.options().items():
        declared.check(name, getattr(cls(), name))


def test_a_plain_class_attribute_changes_the_default_of_its_class_and_of_those_below() -> None:
    class Own(GRPOConfig):
        clip_high = 0.28

    class Below(Own):
        clip_low = 0.1

    class Beside(GRPOConfig):
        pass

    defaults = {cls: (cls().clip_low, cls().clip_high) for cls in (GRPOConfig, Own, Below, Beside)}
    assert [*defaults.values()] == [(0.2, 0.2), (0.2, 0.28), (0.1, 0.28), (0.2, 0.2)]
    assert Own.declared()["clip_high"].words == GRPOConfig.declared()["clip_high"].words
    with pytest.raises(ValueError, match="clip_high=-1 must be a number above 0"):
        Own().update_from_dict({"clip_high": -1})


def test_a_default_that_does_not_fit_is_refused_before_anything_starts() -> None:
    class Own(GRPOConfig):
        clip_high = -0.28

    with pytest.raises(ValueError, match=r"clip_high=-0\.28 must be a number above 0"):
        Own().validate()


def test_an_option_that_is_declared_anew_has_another_range() -> None:
    class Own(GRPOConfig):
        clip_high: float = option(0.0, "None at all, or some.", least=0)

        @setter
        def clipping(self, *, clip_high: float = NotProvided) -> Any:
            """Sets the clip."""
            return self

    Own().clipping(clip_high=0.0).update_from_dict({"clip_high": 0.0})
    assert "clip_high: None at all, or some. (a number at least 0; default 0.0)" in (Own.clipping.__doc__ or "")


def test_two_configs_share_no_mutable_default() -> None:
    first, second = GRPOConfig(), GRPOConfig()
    first.engine_options["max_tokens_in_flight"] = 3
    assert second.engine_options == GRPOConfig.declared()["engine_options"].default == {}


# --- Ways an option travels ---------------------------------------------------------------------------------------


@each_method
def test_every_option_survives_copies_and_dicts(cls: Config) -> None:
    given = {name: other(name, declared) for name, declared in cls.declared().items()}
    config = cls().update_from_dict(given)
    frozen = config.copy(copy_frozen=True)
    again = cls().update_from_dict({name: config.to_dict()[name] for name in given})
    for way in (config, config.copy(copy_frozen=False), frozen, frozen.copy(copy_frozen=False), again):
        assert {name: getattr(way, name) for name in given} == given


def consistent(cls: Config) -> dict[str, Any]:
    """Other values that go together and that this machine can run: through `validate`, not past it."""
    given = {name: other(name, declared) for name, declared in cls.declared().items()}
    names = {"model_path": "embedded", "engine": "transformers", "dtype": "float32", "ignore_filters_in_ratio": True}
    sizes = {"async_steps": 0, "max_new_tokens": 32, "batch_size": 12, "tempered_share": 0.5, "updates_per_batch": 3}
    given |= {name: value for name, value in (names | sizes).items() if name in given}
    given |= {"aggregation": "micro-batch-token-mean", "micro_batch_size": 3}
    for rule in (rule for base in cls.__mro__ for rule in vars(base).get("IDLE", ())):
        for name in rule.names:
            given[name] = cls.declared()[name].default
    for name in UNCHANGED.get(cls, ()):
        given[name] = cls.declared()[name].default
    return given


UNCHANGED = {
    ALGORITHMS["aepo_authors"]: ("alpha", "entropy_lag", "skip_flat_rows", "initial_entropy"),
    ALGORITHMS["aepo_constant"]: ("controller", "controller_options", "target_entropy"),
    ALGORITHMS["scope_rl"]: ("controller",),
    ALGORITHMS["gspo"]: ("dual_clip",),
}
"""What does nothing, or clashes, beside the others."""


@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_option_comes_back_from_a_runs_yaml(name: str) -> None:
    given = consistent(ALGORITHMS[name])
    levelled = {"problems": "chain"}  # for a curriculum
    settings, config = build({"algo": name, "steps": 7, "env_config": levelled, **given})
    text = yaml.safe_dump(resolved(settings, config))
    again_settings, again = build(yaml.safe_load(text))
    assert again_settings == settings
    given["adam_betas"] = [*given["adam_betas"]]  # YAML has no tuples
    assert {key: getattr(again, key) for key in given} == given
    assert resolved(again_settings, again) == resolved(settings, config)
    assert sum(value != ALGORITHMS[name].declared()[key].default for key, value in given.items()) >= 20


# --- Refusals -----------------------------------------------------------------------------------------------------


@each_method
def test_wrong_values_are_refused_with_option_value_and_range(cls: Config) -> None:
    """From a dict at once; set in Python, by `validate`, before anything starts."""
    for name, declared in cls.declared().items():
        for value in wrong(declared) if declared.parse is None else (0, "half", [[5, 0.5]]):
            message = (
                re.escape(f"{name}={value!r} must be {declared.values()}") if declared.parse is None else "entropy"
            )
            with pytest.raises(ValueError, match=message):
                cls().update_from_dict({name: value})
            config = cls()
            setattr(config, name, value)
            with pytest.raises(ValueError, match=message):
                config.validate()
