"""Every setting: its name, bounds, default and help, from which options, sliders and docs are made."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from traitlets import Bool, Enum, HasTraits, Int, List, TraitError, TraitType, Unicode, default

from .errors import PhiError
from .models.known import DEFAULT, KNOWN
from .rendering.formats import FORMS
from .sampling import Number, Sampling, Whole, scalar
from .suggestions import did_you_mean

#: Seeds have 32 bits; llama.cpp takes the greatest of them as the request to draw one.
SEED_MAX = 2**32 - 2


class Switch(Unicode):  # type: ignore[type-arg]
    """Off (empty), ``on``, or a path; True and False are taken too."""

    info_text = "on, off or a path"

    def validate(self, obj: Any, value: Any) -> str:
        if isinstance(value, bool | str):
            value = {True: "on", False: "", "off": "", "False": "", "True": "on"}.get(value, value)
        return str(super().validate(obj, os.fspath(value) if isinstance(value, os.PathLike) else value))


class Flag(Bool):  # type: ignore[type-arg]
    """True or False; NumPy's are taken too."""

    def validate(self, obj: Any, value: Any) -> bool:
        return bool(super().validate(obj, scalar(value)))


class Settings(Sampling):
    """The settings of an answer; ``Phi`` makes them configurable."""

    model = Unicode(
        help=f"The model: a known name ({', '.join(KNOWN)}), owner/repo/file.gguf on the hub, the path of a GGUF file, "
        "ollama:NAME, or http(s)://HOST:PORT/v1#NAME on an OpenAI-compatible server. The environment's PHI_MAGIC_MODEL is the "
        "default where it is set."
    ).tag(config=True, group="question")
    seed = Whole(
        None,
        allow_none=True,
        min=0,
        max=SEED_MAX,
        help="Where the draws begin: the same seed gives the same answer. Unset, a fresh one is drawn and reported.",
    ).tag(config=True, group="question")
    max_tokens = Whole(512, min=1, max=1_000_000, help="The longest answer, in tokens.").tag(
        config=True, group="answer", step=1, shown_max=2048
    )
    max_reasoning = Whole(
        4096,
        min=1,
        max=1_000_000,
        help="The most tokens that a reasoning model may think before it is made to answer; max_tokens counts the answer.",
    ).tag(config=True, group="answer")
    stop = List(Unicode(), help="Texts that end the answer; it ends before the first of them.").tag(
        config=True, group="answer"
    )
    system = Unicode("", help="The system message: how the model should answer, sent before the conversation.").tag(
        config=True, group="answer"
    )
    format = Enum(
        [*FORMS, "tokens"],
        "markdown",
        help="How a cell shows the answer: code is its code block alone, offered as a new cell and never run; json is "
        "parsed, and Reply.data holds it; html is sanitised; math is one formula in LaTeX; tokens shades every token by its "
        "probability.",
    ).tag(config=True, group="display")
    n_ctx = Whole(
        4096,
        min=64,
        max=10_000_000,
        help="The most tokens that prompt and answer may have together; memory is taken as it is needed. Never more than "
        "the model was trained for.",
    ).tag(config=True, group="context")
    n_threads = Whole(
        0,
        min=0,
        max=1024,
        help="The most processor threads; fewer are used while others keep the cores busy. 0: one for each physical core.",
    ).tag(config=True, group="running")
    n_gpu_layers = Whole(
        -1,
        min=-1,
        max=10_000,
        help="Layers that a GPU computes. -1: all, where llama.cpp was built for one and the model fits it.",
    ).tag(config=True, group="running")
    profile = Enum(
        ["auto", "speed", "memory"],
        "auto",
        help="What to spare: memory quantises the context's cache (half the bytes, and a little of the precision), speed "
        "reads the model into this process's memory. auto takes memory where the machine has little for the model.",
    ).tag(config=True, group="running")
    exact = Flag(
        True,
        help="Keep the promise that the same question gives the same text, whatever was asked before. Without it a "
        "conversation's next answer begins a little sooner, and a near-tie may fall the other way.",
    ).tag(config=True, group="context")
    cache = Switch(
        help="Keep answers on disk, and use them again: on (a file in the user's cache folder), or the path of a file. Only "
        "answers with a seed are kept; a map without one takes each row's seed from its prompt."
    ).tag(config=True, group="question")
    keep_alive = Number(
        600.0, min=-1, max=1e9, help="Seconds without a question until the model is freed. Negative: never."
    ).tag(config=True, group="running")
    in_flight = Whole(
        8,
        min=1,
        max=512,
        help="How many requests of a map or a sweep a server is sent at the same time. A model on this machine answers "
        "them together in any case.",
    ).tag(config=True, group="running")
    refresh_interval = Number(
        0.1, min=0, max=60, help="Least seconds between two redraws of an answer that is being written."
    ).tag(config=True, group="display")
    show_stats = Flag(True, help="Show a line with tokens, speed, seed and finish below an answer.").tag(
        config=True, group="display"
    )

    @default("model")
    def _model_from_environment(self) -> str:
        return os.environ.get("PHI_MAGIC_MODEL") or DEFAULT

    def __init__(self, **values: Any) -> None:
        for name in values:
            if not self.has_trait(name):
                raise PhiError(unknown_option(name, self.trait_names(config=True)))
        super().__init__(**values)

    def settings(self, options: Mapping[str, Any], *, beside: Iterable[str] = ()) -> dict[str, Any]:
        """Every trait's value, with ``options`` checked and put in place for one call; ``None`` means the trait's own.

        Args:
            beside: the names of the options that the call takes beside the traits, for the message.

        Raises:
            PhiError: an unknown option, or a value that the trait refuses.
        """
        traits = self.traits(config=True)
        values = {name: getattr(self, name) for name in traits}
        for name, value in options.items():
            if name not in traits:
                raise PhiError(unknown_option(name, {*traits, *beside}))
            if value is not None:
                values[name] = checked(traits[name], value, self)
        return values


