"""The models that were trained: their versions in MLflow, which one is the champion, and why."""
