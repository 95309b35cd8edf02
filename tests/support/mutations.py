"""Mutations: valid input, slightly damaged, for fuzzing parsers."""

from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element, SubElement

from hypothesis import strategies as st

_TOKENS = [
    *(b'"', b"\\", b"{", b"}", b"[", b"null", b"1e999", b"-1", b"\\ud800", b"\\u0000", b"\n"),
    *(b"<", b">", b"&", b"&#0;", b"&#xFFFF;", b"]]>", b"<!--", b"<?x?>", b"<!DOCTYPE m>", b"'"),
    *(b"\x00", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xa8", b" ", b"=", b"0" * 30),
]
_MOST = 4
_UNLIKE_XML = [c for c in map(chr, range(32)) if c not in "\t\n\r"] + ["\ufffe", "\uffff"]
"""Characters that no parser of XML 1.0 puts into an element (§2.2), beside lone surrogates."""
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters=_UNLIKE_XML), max_size=12)


@st.composite
def damaged(draw: st.DrawFn, valid: Sequence[bytes]) -> bytes:
    """Give one of some valid texts after a few cuts, repeats and insertions, or none."""
    text = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(0, _MOST))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.integers(0, 40)))
        middle = draw(
            st.one_of(
                st.just(b""),
                st.just(2 * text[start:stop]),
                st.sampled_from(_TOKENS),
                st.binary(max_size=4),
            )
        )
        text = text[:start] + middle + text[stop:]
    return text


@st.composite
def bent(
    draw: st.DrawFn,
    valid: Sequence[Callable[[], Element]],
    tags: Sequence[str],
    texts: Sequence[str],
) -> Element:
    """Give one of some valid elements after a few changes to its tree, or none.

    Args:
        draw: Hypothesis's own.
        valid: Make the elements.
        tags: Tags that a changed element may have.
        texts: Texts and values of attributes that it may have, besides any other.
    """
    root = draw(st.sampled_from(valid))()
    words = st.one_of(st.sampled_from(texts), _TEXT)
    for _ in range(draw(st.integers(0, _MOST))):
        nodes = list(root.iter())
        node = draw(st.sampled_from(nodes))
        change = draw(st.sampled_from(["tag", "text", "set", "unset", "add", "clear", "copy"]))
        if change == "tag":
            node.tag = draw(st.sampled_from(tags))
        elif change == "text":
            node.text = draw(words)
        elif change == "set":
            names = ["type", "id", "from", "to", "var", "node", "position", "stable", "default"]
            node.set(draw(st.sampled_from(names)), draw(words))
        elif change == "unset":
            node.attrib.clear()
        elif change == "add":
            SubElement(node, draw(st.sampled_from(tags))).text = draw(words)
        elif change == "clear":
            node.clear()
        else:
            node.extend(list(node))
    return root
