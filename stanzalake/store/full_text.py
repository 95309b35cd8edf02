"""Conditions for messages whose body a full-text query matches.

There is no index (docs/decisions/0008-search.md), so each condition rules out as much as it can
before the next, which costs more.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from stanzalake.model.full_text import (
    LETTERS,
    MARKS,
    UNSPACED,
    Phrase,
    TextQuery,
    is_unspaced,
    raw_pattern,
)
from stanzalake.store.expressions import BODY, ENCRYPTION

_WORD = r"\pL\pM\pN"
_BORDER = rf"[^{_WORD}]|[{UNSPACED}]"
_ASCII_WORD = re.compile(r"[a-z0-9]+")
# Prosody writes no character references; an imported stanza may have some.
_IS_PLAIN = "(length(stanza) = lengthUTF8(stanza) AND position(stanza, '&#') = 0)"


def _folded(text: str) -> str:
    """Give the SQL expression of `model.full_text.fold`, and `body` as the name of the text."""
    folded = "lowerUTF8(normalizeUTF8NFKD(body))"
    for letter, replacement in LETTERS.items():
        folded = f"replaceAll({folded}, '{letter}', '{replacement}')"
    marks = MARKS.replace("\\", "\\\\")
    folded = f"replaceRegexpAll({folded}, '[{marks}]', '')"
    return f"if(length(({text}) AS body) = lengthUTF8(body), lower(body), {folded})"


FOLDED_BODY = f"({_folded(BODY)}) AS folded_body"
"""Expression for the folded text of a message's body, and a name for it."""


def conditions(query: TextQuery) -> tuple[Sequence[str], Mapping[str, str]]:
    """Return the conditions of a query, and their parameters.

    Bodies beside an encrypted payload do not match: they are a note to clients that cannot
    decrypt, not the message.
    """
    parameters: dict[str, str] = {}

    def parameter(value: str) -> str:
        name = f"text_{len(parameters)}"
        parameters[name] = value
        return f"{{{name}:String}}"

    words = [word for t in query.terms if isinstance(t, Phrase) for word in t.words]
    terms = [_candidate(word, parameter) for word in words]
    terms.append(f"({ENCRYPTION}) = ''")
    for term in query.terms:
        if isinstance(term, Phrase):
            terms.append(f"match({FOLDED_BODY}, {parameter(pattern(term))})")
        else:
            terms.append(f"position({FOLDED_BODY}, {parameter(term.text)}) > 0")
    return terms, parameters


def pattern(phrase: Phrase) -> str:
    """Return the regular expression (RE2) that a phrase matches in a folded text."""
    first, last = phrase.words[0][0], phrase.words[-1][-1]
    begin = "" if is_unspaced(first) else rf"(?:\A|{_BORDER})"
    end = "" if phrase.prefix or is_unspaced(last) else rf"(?:\z|{_BORDER})"
    return begin + "".join(_joined(phrase.words)) + end


def excerpt_pattern(query: TextQuery) -> str:
    """Return the regular expression (RE2) of the part of a body that an excerpt shows."""
    first = query.terms[0]
    return pattern(first) if isinstance(first, Phrase) else re.escape(first.text)


def _joined(words: Sequence[str]) -> Iterator[str]:
    yield words[0]
    for word in words[1:]:
        yield f"[^{_WORD}]+{word}"


def _candidate(word: str, parameter: Callable[[str], str]) -> str:
    """Give a condition that costs little, and rules out most stanzas without a word."""
    if _ASCII_WORD.fullmatch(word):
        return f"(NOT {_IS_PLAIN} OR positionCaseInsensitive(stanza, {parameter(word)}) > 0)"
    # Folding a text takes four times as long as looking for what folds to a word.
    raw = raw_pattern(word)
    if raw is None:
        return f"NOT {_IS_PLAIN}"
    return f"(match(stanza, {parameter(raw)}) OR position(stanza, '&#') > 0)"
