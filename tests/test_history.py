"""A conversation that has outgrown the context: what is sent, and how much of it the KV cache has already."""

from itertools import pairwise
from statistics import median

from hypothesis import given
from hypothesis import strategies as st

from phi_magic.generation.request import ChatMessage
from phi_magic.prompt.history import fit

CEILING, ROOM, MARKERS = 400, 50, 2
SYSTEM = ChatMessage("system", "be brief")


def words(text):
    return len(text.split())


def prompt(messages):
    """A prompt's tokens: a word each, and what a chat template puts around a message."""
    return [token for message in messages for token in [f"<{message.role}>", *message.content.split(), "<end>"]]


def turns(sizes, *, system=True):
    """A conversation whose questions and answers have so many words; all but the last question are answered."""
    messages = [SYSTEM] if system else []
    for number, (question, answer) in enumerate(sizes):
        messages += [
            ChatMessage("user", " ".join([f"q{number}"] * question)),
            ChatMessage("assistant", " ".join([f"a{number}"] * answer)),
        ]
    return messages[:-1]


def shared(before, now):
    """How many tokens two prompts begin with alike."""
    return next((at for at, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), len(before))


def fitted(messages, *, room=ROOM):
    return fit(messages, prompt, words, answer=room, ceiling=CEILING)


def asked(messages):
    """What is sent for each question of a conversation, one after another."""
    ends = [at + 1 for at, message in enumerate(messages) if message.role == "user"]
    return [fitted(messages[:end]) for end in ends]


def test_a_conversation_that_fits_is_sent_whole():
    messages = turns([(5, 20)] * 10)
    assert fitted(messages) == (prompt(messages), 0)


def test_past_the_limit_most_turns_go_on_from_the_prompt_before():
    sent = asked(turns([(4, 16)] * 60))
    first = next(at for at, (_, left_out) in enumerate(sent) if left_out)
    assert len(sent) - first > 40
    new = [len(now) - shared(before, now) for (before, _), (now, _) in pairwise(sent)]
    assert max(new[: first - 1]) == median(new[first:]) == 4 + 16 + 2 * MARKERS  # an answer and a question
    assert len({left_out for _, left_out in sent[first:]}) < len(sent[first:]) / 5


def test_half_of_the_context_stays_when_a_block_is_left_out():
    for tokens, left_out in asked(turns([(4, 16)] * 60)):
        assert len(tokens) + ROOM <= CEILING
        assert not left_out or len(tokens) + ROOM > CEILING / 2 - 30


def test_turns_once_left_out_stay_out_and_a_conversation_asked_again_leaves_out_the_same():
    messages = turns([(number % 7 + 1, 3 * number % 40) for number in range(50)])
    sent = asked(messages)
    left_out = [count for _, count in sent]
    assert left_out == sorted(left_out)
    assert sent == asked(messages)
    assert fitted(messages) == sent[-1]  # whatever was asked before


def test_the_system_message_and_the_question_always_stay():
    messages = turns([(5, 20), (5, 20), (5 * CEILING, 0)])
    assert fitted(messages) == (prompt([SYSTEM, messages[-1]]), 2)
    assert fitted(messages[1:]) == (prompt([messages[-1]]), 2)
    assert fitted(messages[-1:]) == (prompt(messages[-1:]), 0)


def test_a_long_question_leaves_what_it_can_of_the_last_turns():
    messages = turns([*[(5, 20)] * 6, (300, 0)])
    assert fitted(messages) == (prompt([SYSTEM, *messages[-3:]]), 5)


def test_the_room_of_an_answer_is_a_quarter_of_the_context_at_most():
    messages = turns([(5, 20)] * 20)
    assert fitted(messages, room=CEILING // 4) == fitted(messages, room=10 * CEILING)


def test_few_prompts_are_tokenized_however_long_the_conversation_is():
    asked = []

    def tokens(messages):
        asked.append(len(messages))
        return prompt(messages)

    fit(turns([(4, 16)] * 1000), tokens, words, answer=ROOM, ceiling=CEILING)
    assert len(asked) < 12


@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(0, 200)), min_size=1, max_size=40),
    st.booleans(),
    st.integers(0, 100),
)
def test_any_conversation_is_cut_to_what_fits_or_to_its_question(sizes, system, room):
    messages = turns(sizes, system=system)
    tokens, left_out = fitted(messages, room=room)
    kept = messages[2 * left_out + system :]
    assert tokens == prompt([SYSTEM, *kept] if system else kept)
    assert len(tokens) + room <= CEILING or left_out == len(sizes) - 1
