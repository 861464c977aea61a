"""Models that think before they answer, whatever their tags are made of."""

import pytest
from gguf import TokenType

from phi_magic import Phi
from phi_magic.conversation import forget
from phi_magic.engine.engine import Engine
from phi_magic.generation.thoughts import Tags
from phi_magic.recorded import Recorded
from phi_magic.replay import replay
from tests import architectures
from tests.thinking_model import SPELLS, TEMPLATE, THINKS, write_thinking_model

QUESTION = "How many?"
SCHEMA = {
    "type": "object",
    "properties": {"five": {"type": "boolean"}},
    "required": ["five"],
    "additionalProperties": False,
}
#: The tags as control tokens, and as text that several tokens spell.
MODELS = {
    "control tokens": {},
    "text": {"says": SPELLS, "controls": ()},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Writes a stand-in, each kind of them once; returns its path."""
    folder, paths = tmp_path_factory.mktemp("thinking"), {}

    def write(**options):
        key = repr(options)
        if key not in paths:
            paths[key] = str(write_thinking_model(folder / f"{len(paths)}.gguf", **options))
        return paths[key]

    return write


@pytest.fixture(params=MODELS)
def thinker(request, written):
    return written(**MODELS[request.param])


@pytest.fixture
def phi():
    phi = Phi(seed=1, max_tokens=40)
    phi.backend = engine = Engine()
    yield phi
    engine.unload()
    forget()


def both(reply):
    return reply.reasoning, reply.text


def spelled(reply):
    return [token.text for token in reply.tokens]


class TestRecognised:
    def test_the_thoughts_and_every_one_of_their_tokens(self, phi, thinker):
        reply = phi(QUESTION, model=thinker)
        assert both(reply) == ("Hm, five.", "Five!")
        assert reply.finish_reason == "stop"
        assert reply.usage.reasoning_tokens == len(reply.tokens) - 2  # the tags too
        assert spelled(reply)[-2:] == ["Five", "!"]

    def test_in_the_worker(self, thinker):
        phi = Phi(seed=1, model=thinker)
        reply = phi(QUESTION)
        phi.unload()
        assert both(reply) == ("Hm, five.", "Five!")
        assert reply.usage.reasoning_tokens == len(reply.tokens) - 2

    def test_a_model_that_does_not_think(self, phi, written):
        reply = phi(QUESTION, model=written(says=["Five", "!"]))
        assert both(reply) == ("", "Five!")
        assert reply.usage.reasoning_tokens == 0

    def test_a_template_that_begins_the_thoughts_and_names_no_closing_tag(self, phi, written):
        says = [text for text in THINKS if text != "<think>"]
        model = written(says=says, template=TEMPLATE + "<think>", after="<think>")
        assert both(phi(QUESTION, model=model, max_tokens=2)) == ("Hm, five.", "Five!")  # the thoughts have room
        begun = TEMPLATE + "{{ '<think>\n' }}"
        model = written(says=SPELLS[2:], controls=(), template=begun, after="<0x0A>")
        assert both(phi(QUESTION, model=model)) == ("Hm, five.", "Five!")

    def test_tags_that_the_file_calls_user_defined(self, phi, written):
        reply = phi(QUESTION, model=written(kind=TokenType.USER_DEFINED))
        assert both(reply) == ("Hm, five.", "Five!")

    @pytest.mark.parametrize("name", ["Phi 4 Mini Reasoning", "MiroThinker", "Kimi K2 Thinking"])
    def test_one_that_tells_it_by_its_name_alone_has_room_for_thoughts(self, phi, written, name):
        """As Phi-4-mini-reasoning does: its tags are neither in the template nor in the vocabulary."""
        named = phi(QUESTION, model=written(**MODELS["text"], name=name), max_tokens=3)
        assert both(named) == ("Hm, five.", "Five!")
        nameless = phi(QUESTION, model=written(**MODELS["text"]), max_tokens=3)
        assert nameless.text == ""
        assert nameless.finish_reason == "length"

    @pytest.mark.parametrize(("opening", "closing"), [("[THINK]", "[/THINK]"), ("<seed:think>", "</seed:think>")])
    @pytest.mark.parametrize("controls", [True, False])
    def test_other_tags(self, phi, written, opening, closing, controls):
        says = [opening, "Hm", closing, "Five"]
        template = TEMPLATE + "{# " + closing + " #}"
        model = written(says=says, controls=(opening, closing) if controls else (), template=template)
        assert both(phi(QUESTION, model=model)) == ("Hm", "Five")

    def test_tags_of_several_tokens(self, phi):
        """As gpt-oss has them: channels, made of control tokens and text."""
        phi(QUESTION, max_tokens=1, model="demo")
        model, _ = phi.backend.loaded
        one, two = "<|placeholder1|>", "<|placeholder2|>"
        model.tags = Tags(f"{one}analysis{two}", f"{two}{one}final{two}", f"{one}final{two}")
        tokens = {
            text: model.tokens_within(text) for text in ("analysis", "final", "Hm.", "placeholder1", "Five.", f"{one}x")
        } | {one: [model.controls[one]], two: [model.controls[two]]}

        def answer(*parts):
            begin = [token for part in parts for token in tokens[part]]
            return both(phi(QUESTION, model="demo", begin=begin, max_tokens=len(begin)))

        assert answer(one, "analysis", two, "Hm.", two, one, "final", two, "Five.") == ("Hm.", "Five.")
        assert answer(one, "final", two, "Five.") == ("", "Five.")
        assert answer("Five.") == ("", "Five.")
        assert answer(f"{one}x", "Five.") == ("", f"{one}xFive.")  # a spelling is no control token


class TestNested:
    def test_a_quoted_opening_tag_keeps_the_answer(self, phi, written):
        says = ["<th", "ink>", "The", "<thi", "nk>", "▁opens", "</th", "in", "k>", "Five", "!"]
        model = written(says=says, controls=())
        reply = phi(QUESTION, model=model)
        assert both(reply) == ("The<think> opens", "Five!")
        constrained = phi(QUESTION, model=model, schema=SCHEMA)
        assert constrained.reasoning == reply.reasoning
        assert constrained.data in ({"five": True}, {"five": False})

    def test_the_spelling_of_a_tag_that_is_a_token_is_text(self, phi, written):
        says = ["<think>", "The", "</th", "in", "k>", "▁closes", "</think>", "Five", "!"]
        model = written(says=says)
        reply = phi(QUESTION, model=model)
        assert both(reply) == ("The</think> closes", "Five!")
        constrained = phi(QUESTION, model=model, schema=SCHEMA)
        assert constrained.reasoning == reply.reasoning
        assert constrained.data in ({"five": True}, {"five": False})

    def test_a_tag_quoted_in_the_answer_is_text(self, phi, written):
        says = ["<think>", "Hm", "</think>", "It", "<th", "in", "k>", "▁opens"]
        assert both(phi(QUESTION, model=written(says=says))) == ("Hm", "It<think> opens")


class TestSchema:
    def test_it_applies_after_the_thoughts(self, phi, thinker):
        reply = phi(QUESTION, model=thinker, schema=SCHEMA)
        assert reply.reasoning == "Hm, five."
        assert reply.data in ({"five": True}, {"five": False})

    @pytest.mark.parametrize("controls", [("<think>", "</think>"), ()])
    def test_a_model_that_may_think_and_does_not(self, phi, written, controls):
        says = ["Five", "!", *(() if controls else ("</", "thi", "nk>"))]
        model = written(says=says, controls=controls, template=TEMPLATE + "{# <think></think> #}")
        reply = phi(QUESTION, model=model, schema=SCHEMA)
        assert reply.reasoning == ""
        assert reply.data in ({"five": True}, {"five": False})

    def test_thoughts_that_become_too_long_are_closed_first(self, phi, thinker):
        reply = phi(QUESTION, model=thinker, schema=SCHEMA, max_reasoning=3)
        assert "Hm, five.".startswith(reply.reasoning)
        assert reply.data in ({"five": True}, {"five": False})

    def test_a_character_is_whole_before_the_tag_that_closes_for_the_model(self, phi, written):
        bytes_of_ice = [f"<0x{byte:02X}>" for byte in "❄".encode()]
        model = written(says=["<think>", *bytes_of_ice, "Hm", "</think>", "Five"], name="thinking")
        reply = phi(QUESTION, model=model, schema=SCHEMA, max_reasoning=3)
        assert reply.reasoning == "❄"
        assert reply.data in ({"five": True}, {"five": False})


class TestBound:
    def test_the_model_is_made_to_answer(self, phi, thinker):
        reply = phi(QUESTION, model=thinker, max_reasoning=3)
        assert "Hm, five.".startswith(reply.reasoning)
        assert reply.text == "Five!"

    def test_in_a_small_context_the_answer_keeps_its_room(self, phi, written):
        says = ["<think>", *(f"▁{number}" for number in range(60)), "</think>", "Five", "!"]
        model = written(says=says)
        reply = phi(QUESTION, model=model, n_ctx=64, max_tokens=12)
        assert reply.text == "Five!"
        prompt = reply.usage.prompt_tokens
        assert reply.usage.reasoning_tokens == 64 - prompt - 12
        tight = phi(QUESTION, model=model, n_ctx=64, max_tokens=60)  # half of the room each
        assert tight.usage.reasoning_tokens == (64 - prompt) // 2 + 1

    def test_a_branch_anywhere_in_the_forced_tag_goes_on_with_the_rest_of_it(self, phi, thinker):
        whole = phi(QUESTION, model=thinker, max_reasoning=3)
        for at in range(len(whole.tokens) + 1):
            branch = phi(QUESTION, model=thinker, max_reasoning=3, known=whole.tokens[:at])
            assert spelled(branch) == spelled(whole)
            assert both(branch) == both(whole)

    def test_a_branch_that_leaves_the_tag_is_closed_all_the_same(self, phi, written):
        model = written(**MODELS["text"])
        whole = phi(QUESTION, model=model, max_reasoning=3)
        taken = whole.tokens[1].id
        branch = phi(QUESTION, model=model, max_reasoning=3, known=whole.tokens[:4], begin=[taken])
        assert branch.text == "Five!"
        assert spelled(branch)[5:] == spelled(whole)[3:]


class TestTogether:
    def test_a_map_gives_what_each_question_gives_alone(self, phi, thinker):
        prompts = [QUESTION, "And two?", "Why?"]
        together = phi.map(prompts, model=thinker, progress=False)
        assert [both(reply) for reply in together] == [("Hm, five.", "Five!")] * 3
        assert [reply.usage.reasoning_tokens for reply in together] == [len(together[0].tokens) - 2] * 3
        constrained = phi.map(prompts, model=thinker, schema=SCHEMA, progress=False)
        assert all(reply.data in ({"five": True}, {"five": False}) for reply in constrained)
        alone = [phi.map([prompt], model=thinker, schema=SCHEMA, progress=False)[0] for prompt in prompts]
        assert [both(reply) for reply in alone] == [both(reply) for reply in constrained]

    def test_a_conversation_goes_on_as_if_it_were_asked_afresh(self, phi, thinker):
        chat = phi.chat("count")
        first = chat(QUESTION, model=thinker)
        second = chat("And then?", model=thinker, temperature=2.0)
        assert [message["content"] for message in second.messages] == [QUESTION, first.text]
        afresh = Phi(seed=1, max_tokens=40)
        afresh.backend = Engine()
        asked = [*second.messages, {"role": "user", "content": "And then?"}]
        assert afresh(asked, model=thinker, temperature=2.0).tokens == second.tokens
        afresh.backend.unload()

    def test_a_full_context_keeps_room_for_the_thoughts(self, phi, written):
        """A quarter of the context at least, as for a long answer: the oldest turns are left out for it."""
        turns = [{"role": role, "content": "Hm" * 8} for _ in range(44) for role in ("user", "assistant")]
        asked = [*turns, {"role": "user", "content": QUESTION}]
        reply = phi(asked, model=written(), max_tokens=8, n_ctx=1024)
        assert reply.left_out
        assert reply.usage.prompt_tokens <= 768
        assert both(reply) == ("Hm, five.", "Five!")

    def test_an_answer_that_was_kept_has_its_thoughts(self, phi, thinker, tmp_path):
        made = phi(QUESTION, model=thinker, cache=str(tmp_path / "kept.sqlite"))
        kept = phi(QUESTION, model=thinker, cache=str(tmp_path / "kept.sqlite"))
        assert kept.from_cache
        assert both(kept) == both(made) == ("Hm, five.", "Five!")
        assert kept.usage.reasoning_tokens == made.usage.reasoning_tokens

    def test_replay_gives_both_again(self, phi, thinker):
        reply = phi(QUESTION, model=thinker, max_reasoning=4)
        outcome = replay(phi, Recorded.of(reply, "here"))
        assert outcome.same
        assert both(outcome.reply) == both(reply)
        changed = Recorded("here", {**reply.to_dict(), "reasoning": "Hm, six."}, reply.text)
        assert "what the model thought differs from character" in replay(phi, changed).difference


class TestChoices:
    """The stand-in writes "Five!" after its thoughts and "<think>" after its prompt."""

    CHOICES = ("Six!", "Five!", "Five")

    def test_they_are_compared_after_the_thoughts(self, phi, written, thinker):
        model = thinker if thinker == written() else written(**MODELS["text"], name="reasoning")
        reply = phi(QUESTION, model=model, choices=self.CHOICES)
        assert both(reply) == ("Hm, five.", "Five!")
        assert reply.choices["Five!"] > 0.999
        assert reply.finish_reason == "stop"
        free = phi(QUESTION, model=model)
        assert spelled(reply) == spelled(free)
        assert reply.usage.reasoning_tokens == free.usage.reasoning_tokens
        assert reply.usage.prompt_tokens == free.usage.prompt_tokens

    def test_the_room_for_thoughts_is_max_reasoning(self, phi, written):
        bounded = phi(QUESTION, model=written(), choices=self.CHOICES, max_reasoning=3)
        assert bounded.reasoning == "Hm,"
        assert set(bounded.choices) == set(self.CHOICES)

    def test_a_map_gives_what_each_gives_alone(self, phi, written):
        prompts = [QUESTION, "And two?", "Why, and how many more?"]
        together = phi.map(prompts, model=written(), choices=self.CHOICES, temperature=2.0, progress=False)
        alone = [phi(prompt, model=written(), choices=self.CHOICES, temperature=2.0) for prompt in prompts]
        assert [both(reply) for reply in together] == [both(reply) for reply in alone]
        assert [reply.choices for reply in together] == [reply.choices for reply in alone]

    def test_a_model_that_may_think_and_does_not_chooses_right_away(self, phi, written):
        model = written(says=["Five", "!"])
        reply = phi(QUESTION, model=model, choices=self.CHOICES)
        assert both(reply) == ("", "Five!")
        assert spelled(reply) == ["Five", "!"]
        assert reply.choices["Five!"] > 0.999
        assert reply.usage.reasoning_tokens == 0

    def test_white_space_after_the_thoughts_stays_before_the_choice(self, phi, written):
        model = written(says=["<think>", "Hm", "</think>", "<0x0A>", "Five", "!"])
        reply = phi(QUESTION, model=model, choices=self.CHOICES)
        assert both(reply) == ("Hm", "Five!")
        assert reply.choices["Five!"] > 0.999

    def test_a_turn_that_ends_in_a_thought_is_closed(self, phi, written):
        reply = phi(QUESTION, model=written(says=["<think>", "Hm", "Five"]), choices=("Six", "Five"))
        assert reply.reasoning == "HmFive"
        assert reply.text in ("Six", "Five")

    def test_in_the_worker_and_in_a_conversation(self, written):
        phi = Phi(seed=1, model=written())
        chat = phi.chat("choose")
        chat(QUESTION)
        reply = chat("Which?", choices=self.CHOICES)
        afresh = phi([*reply.messages, {"role": "user", "content": "Which?"}], choices=self.CHOICES)
        phi.unload()
        forget()
        assert both(reply) == both(afresh) == ("Hm, five.", "Five!")
        assert reply.choices == afresh.choices
        assert reply.tokens == afresh.tokens

    def test_choices_have_the_rope_factors_of_the_room_for_thoughts(self, phi, tmp_path):
        path = tmp_path / "border.gguf"
        template = architectures.TEMPLATE + "{# <think></think> #}"
        architectures.write(path, architectures.ARCHITECTURES["phi3"], border=architectures.BORDER, template=template)
        near = phi(QUESTION, model=str(path), choices=["ice", "a puck"], max_reasoning=8)
        far = phi(QUESTION, model=str(path), choices=["ice", "a puck"], max_reasoning=1000)
        assert (near.reasoning, far.reasoning) == ("", "")
        assert (near.engine["rope"], far.engine["rope"]) == ("short", "long")
        assert near.choices != far.choices

    def test_an_interrupt_keeps_the_thoughts_so_far(self, phi, written):
        stream = phi.stream(QUESTION, model=written(), choices=self.CHOICES)
        for _ in stream:
            stream.stop()
        reply = stream.reply
        assert reply.finish_reason == "interrupted"
        assert both(reply) == ("Hm", "")
        assert replay(phi, Recorded.of(reply, "here")).same
