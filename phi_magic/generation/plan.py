"""The plan that a model is run by: which of llama.cpp's options are used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Plan:
    """The configuration of llama.cpp; recorded in ``Reply.engine``, since the logits depend on it.

    Attributes:
        n_threads: processor threads.
        n_gpu_layers: layers that a GPU computes; -1: all.
        repack: copy the weights into an order that suits the processor.
        mmap: map the file rather than read it.
        flash_attention: use llama.cpp's flash attention kernels.
        key_type: ggml type of the KV cache's keys.
        value_type: ggml type of the KV cache's values.
    """

    n_threads: int
    n_gpu_layers: int = 0
    repack: bool = False
    mmap: bool = True
    flash_attention: bool = False
    key_type: str = "f16"
    value_type: str = "f16"

    def to_dict(self) -> dict[str, Any]:
        """Return the record of this plan, as ``Reply.engine`` holds it."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Plan | None:
        """Return the plan that a ``Reply.engine`` records, or None where it records none, as of a server's answer."""
        found = {one.name: record[one.name] for one in fields(cls) if one.name in record}
        return cls(**found) if found else None

    @property
    def slices_alike(self) -> bool:
        """Whether a prompt gives the same logits however it is cut into slices of 8 tokens and more, and a sequence the
        same ones with other sequences in its pass as without them.

        Not on a GPU: its kernels choose their shape by the size of the pass. There the same passes in the same order
        give the same logits, and no others do.
        """
        return self.n_gpu_layers == 0

    def decodes_alike(self, count: int) -> bool:
        """Whether decoding ``count`` tokens in one pass gives the same logits as decoding them singly."""
        return count == 1 or (count < 8 and self.flash_attention and not self.repack and self.slices_alike)
