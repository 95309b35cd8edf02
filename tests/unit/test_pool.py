"""The pool of clients."""

import pytest

from stanzalake.store.pool import Pool


class Thing:
    """Something that can be closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_a_borrowed_client_is_exclusive_and_reused() -> None:
    pool = Pool(Thing)
    with pool.borrow() as one, pool.borrow() as other:
        assert one is not other
    with pool.borrow() as again:
        assert again in (one, other)


def test_a_client_returns_to_the_pool_after_an_error() -> None:
    pool = Pool(Thing)
    with pytest.raises(ZeroDivisionError), pool.borrow() as one:
        raise ZeroDivisionError
    with pool.borrow() as again:
        assert again is one


def test_a_client_is_replaced_after_an_error_if_it_cannot_be_reused() -> None:
    pool = Pool(Thing, is_reusable=False)
    with pytest.raises(ZeroDivisionError), pool.borrow() as one:
        raise ZeroDivisionError
    with pool.borrow() as other:
        assert (one.closed, other.closed) == (True, False)
    with pool.borrow() as again:
        assert again is other


def test_borrowed_clients_are_closed_on_return() -> None:
    pool = Pool(Thing)
    with pool.borrow() as one:
        with pool.borrow() as other:
            pass
        pool.close()
        assert other.closed
        assert not one.closed
    assert one.closed


def test_a_closed_pool_creates_no_client() -> None:
    pool = Pool(Thing)
    pool.close()
    with pytest.raises(RuntimeError), pool.borrow():
        pass
