"""Erasure: the images of a camera or a person leave data, caches, remotes and all that was derived from them."""