#: How many of the likeliest tokens are kept at every step: no setting, but checked like one.
TOP_LOGPROBS = Whole(0, min=0, max=1000)
TOP_LOGPROBS.name = "top_logprobs"


def unknown_option(name: str, known: Iterable[str]) -> str:
    """One line for an option that does not exist, with the nearest that does."""
    return f"there is no option {name!r}{did_you_mean(name, known)} (the options are {', '.join(sorted(known))})"


#: Every group of settings (the tag ``group`` of their traits), with its heading.
GROUPS = {
    "question": "Which model, which seed, and whether the answer is kept",
    "sampling": "How the next token is drawn",
    "answer": "What goes with the question, and where the answer ends",
    "context": "The context, and the promise of the same text",
    "running": "How the model runs on this machine",
    "display": "How an answer is shown",
}


def grouped(*groups: str) -> tuple[str, ...]:
    """Return the names of the settings in these groups, in the order in which they are defined."""
    return tuple(
        name
        for cls in reversed(Settings.__mro__)
        for name, trait in vars(cls).items()
        if isinstance(trait, TraitType) and trait.metadata.get("group") in groups
    )


#: The settings that shape an answer's text.
ANSWER_TRAITS = grouped("sampling", "answer")

#: The settings that ``Reply.params`` records.
RECORDED_TRAITS = (*ANSWER_TRAITS, *grouped("context"))

#: The settings that go with the model, to where it runs.
RUNNING_TRAITS = grouped("running")


def label(name: str) -> str:
    """Return a setting's name as one reads it: the tag ``label``, where a name has one."""
    trait = Settings.class_traits().get(name)
    return str((trait.metadata if trait else {}).get("label", name.replace("_", " ")))


def changed(params: Mapping[str, Any]) -> str:
    """Name the settings of an answer that are not phi_magic's defaults, the numbers with their values."""
    traits = Settings.class_traits()
    return ", ".join(
        label(name) + (f" {value:,.15g}" if isinstance(value, int | float) else "")
        for name in ANSWER_TRAITS
        if (value := params.get(name, traits[name].default())) != traits[name].default()
    )


def checked(trait: Any, value: Any, owner: HasTraits | None = None) -> Any:
    """A value as the trait takes it; text is read as the command line would.

    Raises:
        PhiError: in one line, what the option takes.
    """
    try:
        read = isinstance(value, str) and not isinstance(trait, Unicode | List | Enum)
        return trait.validate(owner or HasTraits(), trait.from_string(value) if read else value)
    except (TraitError, ValueError, OverflowError):
        raise PhiError(_mistake(trait, value)) from None


def refused(trait: Any, value: Any, owner: HasTraits) -> str:
    """Say in one line why a trait cannot be set to a value; nothing where it can."""
    try:
        trait.validate(owner, value)
    except TraitError:
        return _mistake(trait, value)
    return ""


def _mistake(trait: Any, value: Any) -> str:
    return f"{trait.name} must be {takes(trait)}, not {value!r:.60}"


def takes(trait: TraitType[Any, Any]) -> str:
    """What values a trait takes, in words."""
    if isinstance(trait, Enum):
        return "one of " + ", ".join(map(str, trait.values or ()))
    if isinstance(trait, Bool):
        return "True or False"
    if isinstance(trait, List):
        return "a list of texts"
    if isinstance(trait, Unicode):
        return "text"
    kind = "a whole number" if isinstance(trait, Int) else "a number"
    low, high = getattr(trait, "min", None), getattr(trait, "max", None)
    return f"{kind} from {low:g} to {high:,.15g}" if low is not None and high is not None else kind
