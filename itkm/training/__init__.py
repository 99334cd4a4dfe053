"""What the training stages share: batches, augmentation, schedule, moving average, extraction, checkpoints."""
