"""Render a conversation to the text that a model reads, and keep control tokens apart from text.

Control tokens come from the chat template alone. Where a text of the user, of a variable or of the model spells one, a
character, the *shield*, is put inside it before the template sees the text. The tokenizer removes the shield after it has
found the real control tokens (:meth:`phi_magic.engine.model.Model.tokenize`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from ..errors import PhiError
from ..reply import Message

#: For models without a chat template, such as phi-2: the form its makers give in its model card.
INSTRUCT_OUTPUT = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ message['content'] + '\n' }}"
    "{% else %}{{ 'Instruct: ' + message['content'] + '\nOutput:' }}{% endif %}"
    "{% endfor %}"
)


@dataclass(frozen=True)
class Rendered:
    """A prompt as the model reads it.

    Attributes:
        text: the prompt.
        shield: the character inside each text that only looks like a control token; empty where there is none.
        date: the date and time, in ISO 8601, that the template wrote into the prompt; empty where it asked for none.
    """

    text: str
    shield: str = ""
    date: str = ""


def render(
    messages: Sequence[Message],
    *,
    template: str | None,
    controls: Iterable[str],
    bos: str = "",
    eos: str = "",
    now: datetime | None = None,
) -> Rendered:
    """Render a conversation that ends with the user's turn.

    Some templates drop the system message without a word, as some that Phi-3 was published with do. The message then
    goes into the first user turn.

    Args:
        template: the model's chat template; None where it has none.
        controls: the texts of the model's control tokens.
        bos: the text of the token that begins a sequence.
        eos: the text of the token that ends one.
        now: the date for a template that asks for it with ``strftime_now``; the present, in local time, where left out.

    Raises:
        PhiError: a template that is broken, reaches for Python's internals, or refuses the conversation.
    """
    from .template import TemplateDate, write

    shield = unused_character([message["content"] for message in messages] + [template or ""])
    safe, found = shielded(messages, list(controls), shield)
    date = TemplateDate(now or datetime.now())  # noqa: DTZ005 (local time, as transformers has it)
    run = partial(write, template or INSTRUCT_OUTPUT, date=date)
    variables = {"bos_token": bos, "eos_token": eos, "add_generation_prompt": True}
    system = safe[0]["content"] if safe and safe[0]["role"] == "system" else ""
    text = _rendered_with_system(run, safe, variables, system) if system else run({**variables, "messages": safe})
    if safe[-1]["content"].strip() not in text:
        raise PhiError("the model's chat template drops the prompt; --raw sends it without a template")
    return Rendered(text, shield if found else "", date.now.isoformat() if date.read else "")


def _rendered_with_system(
    run: Callable[[Mapping[str, Any]], str], messages: list[Message], variables: Mapping[str, Any], system: str
) -> str:
    from .template import TemplateRefusal

    try:
        text = run({**variables, "messages": messages})
        if system.strip() in text:
            return text
    except TemplateRefusal:  # "System role not supported"
        pass
    first, *rest = messages[1:]
    merged: Message = {"role": first["role"], "content": f"{system}\n\n{first['content']}"}
    return run({**variables, "messages": [merged, *rest]})


def unused_character(texts: Sequence[str]) -> str:
    """Find a character of a private-use plane that none of the texts has."""
    used = set().union(*texts)
    return next(c for c in map(chr, range(0x10FFFD, 0x100000, -1)) if c not in used)


def shielded(messages: Sequence[Message], controls: list[str], shield: str) -> tuple[list[Message], bool]:
    """Put the shield inside every control token's text; return the messages, and whether there was any."""
    broken = {text: text[0] + shield + text[1:] for text in controls if len(text) > 1}
    found = False
    safe: list[Message] = []
    for message in messages:
        content = message["content"]
        for text, harmless in broken.items():
            if text in content:
                found = True
                content = content.replace(text, harmless)
        safe.append({"role": message["role"], "content": content})
    return safe, found
