"""Whether Candle and we choose the same tokens: ``python -m benchmarks.agreement`` renews tests/data/candle_greedy.json.

Greedy, with a repeat penalty, on the shipped model. Tokenizer and template are ours on both sides, so forward pass and
sampling are what is compared. At every step our engine has Candle's tokens behind it; where the two choose differently,
Candle's margin tells how near a tie it was. Candle keeps its cache in 32-bit floats and ours has 16 bits, so both are
compared: what is left with 32 on both sides is rounding.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.contenders import CANDLE, PROJECT, candle
from phi_magic.engine.context import Context
from phi_magic.engine.model import Model
from phi_magic.engine.sampler import Sampler
from phi_magic.generation.plan import Plan
from phi_magic.interrupt import Stop
from phi_magic.parameters import SamplingParameters
from phi_magic.prompt.rendering import render
from phi_magic.reply import Message

MODEL = PROJECT / "phi_magic" / "demo" / "phi-demo.gguf"
VECTORS = PROJECT / "tests" / "data" / "candle_greedy.json"
FOLDER = PROJECT / "build" / "benchmarks"

TOKENS = 60
PENALTY, WINDOW = 1.2, 64
TOPICS = (
    "ice hockey, the sea, autumn, a cat, rain, the moon, a train, snow, bread, a garden, the night, winter, a river, a "
    "library, coffee, the wind, a lamp, mountains, an old dog, summer, stars, a bicycle, frost, the city, a violin"
).split(", ")
PROMPTS = [form.format(topic) for form in ("Write a haiku about {}", "Tell me about {}") for topic in TOPICS]


@dataclass(frozen=True)
class Difference:
    """A step at which we choose another token than Candle; ``margin`` is by how much Candle's logit was the greater."""

    prompt: int
    step: int
    margin: float


def prompts(model: Model) -> list[list[int]]:
    """Token ids of :data:`PROMPTS` as the model's template renders them."""
    bos = "" if model.bos is None else model.control_text(model.bos)
    eos = "" if model.eos is None else model.control_text(model.eos)
    found = []
    for prompt in PROMPTS:
        messages: list[Message] = [{"role": "user", "content": prompt}]
        rendered = render(messages, template=model.chat_template, controls=model.controls, bos=bos, eos=eos)
        found.append(model.tokenize(rendered.text, shield=rendered.shield))
    return found


def run_candle(program: Path, asked: Sequence[Sequence[int]], path: Path = MODEL) -> list[dict[str, Any]]:
    """Candle's answers to prompts of token ids: ``tokens`` and ``margins``, :data:`TOKENS` of each."""
    job = {"model": str(path), "prompts": asked, "tokens": TOKENS, "repeat_penalty": PENALTY, "repeat_last_n": WINDOW}
    done = subprocess.run([str(program), "generate"], input=json.dumps(job), capture_output=True, text=True, check=True)
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def differences(
    model: Model, asked: Sequence[Sequence[int]], answers: Sequence[dict[str, Any]], cache: str
) -> Iterator[Difference]:
    """Every step of Candle's answers at which our engine and sampler choose another token.

    Args:
        cache: the type of our cache, ``f16`` or ``f32``.
    """
    context = Context(model, Plan(n_threads=1, key_type=cache, value_type=cache))
    sampling = SamplingParameters(temperature=0, repeat_penalty=PENALTY, repeat_last_n=WINDOW)
    try:
        for number, (prompt, answer) in enumerate(zip(asked, answers, strict=True)):
            sampler = Sampler(sampling, 0, model.n_vocab)
            context.prefill(prompt, room=len(prompt) + TOKENS, stop=Stop())
            for step, token in enumerate(answer["tokens"]):
                # Greedily the whole probability is on the token that we choose.
                if sampler.draw(context.logits, forced=token).probability != 1:
                    yield Difference(number, step, answer["margins"][step])
                context.append(token, stop=Stop())
            sampler.close()
    finally:
        context.close()


def end(model: Model, answer: dict[str, Any]) -> int:
    """How many tokens an answer has before the model ends it; what comes after was never meant to be read."""
    tokens = answer["tokens"]
    return next((at for at, token in enumerate(tokens) if model.ends(token)), len(tokens))


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    model = Model(MODEL)
    asked = prompts(model)
    answers = run_candle(candle(FOLDER, "native"), asked)
    for answer in answers:
        answer["margins"] = [round(margin, 4) for margin in answer["margins"]]
    locked = re.search(r'name = "candle-core"\nversion = "(.+)"', (CANDLE / "Cargo.lock").read_text())
    vectors = {
        "candle": locked[1] if locked else None,
        "model_sha256": hashlib.sha256(MODEL.read_bytes()).hexdigest(),
        "prompts": asked,
        "answers": answers,
    }
    VECTORS.parent.mkdir(exist_ok=True)
    VECTORS.write_text(json.dumps(vectors, separators=(",", ":")).replace('{"tokens"', '\n{"tokens"') + "\n")
    for cache in ("f16", "f32"):
        found = list(differences(model, asked, answers, cache))
        for one in found:
            print(f"{PROMPTS[one.prompt]!r}, token {one.step}: another choice; Candle's margin was {one.margin:.4f}")
        inside = [one for one in found if one.step <= end(model, answers[one.prompt])]
        margins = [max((one.margin for one in some), default=0.0) for some in (found, inside)]
        print(
            f"our cache {cache}: {len(found)} of {len(asked) * TOKENS} choices differ (margins up to {margins[0]:.2g}), "
            f"{len(inside)} of them before the answer's end (up to {margins[1]:.2g}); "
            f"{len(asked) - len({one.prompt for one in inside})} of {len(asked)} answers are the same"
        )
    model.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
