"""A full-text search without regular expressions, to compare the store's with."""

import unicodedata
from itertools import pairwise
from xml.etree import ElementTree as ET

from stanzalake.model.full_text import Phrase, Signs, TextQuery, fold, is_unspaced, parse
from stanzalake.xmpp.namespaces import CLIENT, tag

_PAYLOADS = frozenset(
    {
        "{eu.siacs.conversations.axolotl}encrypted",
        "{urn:xmpp:omemo:2}encrypted",
        "{urn:xmpp:openpgp:0}openpgp",
        "{jabber:x:encrypted}x",
        "{urn:xmpp:eme:0}encryption",
    }
)


def text_query(text: str) -> TextQuery:
    """Give a query that has a term."""
    query = parse(text)
    assert query is not None
    return query


def matches(query: TextQuery, stanza: str) -> bool:
    """Tell whether a query matches a stanza."""
    message = ET.fromstring(stanza)  # noqa: S314  # written by the tests
    body = message.findtext(tag(CLIENT, "body")) or ""
    if body.startswith("?OTR") or any(child.tag in _PAYLOADS for child in message):
        return False
    return all(_has(fold(body), term) for term in query.terms)


def _has(text: str, term: Phrase | Signs) -> bool:
    if isinstance(term, Signs):
        return term.text in text
    return any(_begins(text, place, term) for place in range(len(text)))


def _begins(text: str, place: int, phrase: Phrase) -> bool:
    if not _is_border(text[:place][-1:], phrase.words[0][0]):
        return False
    for word, following in pairwise((*phrase.words, "")):
        if not text.startswith(word, place):
            return False
        place += len(word)
        if following:
            gap = next((n for n, c in enumerate(text[place:]) if _is_of_word(c)), 0)
            if not gap:
                return False
            place += gap
    return phrase.prefix or _is_border(text[place:][:1], phrase.words[-1][-1])


def _is_border(beyond: str, within: str) -> bool:
    """Tell whether a word that has a character at its end ends before another one."""
    return not beyond or not _is_of_word(beyond) or is_unspaced(beyond) or is_unspaced(within)


def _is_of_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"
