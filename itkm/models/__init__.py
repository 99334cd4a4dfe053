"""The networks: CLIP's two towers, the ITKM encoder over the image tower, learnable prompts over the text tower."""
