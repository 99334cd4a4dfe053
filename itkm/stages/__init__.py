"""The pipeline's stages, one flat file each; `dvc.yaml` alone knows their order."""
