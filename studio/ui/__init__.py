"""The page: the one place that knows gradio."""
