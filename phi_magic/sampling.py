"""The sampling parameters, and the probabilities that they make of the logits.

Order and meaning are those of the reference, Candle's ``LogitsProcessor`` and ``apply_repeat_penalty``
(candle-transformers, ``generation`` and ``utils``): repeat penalty on the tokens generated so far, division by the
temperature, softmax over the whole vocabulary, top-k and top-p of the whole mass, draw. ``min_p`` is llama.cpp's
(Nguyen et al. 2024), which the reference does not have; it comes last.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from traitlets import Float, HasTraits, Int, TraitError

from .errors import PhiError
from .parameters import GREEDY_BELOW
from .position import Position
from .suggestions import did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray


def scalar(value: Any) -> Any:
    """``value`` as Python's own type where it is one of NumPy's scalars, such as ``np.float32(0.5)``."""
    return value.item() if getattr(value, "shape", None) == () else value


class Number(Float):  # type: ignore[type-arg]
    """A float other than NaN and infinity: ``min`` and ``max`` let NaN pass, since every comparison with it is false.

    Like ``Whole``, it takes NumPy's numbers, and neither True nor False.
    """

    def validate(self, obj: Any, value: Any) -> float:
        value = scalar(value)
        if isinstance(value, bool):
            self.error(obj, value)
        checked = float(super().validate(obj, value))
        if not math.isfinite(checked):
            raise TraitError(f"The '{self.name}' trait must be a finite number, not {value!r}")
        return checked


class Whole(Int):  # type: ignore[type-arg]
    """A whole number."""

    def validate(self, obj: Any, value: Any) -> int:
        value = scalar(value)
        if isinstance(value, bool):
            self.error(obj, value)
        return int(super().validate(obj, value))


class Sampling(HasTraits):
    """How the next token is drawn from the logits."""

    temperature = Number(
        0.8,
        min=0,
        max=5,
        help="Divides the logits before the softmax: below 1 the likely tokens gain, above 1 the unlikely ones. "
        "0 is greedy: always the likeliest token.",
    ).tag(config=True, group="sampling", step=0.05, shown_max=2)
    top_p = Number(
        0.95,
        min=0,
        max=1,
        help="Nucleus sampling: keep the likeliest tokens until their probabilities reach this sum, the one that "
        "crosses it included. 1 (or 0) switches it off.",
    ).tag(config=True, group="sampling", off=1, label="top-p", step=0.01)
    top_k = Whole(
        0,
        min=0,
        max=1_000_000,
        help="Keep only this many of the likeliest tokens. 0 switches it off.",
    ).tag(config=True, group="sampling", off=0, label="top-k", step=1, shown_max=200)
    min_p = Number(
        0.0,
        min=0,
        max=1,
        help="Keep only tokens at least this fraction as likely as the likeliest. 0 switches it off.",
    ).tag(config=True, group="sampling", off=0, label="min-p", step=0.01)
    repeat_penalty = Number(
        1.1,
        min=0.1,
        max=10,
        help="Makes tokens of the recent answer less likely: their logits are divided by it where positive, multiplied "
        "where negative. 1 switches it off.",
    ).tag(config=True, group="sampling", off=1, step=0.01, shown_min=0.8, shown_max=2)
    repeat_last_n = Whole(
        64,
        min=0,
        max=1_000_000,
        help="How many of the last generated tokens the repeat penalty looks at; the prompt does not count.",
    ).tag(config=True, group="sampling", off=0, step=1, shown_max=512)

    @property
    def greedy(self) -> bool:
        return float(self.temperature) <= GREEDY_BELOW


def distribution(logits: ArrayLike | Position, generated: Sequence[int] = (), **params: Any) -> NDArray[np.float64]:
    r"""The probabilities from which the next token is drawn.

    With logits :math:`l`, the last ``repeat_last_n`` generated tokens :math:`G`, penalty :math:`r`, temperature
    :math:`T`:

    1. for every distinct :math:`i \in G`: :math:`l_i \leftarrow l_i / r` if :math:`l_i \ge 0`, else :math:`l_i r`;
    2. :math:`T \le 10^{-7}`: all mass on the (first) greatest logit, and that is all; else :math:`l \leftarrow l / T`;
    3. :math:`p = \mathrm{softmax}(l)` over the whole vocabulary;
    4. top-p: in order of falling :math:`p`, keep a token while the sum *before* it is below ``top_p``
       (0 and 1: off); top-k: keep the ``top_k`` likeliest (0: off); both of the whole mass, so their order is free;
    5. min-p: keep tokens with :math:`p_i \ge` ``min_p`` :math:`\max p`;
    6. what is left is divided by its sum.

    Args:
        logits: shape ``(n_vocab,)``, the model's raw scores for the next token; or what :meth:`phi_magic.Phi.look`
            returns, which brings the tokens generated so far and the parameters that it was asked with.
        generated: token ids of the answer so far, oldest first; the prompt does not count.
        params: any of the traits of :class:`Sampling`; its defaults where left out.

    Returns:
        shape ``(n_vocab,)``, float64, sums to 1; exactly 0 for every token that was cut.

    Raises:
        PhiError: a parameter that does not exist or is out of bounds, logits that are not a vector of numbers, a
            generated token outside of the vocabulary.

    Source: candle-transformers ``generation::LogitsProcessor`` and ``utils::apply_repeat_penalty``; top-p is Holtzman
    et al. 2020, min-p Nguyen et al. 2024.
    """
    return stages(logits, generated, **params).kept


@dataclass(frozen=True)
class Stages:
    """The probabilities on their way from the logits to the draw; each of shape ``(n_vocab,)``, float64, summing to 1.

    ``cut`` names the parameter that removed each token: an index into :data:`CUTTING`, and -1 for kept tokens.
    """

    raw: NDArray[np.float64]  #: of the logits as they are
    penalised: NDArray[np.float64]  #: after the repeat penalty
    tempered: NDArray[np.float64]  #: and the temperature
    kept: NDArray[np.float64]  #: and top-p, top-k and min-p, which is what the token is drawn from
    cut: NDArray[np.int8]
    order: NDArray[np.intp]  #: token ids, the likeliest after the temperature first


#: The parameters that can remove a token, in the order in which they apply.
CUTTING = ("temperature", "top_p", "top_k", "min_p")


def stages(logits: ArrayLike | Position, generated: Sequence[int] = (), **params: Any) -> Stages:
    """Every stage of :func:`phi_magic.distribution`, which says more; arguments and errors are the same."""
    import numpy as np

    if isinstance(logits, Position):
        params = {**(asdict(logits.sampling) if logits.sampling else {}), **params}
        generated = generated or logits.generated
        logits = logits.logits
    for name in params:
        if name not in _NAMES:
            meant = did_you_mean(name, _NAMES)
            raise PhiError(f"distribution() has no parameter {name!r}{meant} (it takes {', '.join(_NAMES)})")
    try:
        sampling = Sampling(**params)
    except TraitError as error:
        raise PhiError(str(error)) from None

    scores = np.array(logits, dtype=np.float64)
    if scores.ndim != 1 or not len(scores) or np.isnan(scores).any() or not np.isfinite(scores.max()):
        raise PhiError("logits must be a vector of numbers, one for each token of the vocabulary")
    recent = np.unique(
        np.asarray(list(generated)[-sampling.repeat_last_n :] if sampling.repeat_last_n else [], dtype=np.int64)
    )
    if len(recent) and not (0 <= recent[0] and recent[-1] < len(scores)):
        raise PhiError(f"generated holds token ids outside of the vocabulary of {len(scores)}")

    with np.errstate(all="ignore"):  # a user's np.seterr(all="raise") holds for the user's own figures
        return _staged(scores, recent, sampling)


def _staged(scores: NDArray[np.float64], recent: NDArray[np.int64], sampling: Sampling) -> Stages:
    import numpy as np

    raw = _softmax(scores)
    at = scores[recent]
    scores[recent] = np.where(at >= 0, at / sampling.repeat_penalty, at * sampling.repeat_penalty)
    penalised = _softmax(scores)
    cut = np.full(len(scores), -1, dtype=np.int8)
    if sampling.greedy:
        chosen = int(scores.argmax())
        cut[:] = CUTTING.index("temperature")
        cut[chosen] = -1
        p = np.zeros(len(scores))
        p[chosen] = 1.0
        return Stages(raw, penalised, p, p, cut, np.argsort(-p, kind="stable"))

    p = _softmax(scores, sampling.temperature)
    order = np.argsort(-p, kind="stable")

    def cuts(parameter: str, tokens: NDArray[Any]) -> None:
        cut[tokens[cut[tokens] == -1]] = CUTTING.index(parameter)

    if 0 < sampling.top_p < 1:
        before = np.cumsum(p[order]) - p[order]
        cuts("top_p", order[1:][before[1:] >= sampling.top_p])
    if sampling.top_k:
        cuts("top_k", order[sampling.top_k :])
    cuts("min_p", np.flatnonzero(p < sampling.min_p * p[order[0]]))
    kept = np.where(cut == -1, p, 0.0)
    return Stages(raw, penalised, p, kept / kept.sum(), cut, order)


def _softmax(scores: NDArray[np.float64], temperature: float = 1.0) -> NDArray[np.float64]:
    import numpy as np

    weights = np.exp((scores - scores.max()) / temperature)
    p: NDArray[np.float64] = weights / weights.sum()
    return p


_NAMES = sorted(Sampling.class_trait_names())


def likeliest(values: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Return the ids of the ``count`` greatest of a vocabulary's values, greatest first; equal ones by their ids."""
    import numpy as np

    if not count:
        return np.empty(0, dtype=np.intp)
    some = np.argpartition(-values, count)[:count] if count < len(values) else np.arange(len(values))
    return some[np.lexsort((some, -values[some]))]
