"""The losses of ITKM, one a file, in the paper's notation, and the memories that they read."""
