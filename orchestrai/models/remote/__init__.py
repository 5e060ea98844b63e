"""Training that runs elsewhere: SageMaker, Azure ML, Vertex AI, scripts in containers."""
