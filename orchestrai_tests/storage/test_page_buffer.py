"""Buffers are lent and taken back, and are nobody else's meanwhile."""

import multiprocessing
from multiprocessing.connection import Connection

from orchestrai.storage.disk.posix import BUFFER_BYTES, page_buffer


def test_two_borrowers_have_two_buffers_and_a_third_has_one_of_them_again() -> None:
    with page_buffer() as first, page_buffer() as second:
        first[:1], second[:1] = b"1", b"2"
        assert (bytes(first[:1]), bytes(second[:1])) == (b"1", b"2")
        kept = {id(first), id(second)}
    with page_buffer() as third:
        assert id(third) in kept and len(third) == BUFFER_BYTES


def _fill(done: Connection) -> None:
    with page_buffer() as buffer:
        buffer[:5] = b"child"
        done.send(True)
        done.recv()


def test_a_forked_child_does_not_write_into_the_buffer_of_its_parent() -> None:
    with page_buffer() as warm:
        warm[:6] = b"parent"
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    child = fork.Process(target=_fill, args=(there,))
    child.start()
    try:
        with page_buffer() as buffer:
            assert buffer is warm
            assert here.recv()
            assert bytes(buffer[:6]) == b"parent"
    finally:
        here.send(True)
        child.join()
