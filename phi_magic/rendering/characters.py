"""Characters that act instead of being read: made visible, so that nothing a model writes acts on a screen.

An escape sequence can recolour a terminal, rename its window or fill its clipboard; a bidirectional override
shows ``evil`` as ``live`` (https://trojansource.codes); a lone surrogate cannot be sent to a front end at all.
"""

from __future__ import annotations

import re

# C0 (less tab and newline), delete and C1; the bidirectional embeddings, overrides and isolates with the deprecated
# format controls behind them; surrogates. The marks U+200E, U+200F and U+061C stay: Hebrew and Arabic are written
# with them, and they cannot turn letters around.
_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u206f\ud800-\udfff]")


def to_text(text: str) -> str:
    """Return ``text`` with every character that would act shown by name; all else, tab and newline too, is untouched.

    A control character of ASCII becomes its picture (``␛``), another control its number (``⟨U+202E⟩``), a lone
    surrogate U+FFFD. CR LF becomes a newline. Never raises.
    """
    if _ACTING.search(text) is None:
        return text
    return _ACTING.sub(_name, text.replace("\r\n", "\n"))


def _name(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return f"⟨U+{code:04X}⟩"
