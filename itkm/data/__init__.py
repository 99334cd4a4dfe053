"""Images and their manifest: read, written, checked and shown; the training code sees no identity."""
