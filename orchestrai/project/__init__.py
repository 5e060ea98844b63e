"""The project file: where a project's pipelines and stores are, and by which connections its clouds are reached."""
