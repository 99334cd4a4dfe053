"""Features to pseudo-labels: exact neighbours, sparse k-reciprocal Jaccard distance, DBSCAN or HDBSCAN on it."""
