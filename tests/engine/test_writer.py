"""Text from tokens: no character torn, no stop string shown, nothing lost."""

from hypothesis import given
from hypothesis import strategies as st

from phi_magic.engine.writer import Text


def shown(chunks, stop=(), **options):
    """What each chunk of bytes adds to the screen, the end included."""
    text = Text(stop, **options)
    return [text.feed(chunk) for chunk in chunks] + [text.feed(b"", last=True)]


def test_a_split_character_waits_for_its_last_byte():
    assert shown([b"ice \xf0\x9f", b"\x8f\x92", b"!"]) == ["ice ", "🏒", "!", ""]


def test_bytes_that_never_make_a_character_are_shown_as_such():
    assert "".join(shown([b"a\xff", b"b"])) == "a\ufffdb"


def test_a_stop_string_in_pieces_never_flashes():
    pieces = shown([b"one E", b"N", b"D two"], ["END"])
    assert pieces == ["one ", "", "", ""]


def test_what_only_began_like_a_stop_string_is_shown_after_all():
    assert "".join(shown([b"one E", b"N", b"d"], ["END"])) == "one ENd"
    assert "".join(shown([b"one EN"], ["END"])) == "one EN"


def test_the_first_of_several_stop_strings_ends_it():
    assert "".join(shown([b"a b c"], ["c", "b"])) == "a "


def test_only_the_space_that_sentencepiece_puts_first_is_skipped():
    assert "".join(shown([b" Hi", b" you"], skip_space=True)) == "Hi you"
    assert "".join(shown([b"  Hi"], skip_space=True)) == " Hi"


@given(
    st.text(alphabet="ab🏒é \n", max_size=40),
    st.lists(st.text(alphabet="ab🏒é\n", min_size=1, max_size=4), max_size=3),
    st.data(),
)
def test_any_cutting_into_pieces_shows_the_same(text, stop, data):
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    chunks = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    end = min((at for at in map(text.find, stop) if at >= 0), default=len(text))
    assert "".join(shown(chunks, stop)) == text[:end] or any(
        # two stop strings may overlap: then the one that is complete first ends it
        "".join(shown(chunks, stop)) == text[: text.find(one)]
        for one in stop
    )
