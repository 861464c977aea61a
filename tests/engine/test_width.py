from phi_magic.engine.width import MOST, Width


def climb(rate_at):
    """The widths that are tried one after another, on a machine whose passes make so many tokens a second."""
    width, tried = Width(), []
    for _ in range(10):
        tried.append(width.best)
        width.took(tried[-1], tried[-1] / rate_at[tried[-1]])
    return tried


def test_it_widens_as_long_as_that_pays():
    assert climb({8: 10, 16: 20, 32: 40, 64: 80})[:5] == [8, 16, 32, 64, 64]
    assert climb({8: 10, 16: 20, 32: 40, 64: 42}) == [8, 16, 32, 64, 64, 32, 32, 32, 32, 32]
    assert climb({8: 10, 16: 10}) == [8, 16, 16, 8, 8, 8, 8, 8, 8, 8]


def test_a_width_that_disappointed_once_is_tried_again():
    width = Width()
    width.took(8, 1.0)
    width.took(16, 10.0)  # the machine had something else to do
    assert width.best == 16
    width.took(16, 1.0)
    assert width.best == 32


def test_other_widths_than_those_tried_change_nothing():
    width = Width()
    width.took(5, 1.0)
    width.took(20, 0.001)
    assert width.best == 8 <= MOST


def test_the_most_is_the_best_once_no_wider_pass_will_be_tried():
    width = Width()
    assert width.most == MOST
    for _ in range(2):
        width.took(8, 1.0)
        assert width.most == MOST
        width.took(16, 2.0)
    assert width.best == width.most == 8
