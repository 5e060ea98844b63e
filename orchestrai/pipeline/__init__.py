"""What a user declares, the asset graph it means, and the runtime that runs a node of it."""

from orchestrai.pipeline.load import Project, load_project, pipeline_folders
from orchestrai.pipeline.nodes import AssetNode, DatasetNode, ModelNode, Pipeline, ViewNode
from orchestrai.pipeline.runtime import Runtime
from orchestrai.pipeline.site import Progress
from orchestrai.pipeline.stages import Stage

__all__ = [
    "AssetNode",
    "DatasetNode",
    "ModelNode",
    "Pipeline",
    "Progress",
    "Project",
    "Runtime",
    "Stage",
    "ViewNode",
    "load_project",
    "pipeline_folders",
]
