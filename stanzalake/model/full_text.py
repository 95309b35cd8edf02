"""Full-text queries: words, prefixes and phrases, compared without case, accents and forms.

A query is a list of terms, all of which a text has to have:

- a word, as a whole: ``rose`` does not match ``roses``;
- a prefix, a word with an asterisk behind it: ``rose*`` does;
- a phrase, words in quotation marks, or joined by punctuation: they follow each other;
- signs without a letter or digit, such as an emoji: they occur anywhere.

Scripts without spaces between words (Chinese, Japanese, Thai, ...) have no bounds of words: a word
of theirs matches anywhere in a text.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain, groupby
from typing import NamedTuple

MAX_TEXT = 1024
"""Characters of a query at most."""
MAX_WORDS = 32
"""Words and signs of a query at most."""

_MAX_LETTERS = 16
"""Letters of a word at most that texts are looked through for before they are folded."""

MARKS = (
    r"\x{AD}\x{300}-\x{36F}\x{591}-\x{5BD}\x{5BF}\x{5C1}\x{5C2}\x{610}-\x{61A}\x{640}"
    r"\x{64B}-\x{65F}\x{670}\x{1AB0}-\x{1AFF}\x{1DC0}-\x{1DFF}\x{200B}-\x{200F}"
    r"\x{20D0}-\x{20FF}\x{2060}\x{FE00}-\x{FE0F}\x{FE20}-\x{FE2F}\x{FEFF}"
)
"""Accents, points and invisible characters that folding leaves out, as ranges in RE2's syntax.

Vowel signs of Indic scripts stay: without them it would be another word.
"""
_LIGATURES_OF_MARKS = r"\x{FCF2}-\x{FCF4}\x{FE70}-\x{FE7F}"
UNSPACED = (
    r"\x{E01}-\x{EFF}\x{1000}-\x{109F}\x{1780}-\x{17FF}\x{2E80}-\x{2FDF}\x{3005}-\x{3007}"
    r"\x{3040}-\x{30FF}\x{31F0}-\x{31FF}\x{3400}-\x{4DBF}\x{4E00}-\x{9FFF}\x{F900}-\x{FAFF}"
    r"\x{20000}-\x{3FFFF}"
)
"""Characters of scripts that set no space between words, as ranges in RE2's syntax."""
LETTERS = {
    "ł": "l", "ø": "o", "đ": "d", "ħ": "h", "ŧ": "t", "ß": "ss", "æ": "ae", "œ": "oe",
    "\N{LATIN SMALL LETTER DOTLESS I}": "i",
    "\N{GREEK SMALL LETTER FINAL SIGMA}": "\N{GREEK SMALL LETTER SIGMA}",
}  # fmt: skip
"""Letters that Unicode does not take apart, and their replacements."""

_FOLDED = (
    *(range(0x3400), range(0xA000, 0xAC00), range(0xF900, 0x11900), range(0x16E00, 0x17000)),
    *(range(0x1D000, 0x1D800), range(0x1E900, 0x1EF00), range(0x1F100, 0x1F300)),
    range(0x2F800, 0x2FA20),
)
"""Code points that may fold to others. Syllables of Hangul, which lie beyond, fold to several."""
_JAMO = "".join(map(chr, range(0x1100, 0x1200)))

_ESCAPE = re.compile(r"\\x\{(\w+)\}")
_TERM = re.compile(r'"([^"]*)"|([^\s"]+)')
_QUOTES = str.maketrans("“”„‟«»", '""""""')


def _compiled(ranges: str) -> re.Pattern[str]:
    return re.compile(f"[{_ESCAPE.sub(lambda m: chr(int(m[1], 16)), ranges)}]")


_MARKS = _compiled(MARKS)
_UNSPACED = _compiled(UNSPACED)
_LETTERS = str.maketrans(LETTERS)


class Phrase(NamedTuple):
    """Words that follow each other; a word alone is a phrase, too.

    Attributes:
        words: Folded words, at least one.
        prefix: Whether the last word may go on.
    """

    words: tuple[str, ...]
    prefix: bool = False


class Signs(NamedTuple):
    """Folded characters without letters and digits."""

    text: str


Term = Phrase | Signs


@dataclass(frozen=True)
class TextQuery:
    """Terms, all of which a text has to have; at least one."""

    terms: tuple[Term, ...]


def parse(text: str) -> TextQuery | None:
    """Parse a user's text; None if it has no visible character.

    Raises:
        ValueError: It passes MAX_TEXT or MAX_WORDS, or a command line had bytes that are no text.
    """
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("a text to search for is written in UTF-8")
    if len(text) > MAX_TEXT:
        raise ValueError(f"a text to search for has at most {MAX_TEXT} characters")
    terms = tuple(_terms(fold(text).translate(_QUOTES)))
    if sum(len(term.words) if isinstance(term, Phrase) else 1 for term in terms) > MAX_WORDS:
        raise ValueError(f"a text to search for has at most {MAX_WORDS} words")
    return TextQuery(terms) if terms else None


def fold(text: str) -> str:
    """Return a text without case, accents and compatibility forms (Unicode NFKD)."""
    lowered = unicodedata.normalize("NFKD", text).lower().translate(_LETTERS)
    return _MARKS.sub("", lowered)


def raw_pattern(word: str) -> str | None:
    """Return a regular expression (RE2) that all texts match whose folded form has a word.

    Of a long word it has the beginning, as each letter takes 300 bytes of it. None if there is none
    as narrow: letters of the word come from characters that fold to several.

    Args:
        word: A folded word.
    """
    sources, of_several = _sources()
    runs = ("".join(run) for simple, run in groupby(word, lambda c: c not in of_several) if simple)
    longest = max(runs, key=len, default="")[:_MAX_LETTERS]
    if not longest or any(unicodedata.combining(c) for c in longest):
        return None
    return f"[{MARKS}{_LIGATURES_OF_MARKS}]*".join(f"[{c}{sources.get(c, '')}]" for c in longest)


@cache
def _sources() -> tuple[Mapping[str, str], frozenset[str]]:
    """Return the characters that fold to each character, and those that several fold to at once."""
    sources: dict[str, str] = {}
    of_several = set(_JAMO)
    for character in map(chr, chain(*_FOLDED)):
        folded = fold(character)
        if len(folded) == 1:
            sources[folded] = sources.get(folded, "") + character
        elif folded != character:
            of_several.update(folded)
    return sources, frozenset(of_several)


def is_unspaced(character: str) -> bool:
    """Return whether a character's script sets no space between words."""
    return _UNSPACED.match(character) is not None


def _terms(folded: str) -> Iterator[Term]:
    for quoted, bare in _TERM.findall(folded):
        given = (quoted or bare).strip()
        words = tuple(_words(given))
        if words:
            yield Phrase(words, prefix=given.endswith("*"))
        elif given:
            yield Signs(given)


def _words(text: str) -> Iterator[str]:
    for is_word, characters in groupby(text, _is_of_word):
        if is_word:
            yield "".join(characters)


def _is_of_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"
