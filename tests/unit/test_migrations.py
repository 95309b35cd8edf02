"""The numbered files of the schema, and the versions that work on it."""

import pytest

from stanzalake.store import migrations, schema_version


def test_each_migration_has_the_next_number() -> None:
    numbers = [migration.number for migration in migrations.all_migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize(
    ("own", "schema", "is_near"),
    [
        ("0.1.0", "", True),
        ("0.1.0", "0.1.7", True),
        ("0.1.0", "0.2.3", True),
        ("0.1.0", "0.3.0", False),
        ("0.4.0", "0.1.0", True),
        ("0.9.0", "1.0.0", True),
        ("0.9.0", "1.1.0", False),
        ("1.2.0", "0.9.0", True),
        ("1.2.0", "3.0.0", False),
    ],
)
def test_services_work_on_the_schema_of_the_next_version_at_most(
    own: str, schema: str, is_near: bool
) -> None:
    assert schema_version.is_near(own, schema) == is_near
