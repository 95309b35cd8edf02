"""Positions and sealed ids."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanzalake.model.position import (
    ID_LENGTH,
    MAX_POSITION,
    Sealer,
    from_milliseconds,
    to_milliseconds,
)
from tests.support.settings import KEY

VECTORS = json.loads((Path(__file__).parents[1] / "support" / "ids.json").read_text())
OTHER = "b-key-for-tests-of-32-characters"
OWNER = "juliet@capulet.lit"

positions = st.integers(0, MAX_POSITION)
owners = st.text(min_size=1, max_size=40)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["id"])
def test_ids_match_the_shared_vectors(vector: dict[str, str]) -> None:
    sealer = Sealer([vector["key"]])
    assert sealer.seal(vector["owner"], int(vector["position"])) == vector["id"]
    assert sealer.open(vector["owner"], vector["id"]) == int(vector["position"])


@pytest.mark.requirement("313-02", "313-03", "359-02", "359-05")
@given(owners, positions)
def test_an_id_opens_to_its_position(owner: str, position: int) -> None:
    sealed = Sealer([KEY]).seal(owner, position)
    assert len(sealed) == ID_LENGTH
    assert Sealer([KEY]).open(owner, sealed) == position


@pytest.mark.requirement("313-61", "359-19")
@given(positions)
def test_an_id_of_another_archive_does_not_open(position: int) -> None:
    assert Sealer([KEY]).open("romeo@montague.lit", Sealer([KEY]).seal(OWNER, position)) is None


@pytest.mark.requirement("313-62")
@given(st.text())
def test_a_made_up_id_does_not_open(text: str) -> None:
    assert Sealer([KEY]).open(OWNER, text) is None


@given(positions, st.integers(0, ID_LENGTH - 1), st.sampled_from("AQgw_-z0"))
def test_an_altered_id_does_not_open(position: int, place: int, character: str) -> None:
    sealed = Sealer([KEY]).seal(OWNER, position)
    changed = sealed[:place] + character + sealed[place + 1 :]
    assert changed == sealed or Sealer([KEY]).open(OWNER, changed) is None


@pytest.mark.requirement("313-148", "359-18", "359-03", "313-161")
def test_ids_of_neighbouring_positions_share_nothing() -> None:
    sealer = Sealer([KEY])
    ids = [sealer.seal(OWNER, from_milliseconds(1_700_000_000_000, n)) for n in range(200)]
    assert len({sealed[:4] for sealed in ids}) > 195
    assert ids != sorted(ids)


def test_the_first_key_seals_and_all_open() -> None:
    old = Sealer([OTHER]).seal(OWNER, 7)
    both = Sealer([KEY, OTHER])
    assert both.open(OWNER, old) == 7
    assert both.seal(OWNER, 7) == Sealer([KEY]).seal(OWNER, 7)


@pytest.mark.parametrize("keys", [[], ["short"], [KEY, "short"]])
def test_a_missing_or_short_key_is_refused(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="key"):
        Sealer(keys)


@given(st.integers(0, 2**48 - 1), st.integers(0, 65_535))
def test_a_position_carries_its_milliseconds(milliseconds: int, sequence: int) -> None:
    assert to_milliseconds(from_milliseconds(milliseconds, sequence)) == milliseconds
