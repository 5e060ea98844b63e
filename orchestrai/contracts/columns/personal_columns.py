"""Which columns of a contract are tokenised, and the one that names the person."""

from typing import Any

from orchestrai.contracts.contract import Column
from orchestrai.contracts.contract_file import ContractFile
from orchestrai.core.yaml.declaration import Location


def person_column(reader: ContractFile, custom: dict[str, tuple[Location, Any]], columns: tuple[Column, ...]) -> str | None:
    """The column that names the person; every tokenised column must be one that tokens can stand in.

    Raises DeclarationError.
    """
    at, person = custom.pop("person", ((), None))
    texts = [column.name for column in columns if column.type == "STRING"]
    if person is not None and person not in texts:
        raise reader.wrong(at, f"a STRING column ({', '.join(texts) or 'there is none'})", repr(person))
    for index, column in enumerate(columns):
        if column.tokenise or column.name == person:
            _check_tokenised(reader, ("schema", 0, "properties", index), column, person)
    return None if person is None else str(person)


def _check_tokenised(reader: ContractFile, at: Location, column: Column, person: object) -> None:
    if person is None:
        raise reader.wrong(at, "a custom property person of the dataset that names whose row it is", "tokenise without it")
    if column.type != "STRING":
        raise reader.wrong(at, f"{column.name} as STRING, since a token is text", column.type)
    # the audit sees tokens: it could judge none of these
    rules = {
        "enum": column.allowed,
        "pattern": column.pattern,
        "minimum": column.minimum is not None,
        "maximum": column.maximum is not None,
        "maxLength": column.max_length is not None,
        "a unique value across persons": column.name != person and (column.unique or column.key is not None),
    }
    names = [name for name, given in rules.items() if given]
    if names:
        raise reader.wrong(at, f"no rule on the values of {column.name}, which is tokenised", ", ".join(names))
