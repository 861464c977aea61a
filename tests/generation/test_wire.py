"""What goes through the pipe to the worker process."""

from dataclasses import replace

from phi_magic.generation.request import ChatMessage, GenerationRequest, ModelReference
from phi_magic.generation.wire import Generate, decode_call, encode
from phi_magic.parameters import SamplingParameters
from phi_magic.reply import Token

LONG = "You judge what guests write about a restaurant. " * 50


def rows(count):
    request = GenerationRequest(ModelReference("demo"), (), SamplingParameters(), 1, 4, choices=("good", "bad"))
    system = ChatMessage("system", LONG)
    return [
        replace(request, messages=(system, ChatMessage("user", f"Row {number}")), seed=number)
        for number in range(count)
    ]


def test_requests_arrive_as_they_were():
    [one, two, three] = rows(3)
    chat = (*one.messages, ChatMessage("assistant", "It is good."), ChatMessage("user", "Why?"))
    known = (Token(3, "ice", -1.0, 0.5),)
    asked = [one, replace(two, messages=chat), replace(three, raw=True, begin=(3,), known=known), one]
    assert decode_call(encode(Generate.of(asked, together=True))).requests == asked


def test_what_rows_have_in_common_is_sent_and_held_once():
    small, large = (len(encode(Generate.of(rows(count)))) for count in (10, 110))
    assert large - small < 100 * 20
    one, two = decode_call(encode(Generate.of(rows(2)))).requests
    for name in ("model", "sampling", "choices"):
        assert getattr(one, name) is getattr(two, name)
    assert one.messages[0] is two.messages[0]
