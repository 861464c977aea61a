"""One line, whatever was wrong with however many rows."""

from phi_magic.errors import PhiError, RowsRefused


def test_a_message_is_one_printable_line():
    assert str(PhiError("a\nb\x1b")) == "a b\\x1b"


class TestRowsRefused:
    def test_one_question_has_its_own_reason_alone(self):
        assert str(RowsRefused({0: "it is empty"}, 1)) == "it is empty"

    def test_a_mistake_in_every_row_is_said_once(self):
        assert str(RowsRefused(dict.fromkeys(range(300), "'x' is undefined"), 300)) == "'x' is undefined"

    def test_rows_are_listed_by_reason_neighbours_as_a_range(self):
        refused = RowsRefused({9: "long", 1: "empty", 3: "empty", 4: "empty", 5: "empty"}, 20)
        assert str(refused) == (
            "5 of 20 rows cannot be asked. rows 1, 3-5: empty; row 9: long. "
            "on_error='keep' (--on-error keep) asks the other rows"
        )
        assert refused.reasons[9] == "long"

    def test_many_reasons_name_all_rows_still(self):
        line = str(RowsRefused({number: f"{number} tokens" for number in range(0, 20, 2)}, 100))
        assert "row 8: 8 tokens; rows 10, 12, 14, 16, 18: for like reasons." in line

    def test_the_line_is_bounded(self):
        line = str(RowsRefused(dict.fromkeys(range(0, 200_000, 2), "empty"), 200_000))
        assert line.startswith("100,000 of 200,000 rows cannot be asked. rows 0, 2, 4,")
        assert "98 and 99,950 more: empty" in line
