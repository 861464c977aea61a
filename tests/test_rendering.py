from phi_magic.rendering import to_html, to_markdown, to_text


def test_markup_is_shown_as_text():
    assert "&lt;script&gt;" in to_html("<script>alert(1)</script>")
    assert "&lt;script&gt;" in to_markdown("<script>alert(1)</script>")


def test_a_remote_image_is_a_link_to_click():
    assert '<a href="https://a.b/c.png" rel="noopener noreferrer" target="_blank">image: a cat</a>' in to_html(
        "![a cat](https://a.b/c.png)"
    )
    assert to_markdown("![a cat](https://a.b/c.png)") == "[image: a cat](https://a.b/c.png)\n"


def test_a_terminal_shows_escapes_instead_of_obeying_them():
    assert to_text("a\x1b[31mb\u202ec\ud800\t\r\n\x9b") == "a␛[31mb⟨U+202E⟩c\ufffd\t\n⟨U+009B⟩"
