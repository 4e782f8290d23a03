"""Training: objectives, the points where they are evaluated, the trainer, transfer."""
