"""Full-text queries: how they are taken apart and folded."""

import pytest

from stanzalake.model.full_text import MAX_TEXT, MAX_WORDS, Phrase, Signs, Term, fold, parse


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("rose", [Phrase(("rose",))]),
        ("Red ROSE", [Phrase(("red",)), Phrase(("rose",))]),
        ("ros*", [Phrase(("ros",), prefix=True)]),
        ('"a red ros*"', [Phrase(("a", "red", "ros"), prefix=True)]),
        ("“a red” rose", [Phrase(("a", "red")), Phrase(("rose",))]),
        ('open "quote', [Phrase(("open",)), Phrase(("quote",))]),
        ("o'neil@montague.lit", [Phrase(("o", "neil", "montague", "lit"))]),
        ("50%", [Phrase(("50",))]),
        ("-rose OR +thorn", [Phrase(("rose",)), Phrase(("or",)), Phrase(("thorn",))]),
        ("🌹 rose", [Signs("🌹"), Phrase(("rose",))]),
        ("❤\ufe0f", [Signs("❤")]),
        ("* '", [Signs("*"), Signs("'")]),
    ],
)
def test_a_query_is_words_prefixes_phrases_and_signs(text: str, terms: list[Term]) -> None:
    query = parse(text)
    assert query is not None
    assert list(query.terms) == terms


@pytest.mark.parametrize("text", ["", " \t\n", '""', '"', "\u200b"])
def test_a_blank_query_is_none(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("text", ["x" * (MAX_TEXT + 1), "x " * (MAX_WORDS + 1), '"' + "x." * 99])
def test_a_query_of_too_many_characters_or_words_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at most"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("ÉTÉ", "ete"),
        ("Straße", "strasse"),
        ("ŁÓDŹ", "lodz"),
        ("ΣΊΣΥΦΟΣ", "σισυφοσ"),
        ("Ёлка", "елка"),
        ("ﬁne \N{FULLWIDTH LATIN CAPITAL LETTER A}", "fine a"),
        ("İ\N{LATIN SMALL LETTER DOTLESS I}", "ii"),
        ("שָׁלוֹם", "שלום"),
        ("مُحَمَّد", "محمد"),
        ("हिन्दी", "हिन्दी"),
        ("世界", "世界"),
    ],
)
def test_folding_leaves_out_case_accents_and_compatibility_forms(text: str, folded: str) -> None:
    assert fold(text) == folded
