"""The documents say what is so."""

from pathlib import Path

from archive import settings

ROOT = Path(__file__).parents[2]


def test_the_readme_lists_every_setting() -> None:
    rows = [
        f"| `{name}` | {default} | {text} |".replace("|  |", "| |")
        for name, default, text in settings.variables()
    ]
    assert "\n".join(rows) in (ROOT / "README.md").read_text()
