"""From a checkpoint to a bundle; the only stage that imports torch."""
