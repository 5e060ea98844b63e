"""Kept bytes read back by executors: each group of files by one, whose findings are those of a reading here."""

from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrai.vault.format.lists import StoredFile
from orchestrai.vault.spread.content_tasks import CODEC, TASK_BYTES
from orchestrai.vault.spread.vault_address import held_at
from orchestrai.vault.verify.chunk_check import SeenChunks
from orchestrai.vault.verify.content_check import Looked, look_at

Group = Sequence[StoredFile]


def in_tasks(groups: Sequence[Group]) -> Iterator[list[int]]:
    """The numbers of groups that one executor reads, one after another: files that share a chunk are read by one, who reads it once."""
    task: list[int] = []
    size = 0
    for numbers in _bound(groups):
        bytes_of = sum(file.size for number in numbers for file in groups[number])
        if task and size + bytes_of > TASK_BYTES:
            yield sorted(task)
            task, size = [], 0
        task += numbers
        size += bytes_of
    if task:
        yield sorted(task)


def task_of(vault: Mapping[str, Any], groups: Sequence[Group]) -> dict[str, Any]:
    """What `check` is told."""
    return {"vault": vault, "groups": [b64encode(CODEC.encode_files(group)).decode() for group in groups]}


def looked_of(answer: Mapping[str, Any]) -> list[Looked]:
    """What came of the groups of a task, in their order."""
    return [Looked(files, size, [(key, problem) for key, problem in problems]) for files, size, problems in answer["looked"]]


def check(task: Mapping[str, Any], attempt: int) -> dict[str, Any]:
    """On an executor: read groups back. Nothing is written, so that a lost try leaves nothing."""
    held, seen = held_at(task["vault"]), SeenChunks()
    return {"looked": [look_at(held, CODEC.decode_files(b64decode(group)), seen) for group in task["groups"]]}


def _bound(groups: Sequence[Group]) -> Iterator[list[int]]:
    """Numbers of groups that must not be parted, in order of their first: those that lie in a common object."""
    first: dict[str, int] = {}
    leader = list(range(len(groups)))

    def led(number: int) -> int:
        while leader[number] != number:
            leader[number] = leader[leader[number]]
            number = leader[number]
        return number

    for number, group in enumerate(groups):
        for file in group:
            for stored in file.objects:
                one, other = led(number), led(first.setdefault(stored.key, number))
                leader[max(one, other)] = min(one, other)
    bound: dict[int, list[int]] = {}
    for number in range(len(groups)):
        bound.setdefault(led(number), []).append(number)
    yield from bound.values()
