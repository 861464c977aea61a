"""llama-cpp-python's ``Llama`` as most people use it: ``n_ctx=4096``, a chat completion, streamed."""

from __future__ import annotations

import json
import time
from typing import Any

from llama_cpp import Llama

from benchmarks.work import QUESTION, Lengths, Work, memory, words


def main() -> None:
    work = Work.read()
    started = time.perf_counter()
    options: dict[str, Any] = {"n_threads": work.threads, "n_threads_batch": work.threads} if work.threads else {}
    llama: Any = Llama(work.model, n_ctx=4096, verbose=False, **options)

    def ask(text: str, max_tokens: int) -> tuple[int, float, int, float]:
        asked = first = last = time.perf_counter()
        read = 0
        messages = [{"role": "user", "content": text}]
        for chunk in llama.create_chat_completion(messages, stream=True, max_tokens=max_tokens, seed=1):
            if chunk["choices"][0]["delta"].get("content") is None:
                continue
            last = time.perf_counter()
            if not read:
                read, first = llama.n_tokens, last
        return read, first - asked, max(0, llama.n_tokens - read), last - first

    ask(QUESTION, 1)
    first_token = time.perf_counter() - started
    lengths = Lengths(work, time.perf_counter)
    lengths.measure(lambda length, max_tokens: ask(words(length), max_tokens))
    figures = {"first_token": first_token, "prefill": lengths.prefill, "decode": lengths.decode, **memory()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
