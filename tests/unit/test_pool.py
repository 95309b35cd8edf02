"""The pool of what one caller at a time may use."""

import pytest

from stanzalake.store.pool import Pool


class Thing:
    """Something that can be closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_what_is_taken_is_given_to_nobody_else_and_comes_back() -> None:
    pool = Pool(Thing)
    with pool.borrow() as one, pool.borrow() as other:
        assert one is not other
    with pool.borrow() as again:
        assert again in (one, other)


def test_what_failed_in_somebodys_hands_comes_back_too() -> None:
    pool = Pool(Thing)
    with pytest.raises(ZeroDivisionError), pool.borrow() as one:
        raise ZeroDivisionError
    with pool.borrow() as again:
        assert again is one


def test_all_are_closed_those_that_are_taken_when_they_come_back() -> None:
    pool = Pool(Thing)
    with pool.borrow() as one:
        with pool.borrow() as other:
            pass
        pool.close()
        assert other.closed
        assert not one.closed
    assert one.closed


def test_nothing_is_made_once_it_is_closed() -> None:
    pool = Pool(Thing)
    pool.close()
    with pytest.raises(RuntimeError), pool.borrow():
        pass
