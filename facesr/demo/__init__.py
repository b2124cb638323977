"""The page of `facesr demo`. Only this package imports Gradio."""
