"""Each released version leaves behind what upgrades from it are tested with."""

import re

import pytest

from tests.support import schemas
from tests.support.documents import ROOT
from tests.support.releases import CHANGELOG, VERSION, problems, releases

FROZEN = [version for version in map(schemas.version, schemas.FROZEN) if version]


def test_every_released_version_has_left_its_schema() -> None:
    assert list(problems(CHANGELOG, VERSION, FROZEN)) == []


@pytest.mark.parametrize(
    ("changelog", "version", "frozen", "problem"),
    [
        ("## 0.2.0 (2027-01-02)\n", "0.2.0", [], "the schema of 0.2.0 is not kept"),
        (
            "## 0.2.0 (unreleased)\n\n## 0.1.0 (2026-12-01)\n",
            "0.2.0",
            ["0.2.0", "0.1.0"],
            "0.2.0 is kept, which is not released",
        ),
        (
            "## 0.2.0 (unreleased)\n\n## 0.1.0 (unreleased)\n",
            "0.2.0",
            [],
            "0.1.0 has no date",
        ),
        ("## 0.1.0 (2026-12-01)\n", "0.2.0", ["0.1.0"], "the newest version is 0.1.0"),
    ],
)
def test_a_release_that_lacks_something_is_found(
    changelog: str, version: str, frozen: list[str], problem: str
) -> None:
    [found] = problems(changelog, version, frozen)
    assert problem in found


def test_the_newest_version_comes_first() -> None:
    assert [r.version for r in releases("## 0.2.0 (unreleased)\n## 0.1.0 (2026-12-01)\n")] == [
        "0.2.0",
        "0.1.0",
    ]


@pytest.mark.parametrize("file", ["docker-compose.yml", "docker-compose.production.yml"])
def test_the_images_have_the_version_of_the_code(file: str) -> None:
    images = re.findall(r"image: stanzalake\S*:(\S+)", (ROOT / file).read_text())
    assert set(images) == {VERSION}
