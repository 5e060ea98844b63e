"""The project as a component of Dagster's: `dg scaffold defs orchestrai.defs.embedding.component.Project NAME`."""

from pathlib import Path
from typing import Any

import dagster as dg

from orchestrai.defs.embedding.host_definitions import pipeline_definitions
from orchestrai.pipeline.template import write_template

PROJECT_FILE = "orchestrai.yaml"
DECLARED = "# Where this project's pipelines and its stores are.\npipelines: [pipelines]\nhome: .orchestrai\n"


class ProjectScaffolder(dg.Scaffolder[Any]):
    """Writes a project file and one pipeline from the template beside the component's defs.yaml."""

    def scaffold(self, request: dg.ScaffoldRequest[Any]) -> None:
        """Write what is not there; nothing is overwritten."""
        from dagster.components.component_scaffolding import scaffold_component

        folder = Path(request.target_path)
        scaffold_component(request, {"project": PROJECT_FILE})
        if not (folder / PROJECT_FILE).exists():
            (folder / PROJECT_FILE).write_text(DECLARED)
        name = folder.name.lower().replace("-", "_")
        if not (folder / "pipelines" / name).exists():
            write_template(name, folder / "pipelines" / name)


@dg.scaffold_with(ProjectScaffolder)
class Project(dg.Component, dg.Model, dg.Resolvable):
    """The pipelines of an orchestrai.yaml; `project` is where it lies, from the folder of this component on."""

    project: str = PROJECT_FILE

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """All of the project; raises ConfigError where its file is not there."""
        return pipeline_definitions(Path(context.path) / self.project)
