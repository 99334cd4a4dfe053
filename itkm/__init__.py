"""ITKM: one model for person re-identification in many scenarios, trained without labels."""

__version__ = "0.1.0"
