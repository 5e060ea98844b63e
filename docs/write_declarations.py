"""Write docs/declarations.md from the models."""

from pathlib import Path

from orchestrai.pipeline.reference.reference_page import PAGE, reference_page

if __name__ == "__main__":
    (Path(__file__).parents[1] / PAGE).write_text(reference_page(), encoding="utf-8")
