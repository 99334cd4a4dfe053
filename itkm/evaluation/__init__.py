"""What a feature is worth: named protocols, CMC / mAP / mINP by counting ranks, quality of clusters and matches."""
