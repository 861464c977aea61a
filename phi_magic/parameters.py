"""The sampling parameters as plain data."""

from __future__ import annotations

from dataclasses import dataclass

#: At and below this temperature the likeliest token is taken, as in the reference (Candle's ``Sampling::ArgMax``).
GREEDY_BELOW = 1e-7


@dataclass(frozen=True)
class SamplingParameters:
    """How the next token is drawn; :class:`phi_magic.sampling.Sampling` says what each parameter means."""

    temperature: float = 0.8
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.1
    repeat_last_n: int = 64

    @property
    def greedy(self) -> bool:
        """Whether always the likeliest token is taken."""
        return self.temperature <= GREEDY_BELOW
