from distax.viz.titles import elide, plural


def test_a_long_text_keeps_its_ends_and_has_the_stated_length():
    assert elide("abcdefghij", 7) == "abc…hij"
    assert elide("abcdefghij", 6) == "ab…hij"
    assert elide("abcdefghij", 10) == "abcdefghij"
    assert elide("a\x1b[31m\tb") == r"a\x1b[31m\tb"


def test_a_number_has_its_noun():
    assert [plural(count, "target") for count in (0, 1, 4551)] == [
        "0 targets",
        "1 target",
        "4,551 targets",
    ]
