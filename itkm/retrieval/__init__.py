"""A trained model at work: features of any images and captions, and search among them by image or by words."""
