"""What a user declares, the asset graph it means, and the runtime that runs a node of it."""

from orchestrai.pipeline.graph import AssetNode, DatasetNode, ModelNode, Pipeline, Stage, ViewNode
from orchestrai.pipeline.load import Project, load_project, pipeline_folders
from orchestrai.pipeline.runtime import Progress, Runtime

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
