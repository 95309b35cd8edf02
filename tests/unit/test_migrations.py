"""The numbered files of the schema."""

from stanzalake.store import migrations


def test_each_migration_has_the_next_number() -> None:
    numbers = [migration.number for migration in migrations.all_migrations()]
    assert numbers == list(range(1, len(numbers) + 1))
