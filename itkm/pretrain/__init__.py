"""How the shipped tiny CLIP was made: ImageNet weights, aligned with captions of rendered persons; and its gate."""
