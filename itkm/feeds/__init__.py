"""New camera feeds: claimed without losing a file, profiled, judged, and made part of the versioned data."""
