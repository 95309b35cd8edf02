"""Full-text queries: how they are taken apart and folded."""

import re
import unicodedata

import pytest

from stanzalake.model.full_text import (
    MAX_TEXT,
    MAX_WORDS,
    Phrase,
    Signs,
    Term,
    fold,
    parse,
    raw_pattern,
)


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


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        parse(b"caf\xe9".decode(errors="surrogateescape"))


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


def _looks_for(word: str, text: str) -> bool:
    pattern = raw_pattern(fold(word))
    assert pattern is not None
    return bool(re.search(re.sub(r"\\x\{(\w+)\}", lambda m: chr(int(m[1], 16)), pattern), text))


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("двойной", "ДВОИ\N{COMBINING BREVE}НОЙ"),
        ("замок", "за\N{COMBINING ACUTE ACCENT}\N{SOFT HYPHEN}мок"),
        ("σοφός", "ΣΟΦΟΣ"),
        ("東京", "東\N{ZERO WIDTH SPACE}京"),
        ("日本語の", "日本語の"),
        ("來", "\N{CJK COMPATIBILITY IDEOGRAPH-F92D}"),
    ],
)
def test_texts_are_looked_through_for_what_folds_to_a_word(word: str, text: str) -> None:
    assert _looks_for(word, f"<body>a {text}</body>")
    assert not _looks_for(word, f"<body>a {text[:-1]}</body>")


def test_a_letter_is_looked_for_as_itself_whatever_else_folds_to_it() -> None:
    folded = {character for character in map(chr, range(0x20000)) if fold(character) == character}
    letters = [c for c in folded if unicodedata.category(c)[0] == "L" and raw_pattern(c)]
    assert len(letters) > 40_000
    assert all(character in (raw_pattern(character) or "") for character in letters)


@pytest.mark.parametrize("word", ["한국", "café", "日"])
def test_texts_are_folded_for_a_word_that_a_single_character_may_have(word: str) -> None:
    assert raw_pattern(fold(word)) is None


def test_no_character_that_folds_to_a_letter_is_left_out() -> None:
    marks = {c for c in map(chr, range(0x20000)) if not fold(c)}
    assert all(_looks_for("жд", f"ж{mark}д") for mark in marks)
    pattern = {c: raw_pattern(c) for c in "жиσ京あאա"}
    for character in map(chr, (*range(0x20000), *range(0x2F800, 0x2FA20))):
        if (folded := fold(character)) in pattern:
            assert character in (pattern[folded] or character)
