"""One vault command of the bench, in a process of its own: REPO KEYS plain|sealed snapshot|verify|restore|many [ARGUMENT [COUNT]]."""

import sys
from collections.abc import Iterator
from pathlib import Path

PARTITIONS, CHANGED = 100, 0.001


def main(repo: str, keys: str, kind: str, step: str, argument: str = "", count: str = "1000000") -> None:
    """Run one command; imports only what it needs."""
    from orchestrai.ledger.signing import load_or_create_signer
    from orchestrai.storage.local import LocalStore
    from orchestrai.vault.keys.key_file import FileKey
    from orchestrai.vault.vault import Vault

    port = FileKey(Path(keys) / "data.key") if kind == "sealed" else None
    vault = Vault(LocalStore(Path(repo)), load_or_create_signer(Path(keys)), encryption=port)
    if step == "snapshot":
        from orchestrai.backup.folder_files import backup_folder

        backup_folder(vault, "bench", Path(argument))
    elif step == "verify":
        from orchestrai.vault.verify.verify import verify

        if not verify(vault, level="read").ok:
            raise SystemExit("verify found something")
    elif step == "restore":
        from orchestrai.restore.folder import restore_folder

        restore_folder(vault, vault.latest("bench"), Path(argument), sync=False)
    else:
        from orchestrai.vault.commit.source import SourceFile

        contents: dict[str, list[SourceFile]] = {f"p{n:03d}": [] for n in range(PARTITIONS)}
        names, objects = list(contents), int(count)
        for position, (path, generation) in enumerate(synthetic(int(argument), objects)):
            data = b"%d-%d" % (position, generation)
            contents[names[position * PARTITIONS // objects]].append(
                SourceFile(path, len(data), data, token=f"{position:x}-{generation}")
            )
        vault.commit("many", contents)


def synthetic(turn: int, count: int) -> Iterator[tuple[str, int]]:
    """(path, generation) of each object."""
    every = int(1 / CHANGED)
    for number in range(count):
        yield f"events/2026/{number:09d}.json", turn if number % every == 0 else 0


if __name__ == "__main__":
    from orchestrai.core.process import one_command

    # as the command line does
    with one_command():
        main(*sys.argv[1:])
