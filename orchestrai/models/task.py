"""What a model is asked: the five tasks, and how each is spelled in files."""

from typing import Literal, get_args

from orchestrai.errors import UnknownFormatVersion

Task = Literal["binary", "multiclass", "regression", "ranking", "forecast"]
# a label with classes, one with values: what estimators, strata and plots differ by
CLASSES: frozenset[Task] = frozenset({"binary", "multiclass"})
VALUES: frozenset[Task] = frozenset({"regression", "forecast"})
# recipes and model.json spell a task as its first release did, so that equal trainings keep equal bytes
SPELLED = {"binary": "classification"}
READ = {spelling: task for task, spelling in SPELLED.items()}


def spelled(task: Task) -> str:
    """The task as recipes and model.json have it."""
    return SPELLED.get(task, task)


def read_task(text: object) -> Task:
    """The task that a recipe, model.json or declaration names, older spellings included; raises UnknownFormatVersion."""
    name = READ.get(str(text), str(text))
    for task in get_args(Task):
        if name == task:
            return task  # type: ignore[no-any-return]
    raise UnknownFormatVersion(f"expected a task of {', '.join(get_args(Task))}, found {text!r}: use a newer release")
